"""Why a training failed, judged by the last lines that it printed, and what to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from kernel_template.contract import NODE_LOST, RANK_ENDED, RANK_LINES, EndReason
from kernel_template.train.known_failures import KNOWN, OUT_OF_MEMORY

_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning|Failure)?(?::.*)?$"
)
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+)')
_LIBRARY = re.compile(r"site-packages|dist-packages|/lib/python\d|^<|kernel_template/")
_CHAINED = ("During handling of the above exception", "direct cause of the following exception")
# What launch.py prints of several processes.
_ENDED = re.compile(
    re.escape(RANK_ENDED.partition("{rank}")[0]) + r"\d+ (?:was killed|ended)\b.*so the training ended"
)
_LOST = re.compile(re.escape(NODE_LOST.partition("{node}")[0]) + r"(?P<lost>\d+ .*), so the training ended")
_BEGIN = re.compile(re.escape(RANK_LINES.partition("{rank}")[0]))
_OF_A_RANK = re.compile(r"\[rank \d+\] ")
_MAX_CAUSE = 600
_TAIL = 40  # Lines, for programs that print no traceback.
_SIGKILL, _SIGSEGV = -9, -11


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a training failed: the reason for programs, the cause in the training's words, and what to do."""

    reason: EndReason
    cause: str
    advice: str

    @property
    def sentence(self) -> str:
        """Cause and advice together."""
        return f"{self.cause} {self.advice}".strip()


def _last_raised(lines: Sequence[str]) -> str | None:
    """The exception of the last traceback, with all lines of its message; None without a traceback."""
    starts = [index for index, line in enumerate(lines) if _TRACEBACK in line]
    if not starts:
        return None
    # Lines of another process may come between: skip what is indented or framed.
    for index in range(starts[-1] + 1, len(lines)):
        line = lines[index]
        if line and not line[0].isspace() and _RAISED.match(line):
            message = [line]
            for more in lines[index + 1 : index + 6]:
                if not more.strip() or more.lstrip().startswith(("!", ">", "|")):
                    break
                message.append(more.strip())
            return " ".join(message)[:_MAX_CAUSE]
    return None


def _last_chain(lines: Sequence[str]) -> str:
    """The last traceback, with the exceptions that caused it."""
    start = len(lines)
    for index in range(len(lines) - 1, -1, -1):
        if _TRACEBACK in lines[index]:
            start = index
            before = " ".join(lines[max(0, index - 3) : index])
            if not any(link in before for link in _CHAINED):
                break
    return "\n".join(lines[start:])


def _script_line(chain: str) -> str:
    """Where in the script, rather than in a library, a traceback ends: " in line 3 of train.py"; else ""."""
    frames = filter(None, map(_FRAME.match, chain.splitlines()))
    own = [frame for frame in frames if not _LIBRARY.search(frame["file"])]
    return f" in line {own[-1]['line']} of {PurePath(own[-1]['file']).name}" if own else ""


def _last_error(lines: Sequence[str]) -> str | None:
    """The last line that looks like an error, for programs that print no traceback."""
    for line in reversed(lines):
        if re.search(r"error\b|\bfailed\b|\bkilled\b|exception\b", line, re.IGNORECASE):
            return line.strip()[:_MAX_CAUSE]
    return None


def _of_the_cause(lines: Sequence[str]) -> Sequence[str]:
    """The lines of the process that failed first, if the launcher of several says which that was.

    The others only miss it. What they print must not be taken for the cause.
    """
    ended = next((index for index in range(len(lines) - 1, -1, -1) if _ENDED.match(lines[index])), None)
    if ended is not None:
        begin = next((index for index in range(ended, -1, -1) if _BEGIN.match(lines[index])), ended)
        return lines[begin + 1 : ended] or [lines[ended]]
    return [line for line in lines if not _OF_A_RANK.match(line)] or lines


def diagnose(lines: Sequence[str], returncode: int, *, batch_size: int, tts: str | None) -> Diagnosis:
    """Find out why a training failed.

    Args:
        lines: the last lines of its output, without colours.
        returncode: as in subprocess, negative for a signal.
        batch_size: the batch size, for the advice on memory.
        tts: the version of Coqui TTS, for the advice on old scripts.
    """
    lost = next((match for line in reversed(lines) if (match := _LOST.match(line))), None)
    if lost is not None:
        return Diagnosis(
            EndReason.INTERRUPTED,
            f"The training was interrupted: machine {lost['lost']}.",
            "Start it again: it continues from the newest checkpoint.",
        )
    lines = _of_the_cause(lines)
    raised = _last_raised(lines)
    ended = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
    cause = raised or _last_error(lines)
    cause = f"The training failed: {cause}" if cause else f"The training ended with {ended} without a reason."
    if not cause.endswith((".", "!", "?")):
        cause += "."
    # The exception itself counts most, then what caused it. Other lines may be about problems that the
    # training survived.
    for text in (raised, _last_chain(lines)) if raised else ("\n".join(lines[-_TAIL:]),):
        for known in KNOWN:
            if match := re.search(known.pattern, text, re.MULTILINE):
                name = match.groupdict().get("name") or ""
                advice = known.advice.format(
                    name=name,
                    line=_script_line(_last_chain(lines)),
                    batch_size=batch_size,
                    tts=f"coqui-tts {tts}" if tts else "another",
                )
                return Diagnosis(known.reason, cause, advice)
    if returncode == _SIGKILL:
        return Diagnosis(
            EndReason.TRAINING_FAILED,
            "The training was killed by the system (signal 9).",
            "Its memory was probably full: lower num_loader_workers in training.coqui, or "
            "training.batch_size.",
        )
    if returncode == _SIGSEGV:
        return Diagnosis(
            EndReason.TRAINING_FAILED, "The training crashed (signal 11).", "Start the session again."
        )
    return Diagnosis(EndReason.TRAINING_FAILED, cause, "")


def ran_out_of_memory(lines: Sequence[str]) -> bool:
    """Whether GPU memory ran out, judged by the last traceback."""
    raised = _last_raised(lines)
    return raised is not None and re.search(OUT_OF_MEMORY, raised) is not None
