"""A program that does something with a voice, in a process of its own: it tells its results as JSON lines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernel_template.tools.files import WriteFile, json_bytes
from kernel_template.tools.lines import tagged_record
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.process import ChildEnd, ChildPlan, RunChild


@dataclass(frozen=True, slots=True)
class Told:
    """How a program ended, the records that it told, and what else it said."""

    end: ChildEnd
    records: list[dict[str, Any]]
    said: list[str]

    @property
    def last_words(self) -> str:
        """The last line that was no record."""
        return (self.said or ["no reason"])[-1]


@dataclass(frozen=True, slots=True)
class VoiceProgram:
    """A program of this package that does something with a voice.

    Args:
        run: runs it.
        programs: has it, and the interpreter that trained.
        module: which it is, such as `finish.speak_program`.
        env: its environment.
        folder: where it runs; what it is asked lies there, too.
        write: how files are written.
    """

    run: RunChild
    programs: PackagePrograms
    module: str
    env: Mapping[str, str]
    folder: Path
    write: WriteFile

    def __call__(  # noqa: PLR0913 - what the programs take, and how they are heard.
        self,
        config: Path,
        checkpoint: Path,
        sentences: Sequence[str],
        out: Path,
        *,
        tag: str,
        limit_s: float,
        hear: Callable[[dict[str, Any]], None] = lambda _record: None,
    ) -> Told:
        """Run it to its end.

        Args:
            config: the voice's configuration.
            checkpoint: its weights.
            sentences: what it is to say.
            out: where its files go.
            tag: what its records are told under.
            limit_s: seconds that it may take.
            hear: gets each record as it comes.

        Raises:
            OSError: it could not be started, or the sentences could not be written.
        """
        records: list[dict[str, Any]] = []
        said: list[str] = []

        def on_line(text: str, *, is_bar: bool) -> None:
            record = tagged_record(text, tag)
            if record is not None:
                records.append(record)
                hear(record)
            elif text.strip() and not is_bar:
                said.append(text.strip())

        asked = self.folder / "sentences.json"
        self.write(asked, json_bytes(list(sentences)))
        files = {"config": config, "checkpoint": checkpoint, "sentences": asked, "out": out}
        arguments = [part for name, path in files.items() for part in (f"--{name}", str(path))]
        command, env = self.programs.command(self.module, *arguments), self.programs.environment(self.env)
        return Told(self.run(ChildPlan(command, env, self.folder, limit_s), on_line), records, said)
