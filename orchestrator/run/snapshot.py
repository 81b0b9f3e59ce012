"""One look at Kaggle: each part is read at most once, and is there, absent, or unknown.

Not being able to see a thing is not its absence. A 403, a time-out or an odd answer is `CannotTell`, and
nothing that cannot be undone (a push, a deletion, a second run) may follow from it. `NotThere` needs a second
answer that agrees with the first, or a ledger that knows of nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kernel_template.contract import STATE_FILE
from orchestrator.errors import CredentialsError, ForbiddenError, KgttsError, NotFoundError, ServiceError
from orchestrator.models import KernelInfo, KernelRef, LogEvent, Quota, SessionState, SessionStatus
from orchestrator.ports import Kaggle
from orchestrator.render.stamp import RunStamp, read_stamp
from orchestrator.run.ledger import Ledger, SessionRecord
from orchestrator.run.view import SessionView

if TYPE_CHECKING:
    from orchestrator.run.state import SessionResult

_SERVER_ERROR = 500

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class There(Generic[T_co]):
    """It is there."""

    value: T_co


@dataclass(frozen=True, slots=True)
class NotThere:
    """The answer that something is absent.

    Attributes:
        note: why, if that is worth a sentence.
        is_hidden: whether the first answer was one that Kaggle also gives for what was made a moment ago.
        is_half_made: whether Kaggle has the name of a kernel and no version: its first push was refused.
    """

    note: str | None = None
    is_hidden: bool = False
    is_half_made: bool = False


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Whether it is there, and what it is, could not be found out."""

    error: KgttsError


Seen = There[T] | NotThere | CannotTell


def see(read: Callable[[], T | None]) -> Seen[T]:
    """Make a call, and return what it shows.

    Raises:
        CredentialsError: no call of this session will show anything.
    """
    try:
        value = read()
    except NotFoundError:
        return NotThere()
    except CredentialsError:
        raise
    except KgttsError as error:
        return CannotTell(error)
    return NotThere() if value is None else There(value)


def is_forbidden(seen: Seen[T]) -> bool:
    """Whether the answer was a 403, which Kaggle gives for what is absent, too."""
    return isinstance(seen, CannotTell) and isinstance(seen.error, ForbiddenError)


def certain(seen: Seen[T]) -> T | None:
    """Return what was seen; None if it is absent.

    Raises:
        ServiceError: it cannot be found out now. The same look may succeed later.
    """
    if isinstance(seen, CannotTell):
        if isinstance(seen.error, ServiceError):
            raise seen.error
        raise ServiceError(
            f"{seen.error.message} This does not show whether it is there, so nothing was changed.",
            hint="try again later (`kgtts watch` does so by itself); `kgtts doctor` checks who is logged in",
        ) from seen.error
    return seen.value if isinstance(seen, There) else None


def visible(seen: Seen[T]) -> T | None:
    """Return what was seen, None if it is absent: for commands that only show it, with Kaggle's own words.

    Raises:
        RefusedError, ServiceError: it cannot be found out.
    """
    if isinstance(seen, CannotTell):
        raise seen.error
    return seen.value if isinstance(seen, There) else None


def value_of(seen: Seen[T] | None) -> T | None:
    """Return what was seen; None if it is absent or unknown: for what is only shown."""
    return seen.value if isinstance(seen, There) else None


