"""Publish a voice package as a model on Hugging Face. The only module that knows huggingface_hub.

What is there already is compared by hashes first, so the same package is uploaded once, and what an upload
that broke off left on the service is not sent again (Git LFS knows files by their SHA-256). A commit names
the one before it, so of two publishes at once one is refused. Afterwards each file's hash is read back.
"""

import hashlib
import importlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import __version__, untrusted
from orchestrator.errors import (
    CredentialsError,
    ForbiddenError,
    KgttsError,
    LocalError,
    NotFoundError,
    RefusedError,
    ServiceError,
    UsageError,
)
from orchestrator.scrubbing import learn, scrub
from orchestrator.voice.package import Package

_ENDPOINT = "https://huggingface.co"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}", re.ASCII)
# What packages have; of these a new version removes what it no longer has. Other files are somebody's own.
_OURS = re.compile(
    r"samples/\d{2,3}\.wav|curves\.svg|bangla\.fst|tokens\.txt|voice\.(?:json|onnx|onnx\.json)|LICENSE\.txt"
)
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _CHANGED, _TOO_MANY = 401, 403, 404, 409, 412, 429
_SERVER_FAULT = 500


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """What publishing a package would do.

    Attributes:
        repository: `owner/name`.
        exists: whether the repository is there.
        is_private: whether only its owner sees it, or will.
        upload: the files to send: new ones, and changed ones.
        remove: files of an earlier package.
        head: the commit that was looked at; None if there is none.
    """

    repository: str
    exists: bool
    is_private: bool
    upload: tuple[str, ...]
    remove: tuple[str, ...]
    head: str | None

    @property
    def is_current(self) -> bool:
        """Whether the repository already holds this very package."""
        return self.exists and not self.upload and not self.remove


class HuggingFace:
    """A login at Hugging Face, or at the service that `HF_ENDPOINT` names.

    Args:
        environ: the environment, with `HF_TOKEN` if the login is not stored on this machine.

    Raises:
        LocalError: huggingface_hub is not installed.
        CredentialsError: there is no login.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        try:
            self._hub: Any = importlib.import_module("huggingface_hub")
        except ImportError as error:
            raise LocalError(
                "Publishing on Hugging Face needs the package huggingface_hub, which is not installed.",
                hint='pip install "kgtts[publish]"',
            ) from error
        token = (environ.get("HF_TOKEN") or self._hub.get_token() or "").strip()
        if not token:
            raise CredentialsError(
                "There is no login for Hugging Face.",
                hint="hf auth login, or set HF_TOKEN to a token that may write "
                "(https://huggingface.co/settings/tokens)",
            )
        learn(token)
        self.endpoint = (environ.get("HF_ENDPOINT") or _ENDPOINT).rstrip("/")
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        self._api = self._hub.HfApi(
            endpoint=self.endpoint, token=token, library_name="kgtts", library_version=__version__
        )

    def url(self, repository: str) -> str:
        """The page of a repository."""
        return f"{self.endpoint}/{repository}"

    def plan(
        self, package: Package, repository: str, *, public: bool = False, commit: str | None = None
    ) -> PublishPlan:
        """Compare a package with what is published.

        Args:
            package: the package.
            repository: `owner/name`.
            public: whether a repository that is made then is seen by everybody.
            commit: the commit to compare with; None for the newest.

        Raises:
            UsageError: it is not the name of a repository.
            ServiceError, CredentialsError, RefusedError: it cannot be read.
        """
        check_name(repository)
        try:
            with _translated(f"read {repository}"):
                info = self._api.model_info(repository, revision=commit, files_metadata=True)
        except NotFoundError:
            return PublishPlan(repository, False, not public, tuple(sorted(package.paths)), (), None)
        there = {item.rfilename: item for item in info.siblings or []}
        changed = [name for name, path in package.paths.items() if not _is_same(there.get(name), path)]
        gone = [name for name in there if _OURS.fullmatch(name) and name not in package.paths]
        private = bool(info.private)
        return PublishPlan(repository, True, private, tuple(sorted(changed)), tuple(sorted(gone)), info.sha)

    def publish(self, package: Package, plan: PublishPlan, *, show_progress: bool = False) -> str:
        """Carry out a plan; give the commit that has the package.

        Raises:
            CredentialsError, RefusedError: Hugging Face does not accept it, or somebody else changed it.
            ServiceError: it broke off; the same command goes on.
        """
        progress = importlib.import_module("huggingface_hub.utils")
        (progress.enable_progress_bars if show_progress else progress.disable_progress_bars)()
        doing = f"publish {plan.repository}"
        if not plan.exists:
            with _translated(f"create {plan.repository}"):
                self._api.create_repo(plan.repository, private=plan.is_private, exist_ok=True)
            plan = self.plan(package, plan.repository, public=not plan.is_private)
        commit = plan.head
        if not plan.is_current:
            operations = [
                *(self._hub.CommitOperationAdd(name, str(package.paths[name])) for name in plan.upload),
                *(self._hub.CommitOperationDelete(name) for name in plan.remove),
            ]
            try:
                with _translated(doing):
                    made = self._api.create_commit(
                        plan.repository,
                        operations,
                        commit_message=f"Voice package {package.identity[:12]}",
                        parent_commit=plan.head,
                    )
                commit = made.oid
            except ServiceError:
                newest = self.plan(package, plan.repository)
                if not newest.is_current:  # Else only the answer was lost.
                    raise
                commit = newest.head
        now = self.plan(package, plan.repository, commit=commit)
        if not now.is_current or now.head is None:
            wrong = untrusted.one_line(", ".join((*now.upload, *now.remove)[:3]), 200)
            raise ServiceError(
                f"Could not {doing}: afterwards Hugging Face had something else of {wrong}.",
                hint="run the same command again",
            )
        return now.head


def check_name(repository: str) -> None:
    """See that this can name a repository.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(repository) or ".." in repository or "--" in repository:
        raise UsageError(f"{repository!r} is not OWNER/NAME of a model on Hugging Face.")


