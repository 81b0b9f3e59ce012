"""Runs a program of this package that loads a voice, and collects the JSON lines that it prints."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.tools.files import WriteFile, json_bytes
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import ChildEnd, ChildPlan, RunChild


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How a program ended, the records that it printed, and its other lines."""

    end: ChildEnd
    records: list[dict[str, Any]]
    lines: list[str]

    @property
    def last_line(self) -> str:
        """The last line that is not a record; for an error message."""
        return (self.lines or ["it printed nothing"])[-1]


@dataclass(frozen=True, slots=True)
class VoiceProgram:
    """`finish.speak_program` or `finish.export_program`.

    Args:
        run: runs it.
        programs: knows the command.
        module: which of the two.
        env: its environment.
        folder: its current folder; its input is written here too.
        write: writes files.
    """

    run: RunChild
    programs: PackagePrograms
    module: str
    env: Mapping[str, str]
    folder: Path
    write: WriteFile

    def __call__(  # noqa: PLR0913 - the programs' arguments, and how to listen.
        self,
        config: Path,
        checkpoint: Path,
        sentences: Sequence[str],
        out: Path,
        *,
        tag: str,
        limit_s: float,
        on_record: Callable[[dict[str, Any]], None] = lambda _record: None,
        letters: Path | None = None,
        recordings: Path | None = None,
    ) -> ProgramResult:
        """Run the program to its end.

        Args:
            config: the voice's configuration.
            checkpoint: its weights.
            sentences: what to speak, or to compare on.
            out: the folder for its files.
            tag: the key that its records are printed under.
            limit_s: seconds until it is stopped.
            on_record: called with each record as it is printed.
            letters: the counts of the training texts' letters, if the program takes them and they are there.
            recordings: what the speaker's recordings are like, likewise.

        Raises:
            OSError: it could not be started, or its input could not be written.
        """
        records: list[dict[str, Any]] = []
        lines: list[str] = []

        def on_line(text: str, *, is_bar: bool) -> None:
            record = tagged_record(text, tag)
            if record is not None:
                records.append(record)
                on_record(record)
            elif text.strip() and not is_bar:
                lines.append(text.strip())

        asked = self.folder / "sentences.json"
        self.write(asked, json_bytes(list(sentences)))
        files = {"config": config, "checkpoint": checkpoint, "sentences": asked, "out": out}
        optional = {"letters": letters, "recordings": recordings}
        files |= {name: path for name, path in optional.items() if path is not None and path.is_file()}
        arguments = [part for name, path in files.items() for part in (f"--{name}", str(path))]
        command, env = self.programs.command(self.module, *arguments), self.programs.environment(self.env)
        end = self.run(ChildPlan(command, env, self.folder, limit_s), on_line)
        return ProgramResult(end, records, lines)


def tagged_record(text: str, tag: str) -> dict[str, Any] | None:
    """Read the object in a line such as `{"tag": {…}}`; None for other lines, such as those of libraries."""
    if not text.startswith(f'{{"{tag}"'):
        return None
    try:
        record = json.loads(text)[tag]
    except (ValueError, KeyError, TypeError):
        return None
    return record if isinstance(record, dict) else None