class Snapshot:
    """What Kaggle shows now. Asking twice for the same piece makes one call.

    Nothing is asked about sessions that ran elsewhere: Kaggle has none of them.

    Args:
        kaggle: where it is read.
        ledger: what this machine knows it pushed; an answer that shows less is not believed.
    """

    def __init__(self, kaggle: Kaggle, ledger: Ledger | None = None) -> None:
        self._kaggle, self._ledger = kaggle, ledger
        self._memo: dict[tuple[str, KernelRef | None], Any] = {}

    @property
    def kaggle(self) -> Kaggle:
        """Where it is read; a call made on it is not remembered here."""
        return self._kaggle

    def _once(self, piece: str, ref: KernelRef | None, look: Callable[[], Seen[T]]) -> Seen[T]:
        if ref is not None and ref.is_elsewhere:
            return NotThere()
        if (piece, ref) not in self._memo:
            self._memo[piece, ref] = look()
        seen: Seen[T] = self._memo[piece, ref]
        return seen

    def kernel(self, ref: KernelRef) -> Seen[KernelInfo]:
        """A kernel version with its source, or the newest if `ref` names none."""
        head = self._memo.get(("kernel", ref.kernel))
        if isinstance(head, There) and head.value.latest_version == ref.version:
            return head
        return self._once("kernel", ref, lambda: self._look_at_kernel(ref))

    def _look_at_kernel(self, ref: KernelRef) -> Seen[KernelInfo]:
        seen = see(lambda: self._kaggle.kernel(ref))
        if ref.version is not None:
            return self._confirmed_version(ref, seen)
        pushed = None if self._ledger is None else self._ledger.of_kernel(ref)
        known = None if pushed is None or pushed.is_deleted else pushed
        if isinstance(seen, There):
            return seen if known is None else _not_older(seen, known)
        is_fault = isinstance(seen, CannotTell) and not is_forbidden(seen)
        is_anothers = known is None and isinstance(seen, NotThere) and not self.is_own(ref)
        if is_fault and known is None and self._is_half_made(ref, seen):
            return NotThere(is_hidden=True, is_half_made=True)
        if is_fault or is_anothers:
            return seen
        listed = self._is_listed(ref)
        if listed is None or listed:
            return seen if isinstance(seen, CannotTell) else _unconfirmed(ref, listed, known)
        return NotThere(is_hidden=is_forbidden(seen))

    def _is_half_made(self, ref: KernelRef, seen: Seen[KernelInfo]) -> bool:
        """Whether Kaggle has no version of a kernel, whose first push it refused, and so fails to read it.

        Its status and the account's list have to agree that there is none.
        """
        error = seen.error if isinstance(seen, CannotTell) else None
        failed = isinstance(error, ServiceError) and error.status == _SERVER_ERROR
        return failed and self._is_listed(ref) is False and isinstance(self.status(ref), NotThere)

    def _confirmed_version(self, ref: KernelRef, seen: Seen[KernelInfo]) -> Seen[KernelInfo]:
        """Believe that a version is missing only if its kernel is gone, or its session is missing, too."""
        if isinstance(seen, There) or (isinstance(seen, CannotTell) and not is_forbidden(seen)):
            return seen
        if isinstance(self.kernel(ref.kernel), NotThere):
            return NotThere()
        status = self.status(ref)
        agrees = isinstance(status, NotThere) or is_forbidden(status)
        if isinstance(seen, NotThere) and agrees:
            return seen
        if isinstance(seen, CannotTell):
            return seen
        return CannotTell(_unseen(ref, "but its other answers do not agree that it is absent"))

    def after(self, kernel: KernelRef, head: int) -> KernelInfo | None:
        """The version after `head`, which Kaggle has called the newest: that answer may have been old.

        A 403 is its absence here, as the answer about the newest version agrees.

        Raises:
            ServiceError: it cannot be found out.
        """
        seen = see(lambda: self._kaggle.kernel(kernel.at(head + 1)))
        return None if is_forbidden(seen) else certain(seen)

    def listing(self) -> Seen[Mapping[str, datetime | None]]:
        """The account's kernels as `owner/slug` in lower case, and when each was last run."""
        seen = self.account()
        if not isinstance(seen, There):
            return seen
        return There({str(info.ref.kernel).casefold(): info.last_run for info in seen.value})

    def account(self) -> Seen[Sequence[KernelInfo]]:
        """The account's kernels without their sources, the one that ran last first."""
        return self._once("account", None, lambda: see(self._kaggle.my_kernels))

    def is_own(self, ref: KernelRef) -> bool:
        """Whether the account's listing would show a kernel."""
        return ref.owner.casefold() == self._kaggle.username.casefold()

    def _is_listed(self, ref: KernelRef) -> bool | None:
        """Whether the account's listing has a kernel; None if it is not known."""
        listed = self.listing() if self.is_own(ref) else NotThere()
        return str(ref.kernel).casefold() in listed.value if isinstance(listed, There) else None

    def status(self, ref: KernelRef) -> Seen[SessionStatus]:
        """The state of a version's session."""
        return self._once("status", ref, lambda: see(lambda: self._kaggle.session_status(ref)))

    def certain_status(self, ref: KernelRef) -> SessionStatus:
        """The state of a version's session; a version that has none yet is as good as queued.

        Raises:
            ServiceError: it cannot be found out.
        """
        return certain(self.status(ref)) or SessionStatus(SessionState.QUEUED)

    def state(self, ref: KernelRef) -> "Seen[SessionResult]":
        """The `state.json` that a version's session left."""
        return self._once("state", ref, lambda: self._look_at_state(ref))

    def _look_at_state(self, ref: KernelRef) -> "Seen[SessionResult]":
        """Read it twice if it is damaged, and ask the listing if it is missing."""
        # pydantic costs a sixth of a `kgtts status`, and a kernel that is not of kgtts has no such file.
        from orchestrator.run.state import StateError, parse_state  # noqa: PLC0415

        problem = ""
        before: bytes | None = None
        while True:
            content = see(lambda: self._kaggle.output_file(ref, STATE_FILE))
            if isinstance(content, CannotTell):
                return content
            if isinstance(content, NotThere):
                return self._without_state(ref)
            try:
                return There(parse_state(content.value))
            except StateError as error:
                problem = f"The state.json of {ref} cannot be used: {error.message}."
            if content.value == before:
                break
            before = content.value
        status = self.status(ref)
        if isinstance(status, There) and not status.value.state.is_success:
            return NotThere(f"{problem} The session counts as one that saved nothing.")
        return CannotTell(ServiceError(problem, hint=f"look at the outputs on its page: kgtts open {ref}"))

    def _without_state(self, ref: KernelRef) -> "Seen[SessionResult]":
        """Whether the outputs' listing lacks a state.json, too."""
        listing = see(lambda: self._kaggle.outputs(ref))
        if isinstance(listing, CannotTell):
            return listing
        if isinstance(listing, There) and any(file.name == STATE_FILE for file in listing.value):
            return CannotTell(ServiceError(f"Kaggle lists a state.json of {ref}, and does not give it."))
        return NotThere()

    def log(self, ref: KernelRef) -> Seen[Sequence[LogEvent]]:
        """The stored log of a session that has ended; empty while Kaggle has none."""
        return self._once("log", ref, lambda: see(lambda: self._kaggle.stored_log(ref)))

    def certain_log(self, ref: KernelRef) -> Sequence[LogEvent]:
        """The stored log, asked for again if it is missing: a failure without it looks like a kill.

        Raises:
            ServiceError: it cannot be found out.
        """
        return certain(self.log(ref)) or certain(see(lambda: self._kaggle.stored_log(ref))) or ()

    def quota(self) -> Seen[Quota]:
        """The week's GPU hours."""
        return self._once("quota", None, lambda: see(self._kaggle.quota))

    def stamp(self, ref: KernelRef) -> RunStamp | None:
        """What a version's source says that it is; None if it is not a session of kgtts, or is gone.

        Raises:
            ServiceError: the version cannot be read.
        """
        info = certain(self.kernel(ref))
        if info is not None and not info.source:
            raise ServiceError(
                f"Kaggle gives no source of {ref}, so what the run needs is unknown.", hint="try again later"
            )
        return None if info is None else read_stamp(info.source or "")

    def result(self, session: SessionView) -> "tuple[SessionResult | None, str | None]":
        """A session's own state (one that was copied from another session is not), and a note about it.

        Raises:
            ServiceError: it cannot be found out.
        """
        seen = self.state(session.ref)
        result = certain(seen)
        if result is None:
            return None, seen.note if isinstance(seen, NotThere) else None
        own = (result.run, result.session) == (session.stamp.id, session.stamp.session)
        return (result if own else None), None

    def saved_session(self, ref: KernelRef, run: str) -> SessionView | None:
        """A version as a session of `run` that has saved; None if it is not one.

        Raises:
            ServiceError: it cannot be found out.
        """
        stamp = self.stamp(ref)
        if stamp is None or stamp.id != run:
            return None
        status = self.certain_status(ref)
        session = SessionView(ref, stamp, status)
        session = SessionView(ref, stamp, status, result=self.result(session)[0])
        return session if session.has_saved else None


