"""Lets the host run trainings that a script starts as programs of their own.

Cells of notebooks call Coqui's script with `!python …`; a script does so with `os.system` or `subprocess`.
Without the host such a training would neither stop in time nor resume exactly, and each rank would start one.
Commands that are no training, or that are not recognised, are not changed.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernel_template.host.rendezvous import ASSIGNED_GPU, VARIABLES, Rendezvous

PID_FILE = "KGTTS_PROGRAM"  # Of the environment: where a program in the host writes its process id.
_HOST = "kernel_template.host"
_PYTHON = re.compile(r"(?:.*/)?python[\d.]*")
_SHELL = re.compile(r"(?:.*/)?(?:ba|da|z)?sh")
_TRAINING_MODULE = "TTS.bin.train_tts"
_LAUNCHER = "trainer.distribute"  # Starts its --script once for each GPU; the ranks do that here.
_LAUNCHERS = (
    "torch.distributed.run",
    "torch.distributed.launch",
    "accelerate.commands.launch",
)  # So do these.
_WITH_VALUE = ("-W", "-X")  # Options of Python.
_USES_TRAINER = re.compile(r"^\s*(?:from|import)\s+trainer\b|TTS\.bin(?:\.| import )train_tts", re.MULTILINE)
_WORD = r"(?:'[^']*'|\"[^\"]*\"|[^\s;&|<>()'\"])+"
_BEFORE = rf"(?:^|[;&|(\n])[ \t]*(?:\w+={_WORD}[ \t]+|(?:nohup|time|exec|env)[ \t]+)*"
_COMMAND = re.compile(
    rf"(?P<before>{_BEFORE})"
    r"(?P<command>(?:\S*/)?(?:python[\d.]*|torchrun|accelerate\s+launch|(?:ba|da|z)?sh)(?=\s)"
    rf"(?:[ \t]+{_WORD})*)"
)


def hosted(words: Sequence[str], control: str, folder: Path) -> list[str] | None:
    """Return the command that runs the training of a command in the host; None if it is no training.

    Args:
        words: the command.
        control: CONTROL.json.
        folder: where it would run.
    """
    program = _program(list(words), folder)
    return None if program is None else [sys.executable, "-u", "-P", "-m", _HOST, control, *program]


def _program(words: list[str], folder: Path) -> list[str] | None:
    """Return what a command trains with: a script or `-m` and a module, with arguments; None for others."""
    name, rest = Path(words[0]).name if words else "", words[1:]
    if name == "torchrun" or (name == "accelerate" and rest[:1] == ["launch"]):
        return _if_training(_from_script(rest), folder)
    if not _PYTHON.fullmatch(name) and words[:1] != [sys.executable]:
        return None
    while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
        rest = rest[2 if rest[0] in _WITH_VALUE else 1 :]
    if rest[:2] == ["-m", _TRAINING_MODULE]:
        return rest
    if rest[:2] == ["-m", _LAUNCHER]:
        return _if_training(_of_launcher(rest[2:]), folder)
    if rest[:1] == ["-m"] and rest[1:2] and rest[1] in _LAUNCHERS:
        return _if_training(_from_script(rest[2:]), folder)
    return _if_training(rest, folder)


def _from_script(words: list[str]) -> list[str]:
    """Return the words from the first script on; those before are its launcher's."""
    return words[next((at for at, word in enumerate(words) if word.endswith(".py")), len(words)) :]


def _of_launcher(words: list[str]) -> list[str]:
    """Return script and arguments of trainer.distribute."""
    words = [part for word in words for part in _halves(word)]
    script: list[str] = []
    rest: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("--script", "--gpus") and words:
            value = words.pop(0)
            script = [value] if word == "--script" else script
        else:
            rest.append(word)
    return [*script, *rest] if script else []


