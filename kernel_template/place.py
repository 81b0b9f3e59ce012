"""Where a session runs: on Kaggle, or elsewhere as the next of a run's sessions in a folder, its series.

On Kaggle the settings name the session and the one that it continues from, which a mount or downloads give.
Elsewhere, on this machine or a cloud's, KGTTS_SERIES names the series: a folder with session-01, session-02
and so on, some of them perhaps brought from Kaggle. The settings then name the run alone. Whoever starts the
same kernel again and again, until it says that the run is done, gets one training, whatever interrupted it.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from kernel_template.contract import (
    COMPLETE_MARK,
    PLACES,
    SERIES_VARIABLE,
    STATE_FILE,
    VERSION_MARK,
    WORKING_VARIABLE,
    DoneReason,
    EndReason,
    Session,
    session_folder,
    session_number,
)
from kernel_template.settings import ResumeSettings, SessionSettings
from kernel_template.start.parent_state import CheckpointEntry, ParentStateError, read_parent_state, shown
from kernel_template.tools.files import human_seconds
from kernel_template.tools.nodes import Nodes
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.paths import Paths

_MOST_SESSIONS = 999_999_999
_KERNEL = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}", re.ASCII)
_VERSION = re.compile(r"[0-9]{1,9}")
_LONGEST_MARK = 1000
_SHORTEST_S = 60.0  # Of a session, besides the time for saving.


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session runs, and which session it is.

    Attributes:
        settings: what the session is asked; elsewhere the series has filled in its number and its past.
        paths: its folders.
        parents: the sessions that it can continue from: the first whose checkpoint is whole.
        copy_to: where what it saves is copied to, if it does not work there.
        nodes: the machines that train together.
        warnings: what was set aside, in sentences.
        over: why the run needs no session here; None if it does.
    """

    settings: SessionSettings
    paths: Paths
    parents: tuple[ResumeSettings, ...] = ()
    copy_to: Path | None = None
    nodes: Nodes = field(default_factory=Nodes)
    warnings: tuple[str, ...] = ()
    over: str | None = None


@dataclass(frozen=True, slots=True)
class _Member:
    """A session of the series: its folder, its number, and what `read_parent_state` gives of it."""

    folder: Path
    number: int
    state: Mapping[str, object]

    @property
    def step(self) -> int:
        return cast("int | None", self.state["global_step"]) or 0

    @property
    def history(self) -> list[Session]:
        return cast("list[Session]", self.state["history"])

    @property
    def kernel(self) -> str:
        told = cast("Mapping[str, str | None]", self.state["run"])["kernel"] or ""
        return told if _KERNEL.fullmatch(told) else "unknown"

    @property
    def ref(self) -> str:
        """Its kernel, with the version if that is known."""
        kernel = self.kernel
        for mark in (COMPLETE_MARK, VERSION_MARK):
            base, _, version = _first_word(self.folder / mark).rpartition("/")
            if base == kernel and _VERSION.fullmatch(version):
                return f"{kernel}/{version}"
        return f"{kernel}/{self.number}" if kernel.partition("/")[0] in PLACES else kernel

    @property
    def resume(self) -> ResumeSettings | None:
        """What a session that continues from it is told; None if it lists no checkpoint."""
        listed = self.state["checkpoints"]
        read = map(CheckpointEntry.read, listed if isinstance(listed, list) else ())
        entries = [entry for entry in read if entry is not None and entry.global_step == self.step]
        if not entries:
            return None
        version = self.ref.removeprefix(f"{self.kernel}/")
        return {
            "kernel": self.kernel,
            "version": int(version) if version.isdecimal() else self.number,
            "run": cast("Mapping[str, str]", self.state["run"])["id"],
            "session": self.number,
            "global_step": self.step,
            "sha256": None,
            "dataset": None,
            "downloads": None,
            "folder": str(self.folder),
        }


def find_place(settings: SessionSettings, root: Path, env: Mapping[str, str]) -> Place:
    """Find where the session runs, and elsewhere which session it is.

    The next session of a series continues from the one with the highest step: the step of a run never goes
    back. If none of its checkpoints is whole, the one below it is used. A session that was killed counts with
    what its state.json listed last.

    Args:
        settings: the kernel's SETTINGS.
        root: the folder of the inputs.
        env: the session's environment.

    Raises:
        KernelFailure: the series is of a run with other settings, or cannot be read.
        OSError: the session's folder cannot be made.
    """
    series, nodes = env.get(SERIES_VARIABLE), Nodes.read(env)
    work = Path(env[WORKING_VARIABLE]) if env.get(WORKING_VARIABLE) else None
    if nodes.number:  # Machine 0 decides which session it is.
        return Place(settings, Paths(root, work and work / f"node-{nodes.number}"), nodes=nodes)
    if not series:
        resume = settings["resume"]
        return Place(settings, Paths(root), () if resume is None else (resume,), nodes=nodes)
    return _next_of(Path(series), settings, root, work, nodes)


