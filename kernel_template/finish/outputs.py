"""Writes what the session leaves: the final configuration, state.json and manifest.json, and lists it all."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.contract import OWN_PREFIX, Manifest, ManifestEntry, State
from kernel_template.start.config_file import get_dotted, read_config
from kernel_template.tools.files import WriteFile, human_size, json_bytes
from kernel_template.tools.outcome import KernelFailure
from kernel_template.tools.paths import Paths
from kernel_template.tools.report import Reporter
from kernel_template.train.checkpoints import Checkpoint, CheckpointStore

_RESERVE = f"{OWN_PREFIX}reserve"
_RESERVE_BYTES = 1024 * 1024
_MAX_LISTED = 200


@dataclass(frozen=True, slots=True)
class Outputs:
    """Writes the session's own files.

    Args:
        paths: the session's folders.
        checkpoints: the checkpoints, and the hashes of all files.
        report: prints messages.
        write: writes files.
    """

    paths: Paths
    checkpoints: CheckpointStore
    report: Reporter
    write: WriteFile

    def reserve(self) -> None:
        """Reserve some disk space, so that state.json can be written after a checkpoint filled the disk."""
        with contextlib.suppress(OSError):
            self.write(self.paths.working / _RESERVE, bytes(_RESERVE_BYTES))

    def release(self) -> None:
        """Free the reserved space, and delete files whose writer was killed, which can be 1 GB each."""
        with contextlib.suppress(OSError):
            (self.paths.working / _RESERVE).unlink()
        for part in self.paths.working.rglob(f"{OWN_PREFIX}*.part"):
            with contextlib.suppress(OSError):
                part.unlink()

    def run_folder(self, newest: Checkpoint | None) -> Path | None:
        """The trainer's run folder: that of `newest`, else the latest one that has a configuration."""
        if newest is not None and (newest.path.parent / "config.json").is_file():
            return newest.path.parent
        found = [place.parent for place in self.paths.training.glob("*/config.json")]
        return max(found, key=lambda folder: folder.stat().st_mtime, default=None)

    def final_config(self, newest: Checkpoint | None, overrides: Mapping[str, Any]) -> None:
        """Copy the configuration that was really used, and warn of settings that it lacks.

        Raises:
            OSError: the file cannot be written.
        """
        folder = self.run_folder(newest)
        if folder is None:
            return
        used = folder / "config.json"
        try:
            values = read_config(used)
        except KernelFailure as failure:
            self.report.warn(failure.message)
            return
        self.write(self.paths.config, used.read_bytes())
        for key, wanted in overrides.items():
            got = get_dotted(values, key)
            if got != wanted:
                self.report.warn(
                    f"The training did not use {key} = {json.dumps(wanted, ensure_ascii=False)}, but "
                    f"{json.dumps(got, ensure_ascii=False)}. The script sets it itself, or Coqui has no such "
                    "setting."
                )

    def remove_damaged(self) -> None:
        """Delete truncated checkpoints, which fill the disk and cannot be loaded."""
        for path, why in self.checkpoints.damaged.items():
            with contextlib.suppress(OSError):
                path.unlink()
                self.report.warn(f"{self.paths.relative(path)} {why}; it was deleted.")

    def files(self) -> list[Path]:
        """All outputs, sorted by name; without files that are being written."""
        found = []
        for folder, subfolders, names in os.walk(self.paths.working):
            subfolders.sort()
            found += [Path(folder, name) for name in sorted(names) if not name.startswith(OWN_PREFIX)]
        return [path for path in found if path.is_file() and not path.is_symlink()]

    def list_files(self) -> None:
        """Print the outputs with their sizes."""
        files = self.files()
        total = sum(path.stat().st_size for path in files)
        self.report.say(f"Outputs in {self.paths.working}: {len(files)} files, {human_size(total)}")
        for path in files[:_MAX_LISTED]:
            self.report.say(f"  {human_size(path.stat().st_size):>9}  {self.paths.relative(path)}")
        if len(files) > _MAX_LISTED:
            self.report.say(f"  … and {len(files) - _MAX_LISTED} more")

    def write_manifest(self) -> None:
        """Write the size and hash of every output.

        Raises:
            OSError: the file cannot be written.
        """
        entries: list[ManifestEntry] = [
            {
                "path": self.paths.relative(path),
                "size": path.stat().st_size,
                "sha256": self.checkpoints.sha256(path),
            }
            for path in self.files()
            if path != self.paths.manifest
        ]
        manifest: Manifest = {"files": entries}
        self.write(self.paths.manifest, json_bytes(manifest))

    def write_state(self, state: State) -> None:
        """Write state.json.

        Raises:
            OSError: the file cannot be written.
        """
        self.write(self.paths.state, json_bytes(state))