def _halves(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith(("--script=", "--gpus=")) else [word]


def _if_training(program: list[str], folder: Path) -> list[str] | None:
    """Return the program if it is a script that uses Coqui's trainer."""
    if not program or not program[0].endswith(".py"):
        return None
    try:
        text = Path(folder, program[0]).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return program if "train" in Path(program[0]).name else None
    return program if _USES_TRAINER.search(text) else None


class TrainingPrograms:
    """Hooks of `subprocess` and `os.system`.

    Args:
        control: CONTROL.json.
        root: the folder that holds this package.
        folder: where a program in the host writes its process id.
        rendezvous: which rank this is.
        say: writes a line to the log.
    """

    def __init__(
        self, control: str, root: Path, folder: Path, rendezvous: Rendezvous, say: Callable[[str], None]
    ) -> None:
        self._control = control
        self._root = root
        self._pid_file = folder / f"PROGRAM{rendezvous.rank}.pid"
        self._rendezvous = rendezvous
        self._say = say
        self._said: set[str] = set()

    def install(self) -> None:
        """Put the hooks in place."""
        started, system = subprocess.Popen.__init__, os.system

        def popen(process: Any, args: Any, *rest: Any, **named: Any) -> None:
            changed = self.changed(args, Path(named.get("cwd") or "."), shell=bool(named.get("shell")))
            if changed is not None:
                named["env"] = self._environment(named.get("env"))
                self._pass_signals_on()
                args = changed
            started(process, args, *rest, **named)

        def run_in_shell(command: Any) -> int:
            if self.changed(command, Path(), shell=True) is None:  # noqa: S604 - it starts nothing.
                return system(command)
            code = subprocess.call(command, shell=True)  # noqa: S602 - the script's own command.
            return code << 8 if code >= 0 else -code

        subprocess.Popen.__init__ = popen  # type: ignore[method-assign, assignment]
        os.system = run_in_shell

    def changed(self, command: Any, folder: Path, *, shell: bool) -> Any:
        """Return the command with its training in the host; None if there is none in it."""
        if isinstance(command, str) and shell:
            line = command.replace("\\\n", " ")  # Continued on the next one.
            text = _COMMAND.sub(
                lambda found: found["before"] + self._in_shell(found["command"], folder), line
            )
            return None if text == line else text
        if shell or isinstance(command, str | bytes | os.PathLike):
            return None
        words = [os.fspath(word) for word in command]
        if not all(isinstance(word, str) for word in words):
            return None
        return self._words(words, folder)

    def _words(self, words: list[str], folder: Path) -> list[str] | None:
        """Return the words of a command with its training in the host; None if there is none in it."""
        made = hosted(words, self._control, folder)
        if made is not None:
            self._announce(words)
            return made
        if not words or not _SHELL.fullmatch(words[0]):
            return None
        at = next((at for at, word in enumerate(words[1:], 1) if not word.startswith("-")), len(words))
        if at == len(words):
            return None
        before, line, rest = words[:at], words[at], words[at + 1 :]
        if not words[at - 1].endswith("c") or at == 1:  # No -c: it is a file, whose name is $0 all the same.
            before, rest = [*before, "-c"], [line, *rest]
            try:
                line = Path(folder, line).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                return None
        changed = self.changed(line, folder, shell=True)  # noqa: S604 - it starts nothing.
        return None if changed is None else [*before, changed, *rest]

    def _in_shell(self, command: str, folder: Path) -> str:
        try:
            words = shlex.split(command)
        except ValueError:
            return command
        made = self._words(words, folder)
        if made is None:
            return command
        # What a word of the shell was before its quotes were read, such as $HOME, stays as it is.
        raw = re.findall(_WORD, command)
        same = {word: text for word, text in zip(words, raw, strict=False) if len(words) == len(raw)}
        return " ".join(same.get(word) or shlex.quote(word) for word in made)

    def _announce(self, words: Sequence[str]) -> None:
        what = shlex.join(words[:3])
        if not self._rendezvous.rank and what not in self._said:
            self._said.add(what)
            self._say(f"the script starts a training as a program of its own: kgtts's host runs `{what} …`")

    def _environment(self, given: Mapping[str, str] | None) -> dict[str, str]:
        """Return what the program needs to find this package, its GPU, and where to write its id."""
        base = dict(os.environ if given is None else given)
        base["PYTHONPATH"] = os.pathsep.join(filter(None, (str(self._root), base.get("PYTHONPATH"))))
        base[PID_FILE] = str(self._pid_file)
        if self._rendezvous.gpu is not None:
            base[ASSIGNED_GPU] = self._rendezvous.gpu
        for name in VARIABLES:
            if name in os.environ:
                base[name] = os.environ[name]
        return base

    def _pass_signals_on(self) -> None:
        """Let SIGINT stop the program, not the script that waits for it: that would kill it unsaved."""
        self._pid_file.unlink(missing_ok=True)
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            return

        def send(number: int, frame: Any) -> None:
            try:
                os.kill(int(self._pid_file.read_text(encoding="ascii")), number)
            except (OSError, ValueError):
                before(number, frame)

        signal.signal(signal.SIGINT, send)


def write_pid(environment: Mapping[str, str]) -> bool:
    """Tell the script that started this program which process it is; False if no script did."""
    path = environment.get(PID_FILE)
    if path:
        Path(path).write_text(str(os.getpid()), encoding="ascii")
    return bool(path)