def _is_same(there: Any, path: Path) -> bool:
    """Whether a file of the service, as it lists it, has the content of a file here."""
    size = path.stat().st_size
    if there is None or there.size != size:
        return False
    with path.open("rb") as file:
        if there.lfs is not None:
            return bool(there.lfs.sha256 == hashlib.file_digest(file, "sha256").hexdigest())
        digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        digest.update(file.read())  # Git's name of the content.
    return bool(there.blob_id == digest.hexdigest())


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn what the client raises into our errors, without secrets and addresses."""
    try:
        yield
    except KgttsError:
        raise
    except Exception as error:  # noqa: BLE001 - its own classes, those of its HTTP library, RuntimeError.
        raise _error(doing, error) from None


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def _error(doing: str, error: Exception) -> KgttsError:
    chain = _chain(error)
    answer: Any = next((found for item in chain if (found := _answer(item)) is not None), None)
    if answer is None:
        words = untrusted.one_line(scrub(str(error)), 300)
        if isinstance(error, ValueError) and not isinstance(error, OSError):  # An answer, or our request.
            return RefusedError(f"Could not {doing}: {words}")
        why = f"Hugging Face could not be reached ({type(chain[-1]).__name__})"
        return ServiceError(f"Could not {doing}: {why}.", hint=_AGAIN)
    status = int(answer.status_code)
    if any(type(item).__name__ == "RepositoryNotFoundError" for item in chain):
        status = _NOT_FOUND  # It is also a 401.
    told = next((text for item in chain if (text := getattr(item, "server_message", None))), None)
    kind, why, hint = _ANSWERS.get(status, (RefusedError, f"answered {status}", None))
    message = f"Could not {doing}: Hugging Face {why}"
    message += f": {untrusted.one_line(scrub(str(told)), 300)}" if told else "."
    if status == _TOO_MANY or status >= _SERVER_FAULT:
        after = untrusted.retry_after(answer.headers)
        return ServiceError(message, hint=_AGAIN, retry_after_s=after)
    return kind(message, hint=hint)


def _answer(error: BaseException) -> Any:
    """The HTTP answer that an error is about; None if there was none."""
    answer = getattr(error, "response", None)
    return answer if getattr(answer, "status_code", None) is not None else None


_AGAIN = "run the same command again later; what was sent is not sent again"
_LOOKS = "run the same command again; it looks at what is there now"
_ANSWERS: Mapping[int, tuple[type[KgttsError], str, str | None]] = {
    _UNAUTHORIZED: (
        CredentialsError,
        "does not accept the token",
        "hf auth login, or set HF_TOKEN to a token that may write",
    ),
    _FORBIDDEN: (
        ForbiddenError,
        "does not allow it with this token",
        "give the token the right to write to the repositories of this owner",
    ),
    _NOT_FOUND: (NotFoundError, "has no such repository, or this token may not see it", None),
    _CONFLICT: (RefusedError, "refused it, since something else is being changed there", _LOOKS),
    _CHANGED: (RefusedError, "refused it, since the repository has changed meanwhile", _LOOKS),
    _TOO_MANY: (ServiceError, "has had too many calls", _AGAIN),
}
