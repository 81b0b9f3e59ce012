"""Why a training failed, out of the last lines that it wrote: the cause, and what to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kernel_template.tools.failure import EndReason

_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning|Failure)?(?::.*)?$"
)
_CHAINED = ("During handling of the above exception", "direct cause of the following exception")
_MAX_CAUSE = 600
_TAIL = 40  # lines, for programs that show no traceback
_SIGKILL, _SIGSEGV = -9, -11

_OLD_SCRIPT = (
    "The script was written for Coqui TTS 0.22, and the session has {tts}. Set inputs.script = "
    '"TTS.bin.train_tts" to train with the installed package\'s own script, or bring the script up to date.'
)


# What is searched in the whole end of the log, why it happens, and what to do; the first that fits is told.
@dataclass(frozen=True, slots=True)
class _Known:
    """A failure that is known: how it shows, what to do, and its reason."""

    pattern: str
    advice: str
    reason: EndReason = EndReason.TRAINING_FAILED


# As torch says it, and the libraries beneath: cuBLAS, cuDNN, cuFFT ("CUFFT_ALLOC_FAILED") and NCCL.
_OUT_OF_MEMORY = (
    r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|Cuda failure.{0,30}out of memory|"
    r"CU[A-Z]+_\w*ALLOC(?:ATION)?_FAILED"
)
_KNOWN: tuple[_Known, ...] = (
    _Known(
        r"No space left on device|Errno 28|Disk quota exceeded|PytorchStreamWriter failed writing|"
        r"inline_container\.cc.{0,80}(?:unexpected pos|write failed)",
        "The disk is full: keep fewer checkpoints (session.keep_checkpoints), or raise session.disk_limit "
        "where it is below what Kaggle keeps.",
        EndReason.DISK_FULL,
    ),
    _Known(
        _OUT_OF_MEMORY,
        "The GPU's memory is too small for the batch: lower training.batch_size (it is {batch_size}).",
    ),
    _Known(
        r"cannot import name '(?:VitsAudioConfig|VitsAudio)|has no attribute 'init_from_config'|"
        r"need to pass a config instance to\s*`?load_tts_samples|load_tts_samples\(\) (?:got|takes|missing)",
        _OLD_SCRIPT,
    ),
    _Known(
        r"No module named 'TTS\.|cannot import name '\w+' from 'TTS|has no attribute '\w+'.*\bTTS\b",
        _OLD_SCRIPT,
    ),
    _Known(
        r"No module named '(?P<name>[\w.]+)'",
        "The script needs {name}: add the package that brings it to install.packages.",
    ),
    _Known(
        r"\d+ active GPUs",
        "The script shows more than one card to the trainer: remove CUDA_VISIBLE_DEVICES from it.",
    ),
    _Known(
        r"Duplicate GPU detected",
        "The script puts both processes on one card: remove CUDA_VISIBLE_DEVICES from it, or set "
        "speed.gpus = 1.",
    ),
    _Known(
        r"is killed by signal: Bus error|insufficient shared memory",
        "The data loaders ran out of shared memory: lower num_loader_workers in training.coqui.",
    ),
    _Known(
        r"enough samples for the evaluation set",
        "The data set is too small for its evaluation part: raise eval_split_size in training.coqui.",
    ),
    _Known(
        r"No samples left",
        "No recording can be used: they cannot be read (see above), or their length is outside min_audio_len "
        "and max_audio_len. Upload the data set again, or set these in training.coqui.",
    ),
    _Known(
        r"No training samples found",
        "The metadata names no recording that is there: check datasets.0.path, meta_file_train and "
        "formatter.",
    ),
    _Known(
        r"LibsndfileError|Error opening ['\"]|Format not recognised|Failed to open the input|Could not "
        r"open input file",
        "A recording cannot be read: check that the named file is whole, and upload the data set again.",
    ),
    _Known(
        r"No such file or directory: ['\"]?(?P<name>[^'\"\n]+)",
        "{name} is not there: check the paths in the metadata and in the base voice's config.json.",
    ),
    _Known(
        r"unrecognized arguments|error: the following arguments are required",
        "The script does not take Coqui's --config_path and --restore_path: it has to be one for "
        "Coqui's Trainer.",
    ),
    _Known(
        r"IndexError[\s\S]*coqpit|coqpit[\s\S]*IndexError",
        "Coqui cannot take settings as arguments while a list in config.json is empty: "
        "let the script read --config_path.",
    ),
    _Known(
        r"PytorchStreamReader failed|Weights only load failed|invalid load key|not a ZIP "
        r"archive|UnpicklingError",
        "The base voice's checkpoint cannot be loaded: upload model_file.pth again.",
    ),
    _Known(
        r"CUDA error|CUDNN_STATUS|NCCL",
        "The GPU or its driver failed: start the session again.",
    ),
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a training failed: for programs, in the training's own words, and what to do."""

    reason: EndReason
    cause: str
    advice: str

    @property
    def sentence(self) -> str:
        """Cause and advice in one text."""
        return f"{self.cause} {self.advice}".strip()


