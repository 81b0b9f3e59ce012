"""Takes over from the session before: finds or downloads its output, verifies it, and copies what continues.

The output of any other session, or of an older version, is refused.
"""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from kernel_template.contract import (
    BEST_MODEL_LINK,
    BEST_SCORE_PREFIX,
    HANDOVER_PREFIX,
    OWN_PREFIX,
    STATE_FILE,
    EndReason,
    Session,
)
from kernel_template.settings import ResumeSettings
from kernel_template.start.download import DamagedError, DownloadError, DownloadRules, Downloads
from kernel_template.start.history import History
from kernel_template.start.inputs import damage
from kernel_template.start.mounts import find_mounts
from kernel_template.start.parent_state import CheckpointEntry, ParentStateError, read_parent_state, shown
from kernel_template.tools.files import WriteFile, human_size
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.paths import Paths
from kernel_template.tools.report import Reporter

if TYPE_CHECKING:
    from kernel_template.context import SessionContext

_ANY_CHECKPOINT = re.compile(rf"^(?:(?:checkpoint|best_model)(?:_\d+)?|{BEST_SCORE_PREFIX}\d+)\.pth$")
_COPY_CHUNK = 4 * 1024 * 1024
_STATE_DEPTH = 2  # How deep in a mount state.json is searched.


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where the training continues from.

    Attributes:
        folder: the trainer's run folder, copied to the working folder.
        checkpoint: the checkpoint in it to continue from.
        best_model: the best model in it, if there is a whole one.
        global_step: the checkpoint's step, from its name.
        state: what `read_parent_state` gives of the session before.
    """

    folder: Path
    checkpoint: Path
    best_model: Path | None
    global_step: int
    state: Mapping[str, Any]

    @property
    def history(self) -> list[Session]:
        """The sessions before this one, as state.json lists them."""
        return [cast("Session", item) for item in self.state.get("history", [])]


class ParentSession:
    """The output of the session before: mounted from the sibling kernel or a dataset, or downloaded.

    What a killed session had saved cannot be mounted from its kernel. It is downloaded, or lies in a dataset,
    whose files have no folders.

    Args:
        asked: the section `resume` of the settings.
        paths: this session's folders.
        report: prints messages.
        write: writes files.
        downloads: what can be downloaded; None if the output is mounted.
    """

    def __init__(
        self,
        asked: ResumeSettings,
        paths: Paths,
        report: Reporter,
        write: WriteFile,
        downloads: Downloads | None = None,
    ) -> None:
        self._asked = asked
        self._paths = paths
        self._report = report
        self._write = write
        self._downloads = downloads

    def take_over(self) -> ResumePoint:
        """Find the output, verify it, and copy what the training continues from.

        Raises:
            KernelFailure: it is not mounted, cannot be downloaded, is of another session, or has no whole
                checkpoint.
            OSError: the copy could not be written.
        """
        try:
            return self._take_over()
        finally:
            self._remove_downloads()

    def _remove_downloads(self) -> None:
        if self._downloads is not None:
            self._downloads.remove()

    def _source(self) -> tuple[Path, dict[str, Any]]:
        return self._find() if self._downloads is None else self._download(self._downloads)

    def _take_over(self) -> ResumePoint:
        mount, state = self._source()
        self._verify(mount, state)
        entries = self._entries(mount, state)
        chosen, checkpoint = self._newest_whole(mount, entries)
        folder = checkpoint.parent
        self._copy_others(mount, self._place(mount, chosen.path).parent, folder)
        best = self._best_model(mount, state, entries, chosen)
        History(mount, chosen.global_step, self._paths, self._report, self._write).copy()
        source = self._asked["kernel"]
        self._report.say(
            f"✓ Continuing from {checkpoint.name} of session {self._asked['session']} ({source})"
        )
        return ResumePoint(folder, checkpoint, best, chosen.global_step, state)

    def take_older(self, but: set[str]) -> ResumePoint:
        """Copy the newest checkpoint that is not one of `but`, names of files whose weights are useless.

        Raises:
            KernelFailure: there is none.
            OSError: the copy could not be written.
        """
        try:
            mount, state = self._source()
            entries = [entry for entry in self._entries(mount, state) if entry.path.name not in but]
            if not entries:
                raise self._refuse(f"the weights in all its checkpoints ({', '.join(sorted(but))}) are NaN")
            chosen, checkpoint = self._newest_whole(mount, entries)
        finally:
            self._remove_downloads()
        return ResumePoint(checkpoint.parent, checkpoint, None, chosen.global_step, state)

    def _refuse(self, why: str) -> KernelFailure:
        asked = self._asked
        return KernelFailure(
            EndReason.WRONG_PARENT if self._downloads is None else EndReason.HANDOVER_FAILED,
            f"This session must continue run {asked['run']} after session {asked['session']} "
            f"({asked['kernel']} version {asked['version']}, step {asked['global_step']}), but {why}.",
        )

    def _find(self) -> tuple[Path, dict[str, Any]]:
        """Find the folder that has state.json. Returns it and the content of state.json."""
        dataset = self._asked["dataset"]
        source = dataset or self._asked["kernel"]
        if (folder := self._asked.get("folder")) is not None:
            return Path(folder), self._read(Path(folder, STATE_FILE))
        mounts = find_mounts(self._paths.input, "datasets" if dataset else "notebooks", source)
        if not mounts:
            kind = "dataset" if dataset else "kernel"
            needs = "it exists" if dataset else "it exists and has a completed version"
            raise KernelFailure(
                EndReason.MISSING_INPUT,
                f"The {kind} {source}, from which this session must continue, is not mounted below "
                f"{self._paths.input}: check that {needs}.",
            )
        for mount in mounts:
            for depth in range(_STATE_DEPTH + 1):
                for place in sorted(mount.path.glob("*/" * depth + STATE_FILE)):
                    self._report.say(f"✓ Found: {place} (the session before)")
                    return place.parent, self._read(place)
        raise self._refuse(
            f"there is no state.json in {mounts[0].path}, so it is not the output of a session of kgtts"
        )

    def _download(self, downloads: Downloads) -> tuple[Path, dict[str, Any]]:
        """Download all but the checkpoints. Returns the folder and the content of its state.json."""
        self._bring(downloads, STATE_FILE)
        state = self._read(downloads.folder / STATE_FILE)
        for path in downloads:
            if not _ANY_CHECKPOINT.match(PurePosixPath(path).name):
                try:
                    self._bring(downloads, path)
                except DamagedError as error:
                    self._report.warn(f"{path} of the session before could not be downloaded: {error}.")
        return downloads.folder, state

    def _bring(self, downloads: Downloads, wanted: CheckpointEntry | str) -> None:
        """Download a checkpoint, or the file at a path.

        Raises:
            DamagedError: there is no such file, or it is damaged. Not for state.json.
            KernelFailure: it could not be downloaded.
        """
        path = wanted if isinstance(wanted, str) else str(wanted.path)
        try:
            if isinstance(wanted, str):
                downloads.bring(path)
            else:
                downloads.bring(path, wanted.size, wanted.sha256)
        except DownloadError as error:
            if isinstance(error, DamagedError) and path != STATE_FILE:
                raise
            asked = self._asked
            raise KernelFailure(
                EndReason.HANDOVER_FAILED,
                f"{path} of session {asked['session']} ({asked['kernel']} version {asked['version']}) could "
                f"not be downloaded: {error}. The next pass of kgtts continues the run by itself.",
            ) from error

    def _read(self, place: Path) -> dict[str, Any]:
        try:
            return read_parent_state(place)
        except ParentStateError as error:
            raise self._refuse(f"{place} {error}") from error

    def _verify(self, mount: Path, state: Mapping[str, Any]) -> None:
        """Refuse the output of another run, another session, or an older version."""
        asked = self._asked
        run, session, step = state["run"]["id"], state["run"]["session"], state["global_step"]
        if run != asked["run"]:
            raise self._refuse(f"{mount} is the output of run {shown(run)}")
        if session != asked["session"]:
            older = session is not None and session < asked["session"]
            raise self._refuse(
                f"{mount} is the output of {'an older version, ' if older else ''}session {session} of the "
                f"same run, at step {step}"
            )
        if step is None or step < asked["global_step"]:
            raise self._refuse(
                f"{mount} is the output of an older version: its newest checkpoint is at step {step}"
            )

    def _entries(self, mount: Path, state: Mapping[str, Any]) -> list[CheckpointEntry]:
        """The checkpoints in state.json: first the one to continue from, then the others, newest first."""
        listed = state.get("checkpoints")
        read = [CheckpointEntry.read(item) for item in listed] if isinstance(listed, list) else []
        first = state["checkpoint"]
        entries = sorted(
            (entry for entry in read if entry is not None),
            key=lambda entry: (entry.global_step, str(entry.path) == first),
            reverse=True,
        )
        if not entries:
            raise self._refuse(f"the state.json in {mount} lists no checkpoint")
        newest, asked = entries[0], self._asked
        wanted = asked["sha256"]
        if wanted and newest.global_step == asked["global_step"] and newest.sha256 != wanted:
            raise self._refuse(
                f"{newest.path} in {mount} has SHA-256 {newest.sha256[:12]}… instead of {wanted[:12]}…"
            )
        return entries

    def _newest_whole(self, mount: Path, entries: list[CheckpointEntry]) -> tuple[CheckpointEntry, Path]:
        """Copy the newest checkpoint that matches state.json; warn if that is not the newest of all."""
        faults: list[str] = []
        for entry in entries:
            target = self._paths.working / entry.path
            fault = self._copy_verified(mount, entry, target)
            if fault is None:
                if faults:
                    self._report.warn(f"{faults[0]}; the training continues from {entry.path.name} instead.")
                return entry, target
            faults.append(f"{entry.path.name} {fault}")
        raise self._refuse(f"no checkpoint in {mount} is whole: {'; '.join(faults)}")

    def _place(self, mount: Path, path: PurePosixPath) -> Path:
        """The place of an output of the session before in the mount."""
        place = mount / path
        return mount / path.name if self._asked["dataset"] and not place.is_file() else place

    def _copy_verified(self, mount: Path, entry: CheckpointEntry, target: Path) -> str | None:
        """Copy and hash in one pass, since a checkpoint is 1 GB. Returns what is wrong with it, or None."""
        if self._downloads is not None:
            return self._move_downloaded(self._downloads, entry, target)
        source = self._place(mount, entry.path)
        if not source.resolve().is_relative_to(mount.resolve()) or not source.is_file():
            return "is missing"
        if (size := source.stat().st_size) != entry.size:
            return f"is damaged ({human_size(size)} instead of {human_size(entry.size)})"
        part = target.with_name(f"{OWN_PREFIX}{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        try:
            with source.open("rb") as read, part.open("wb") as written:
                while chunk := read.read(_COPY_CHUNK):
                    digest.update(chunk)
                    written.write(chunk)
            if digest.hexdigest() != entry.sha256:
                return "is damaged (its SHA-256 differs from the one in state.json)"
            if (why := damage(part)) is not None:
                return why
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return None

    def _move_downloaded(self, downloads: Downloads, entry: CheckpointEntry, target: Path) -> str | None:
        """Download, verify and move a checkpoint. Returns what is wrong with it, or None."""
        try:
            self._bring(downloads, entry)
        except DamagedError as error:
            return f"could not be downloaded ({error})"
        source = downloads.folder / entry.path
        if not source.is_file():
            return "is missing"
        if (why := damage(source)) is not None:
            return why
        part = target.with_name(f"{OWN_PREFIX}{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.move(source, part)  # The folders may be on two disks, and then this copies.
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return None

    def _copy_others(self, mount: Path, source: Path, target: Path) -> None:
        """Copy the rest of the run folder (configuration, logs, event files) without other checkpoints."""
        paths = self._paths
        session = {paths.state.name, paths.log.name, paths.metrics.name} if source == mount else set()

        def ignore(folder: str, names: list[str]) -> set[str]:
            return {
                name
                for name in names
                if _ANY_CHECKPOINT.match(name)
                or name in session
                or name.startswith((OWN_PREFIX, HANDOVER_PREFIX))
                or Path(folder, name).is_symlink()
            }

        # Not the modes: the mount is read-only, and the copies must be writable.
        shutil.copytree(source, target, ignore=ignore, copy_function=shutil.copyfile, dirs_exist_ok=True)
        for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
            folder.chmod(0o755)

    def _best_model(
        self, mount: Path, state: Mapping[str, Any], entries: list[CheckpointEntry], chosen: CheckpointEntry
    ) -> Path | None:
        """Copy the best model, and link it under the second name that the trainer gives it."""
        entry = next((item for item in entries if str(item.path) == state.get("best_model")), None)
        if entry is None or entry.path.parent != chosen.path.parent:
            return None
        best = self._paths.working / entry.path
        if entry != chosen and (fault := self._copy_verified(mount, entry, best)) is not None:
            self._report.warn(f"The best model {entry.path.name} {fault}; the training continues without it.")
            return None
        with contextlib.suppress(OSError):  # A link, since only a script may look for this name.
            best.with_name(BEST_MODEL_LINK).symlink_to(best.name)
        return best


def open_parent(context: "SessionContext", resume: ResumeSettings) -> ParentSession:
    """The session before, with what of it this session can download."""
    tools, paths, downloads = context.tools, context.paths, None
    if (urls := resume["downloads"]) is not None:
        rules = DownloadRules(clock=tools.clock, sleep=tools.sleep)
        downloads = Downloads(urls, paths, context.report, context.stop, rules)
    return ParentSession(resume, paths, context.report, tools.write, downloads)