def _next_of(series: Path, settings: SessionSettings, root: Path, work: Path | None, nodes: Nodes) -> Place:
    members, newest, warnings, damaged = _members(series, settings)
    ranked = sorted(members, key=lambda item: (item.step, item.number), reverse=True)
    best = ranked[0] if ranked else None
    if best is not None and (why := _done(best, settings)) is not None:
        return Place(settings, Paths(root), over=f"The run is done at step {best.step}: {why}.")
    settings = cast("SessionSettings", {**settings})
    if (total := settings.get("series_budget_s")) is not None:
        left = total - _seconds(members, settings["run"]["kernel"])
        if left < settings["training"]["grace_s"] + _SHORTEST_S:
            words = f"The run has had its {human_seconds(total)} here"
            return Place(settings, Paths(root), over=f"{words}; step {best.step if best else 0} is saved.")
        budget = settings["session_budget_s"]
        settings["session_budget_s"] = int(left if budget is None else min(budget, left))
    parents = [(item, resume) for item in ranked if (resume := item.resume) is not None]
    unlisted = [item for item in ranked if item.step and item.resume is None]
    warnings += [
        f"{item.folder / STATE_FILE} lists no checkpoint of its step {item.step}, so session {item.number} "
        "is not continued from."
        for item in unlisted
    ]
    if not parents and (unlisted or damaged):
        raise KernelFailure(
            EndReason.WRONG_PARENT,
            f"{' '.join(warnings)} Nothing else in {series} can be continued from, and the run does not "
            "begin anew by itself. Bring the file back, or remove its session's folder to begin anew.",
        )
    number = newest + 1
    if number > _MOST_SESSIONS:
        raise KernelFailure(
            EndReason.WRONG_PARENT, f"{series} holds {session_folder(newest)}: no number is left. Remove it."
        )
    parent = parents[0][0] if parents else None
    settings["run"] = {**settings["run"], "session": number, "parent": parent.ref if parent else None}
    settings["resume"] = parents[0][1] if parents else None
    settings["before"] = [_own(item) for item in members]  # Those that the parent lists are left out later.
    folder = series / session_folder(number)
    folder.mkdir(parents=True)
    outputs = folder if work is None else work / session_folder(number)
    copy_to = None if work is None else folder
    asked = tuple(resume for _, resume in parents)
    return Place(settings, Paths(root, outputs), asked, copy_to, nodes, tuple(warnings))


def _members(series: Path, settings: SessionSettings) -> tuple[list[_Member], int, list[str], bool]:
    """The run's sessions, oldest first; the highest number; what was set aside; and whether that was damaged.

    Raises:
        KernelFailure: the sessions are of other settings, or the series cannot be read.
    """
    found, newest, warnings, damaged = [], 0, [], False
    try:
        places = sorted(series.iterdir()) if series.is_dir() else []
    except OSError as error:
        raise KernelFailure(EndReason.INTERNAL, f"{series} cannot be read ({error.strerror}).") from error
    run = settings["run"]
    for place in places:
        number = session_number(place.name)
        if number is None:
            continue
        newest = max(newest, number)  # Also of a file, or of a link that leads nowhere.
        try:
            with contextlib.suppress(PermissionError):
                (place / STATE_FILE).lstat()
            state = read_parent_state(place / STATE_FILE)
        except (FileNotFoundError, NotADirectoryError):
            continue  # It was ended before it saved anything.
        except ParentStateError as error:
            damaged = True
            warnings.append(f"{place / STATE_FILE} {error}, so session {number} is not continued from.")
            continue
        own = state["run"]
        if own["id"] != run["id"]:
            of = shown(own["id"])
            warnings.append(f"{place} is a session of run {of}, not of {run['id']}; it is left alone.")
            continue
        if own["fingerprint"] != run["fingerprint"]:
            raise KernelFailure(
                EndReason.WRONG_PARENT,
                f"Session {number} of run {run['id']} in {series} was trained with other settings of inputs, "
                "training or install. Put them back to go on with it, or begin another run.",
            )
        found.append(_Member(place, number, state))
    return sorted(found, key=lambda item: item.number), newest, warnings, damaged


def _done(member: _Member, settings: SessionSettings) -> str | None:
    """What the run has reached, unless the settings ask for more by now; None if it needs a session."""
    state, target = member.state, settings["training"]
    if not state["done"]:
        return None
    if state["done_reason"] == DoneReason.UNTIL_STEP:
        until = target["until_step"]
        return f"it was to stop at step {until}" if until is not None and member.step >= until else None
    if state["done_reason"] == DoneReason.NO_IMPROVEMENT:
        return "the trainer found no better model any more" if settings["stop"]["patience"] else None
    reached = max([item.get("to_epoch") or 0 for item in member.history], default=0)
    reached = max(reached, cast("int | None", state["epochs"]) or 0)
    return f"all {reached} epochs are trained" if reached >= target["epochs"] else None


def _own(member: _Member) -> Session:
    """The session in its own history."""
    found = next((item for item in member.history if item["session"] == member.number), None)
    unknown: dict[str, object] = {"session": member.number, "from_step": member.step, "to_step": member.step}
    unknown |= {"from_epoch": 0, "to_epoch": 0, "seconds": 0.0}
    return cast("Session", {**unknown, "reason": None, **(found or {}), "kernel": member.kernel})


def _seconds(members: list[_Member], kernel: str) -> float:
    """How long the sessions of one place have taken, as far as they could tell before they were killed."""
    return sum(_own(item)["seconds"] for item in members if _own(item)["kernel"] == kernel)


def _first_word(mark: Path) -> str:
    try:
        with mark.open(encoding="utf-8", errors="replace") as file:
            return next(iter(file.read(_LONGEST_MARK).split()), "")
    except OSError:
        return ""