def _not_older(seen: There[KernelInfo], known: SessionRecord) -> Seen[KernelInfo]:
    """An answer about a kernel, unless it is older than what this machine has pushed there."""
    info, version = seen.value, known.ref.version or 0
    # Version numbers start again once a kernel was deleted.
    is_another = info.last_run is not None and info.last_run > known.pushed_at
    if (info.latest_version or version) >= version or is_another:
        return seen
    return CannotTell(
        ServiceError(
            f"Kaggle shows version {info.latest_version} of {info.ref.kernel}, and version {version} was "
            "pushed from here: the answer is older than that.",
            hint="try again in a minute",
        )
    )


def _unconfirmed(ref: KernelRef, listed: bool | None, known: SessionRecord | None) -> CannotTell:  # noqa: FBT001
    """A kernel that one answer calls missing, and no other."""
    if not listed and known is None:
        return CannotTell(_unseen(ref, "and the account's list, which could confirm it, cannot be read"))
    why = "although the account's list has it" if listed else "although it was pushed from here"
    return CannotTell(
        _unseen(ref, why, "; if you deleted it on Kaggle, `kgtts push --new` begins another run")
    )


def _unseen(ref: KernelRef, why: str, advice: str = "") -> ServiceError:
    return ServiceError(f"Kaggle does not show {ref}, {why}.", hint=f"try again in a minute{advice}")