def _last_raised(lines: Sequence[str]) -> str | None:
    """The exception line (and the lines of its message) of the last traceback."""
    starts = [index for index, line in enumerate(lines) if _TRACEBACK in line]
    if not starts:
        return None
    # A line of another process may stand between: what is indented or framed is skipped.
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
    """The last traceback with those that it says it came of."""
    start = len(lines)
    for index in range(len(lines) - 1, -1, -1):
        if _TRACEBACK in lines[index]:
            start = index
            before = " ".join(lines[max(0, index - 3) : index])
            if not any(link in before for link in _CHAINED):
                break
    return "\n".join(lines[start:])


def _last_error(lines: Sequence[str]) -> str | None:
    """The last line that looks like an error, for programs that show no traceback."""
    for line in reversed(lines):
        if re.search(r"error\b|\bfailed\b|\bkilled\b|exception\b", line, re.IGNORECASE):
            return line.strip()[:_MAX_CAUSE]
    return None


def diagnose(lines: Sequence[str], returncode: int, *, batch_size: int, tts: str | None) -> Diagnosis:
    """Find out why a training ended with `returncode`.

    Args:
        lines: the last lines of its output, without colours.
        returncode: as in subprocess, negative for a signal.
        batch_size: the batch size in use, named in the advice for memory.
        tts: the installed Coqui version, named in the advice for old scripts.
    """
    raised = _last_raised(lines)
    ended = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
    cause = raised or _last_error(lines)
    cause = (
        f"The training failed: {cause}" if cause else f"The training ended with {ended} and gave no reason."
    )
    if not cause.endswith((".", "!", "?")):
        cause += "."
    # The exception itself speaks first, then what it came of; other lines may tell of troubles that were
    # survived.
    for text in (raised, _last_chain(lines)) if raised else ("\n".join(lines[-_TAIL:]),):
        for known in _KNOWN:
            if match := re.search(known.pattern, text):
                name = match.groupdict().get("name") or ""
                told = known.advice.format(
                    name=name, batch_size=batch_size, tts=f"coqui-tts {tts}" if tts else "another"
                )
                return Diagnosis(known.reason, cause, told)
    if returncode == _SIGKILL:
        return Diagnosis(
            EndReason.TRAINING_FAILED,
            "The training was killed by the system (signal 9).",
            "The machine's memory was probably full: lower num_loader_workers or training.batch_size.",
        )
    if returncode == _SIGSEGV:
        return Diagnosis(
            EndReason.TRAINING_FAILED, "The training crashed (signal 11).", "Start the session again."
        )
    return Diagnosis(EndReason.TRAINING_FAILED, cause, "")


def ran_out_of_memory(lines: Sequence[str]) -> bool:
    """Whether a training that failed died of its card's memory, by its last traceback."""
    raised = _last_raised(lines)
    return raised is not None and re.search(_OUT_OF_MEMORY, raised) is not None
