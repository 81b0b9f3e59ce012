"""Why a training failed, judged by the last lines that it printed, and what to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kernel_template.contract import EndReason

_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning|Failure)?(?::.*)?$"
)
_CHAINED = ("During handling of the above exception", "direct cause of the following exception")
_MAX_CAUSE = 600
_TAIL = 40  # Lines, for programs that print no traceback.
_SIGKILL, _SIGSEGV = -9, -11

_OLD_SCRIPT = (
    "The script was written for Coqui TTS 0.22, but the session has {tts}. Set inputs.script = "
    '"TTS.bin.train_tts" to train with the installed package\'s own script, or update the script.'
)


@dataclass(frozen=True, slots=True)
class _Known:
    """A known failure: the pattern that it prints, what to do, and the reason for the session's end."""

    pattern: str
    advice: str
    reason: EndReason = EndReason.TRAINING_FAILED


# The words of torch and of the libraries below it: cuBLAS, cuDNN, cuFFT ("CUFFT_ALLOC_FAILED") and NCCL.
_OUT_OF_MEMORY = (
    r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|Cuda failure.{0,30}out of memory|"
    r"CU[A-Z]+_\w*ALLOC(?:ATION)?_FAILED"
)
# The first that matches counts.
_KNOWN: tuple[_Known, ...] = (
    _Known(
        r"No space left on device|Errno 28|Disk quota exceeded|PytorchStreamWriter failed writing|"
        r"inline_container\.cc.{0,80}(?:unexpected pos|write failed)",
        "The disk is full. Keep fewer checkpoints with session.keep_checkpoints, or raise session.disk_limit "
        "if it is below what Kaggle allows.",
        EndReason.DISK_FULL,
    ),
    _Known(
        _OUT_OF_MEMORY,
        "The GPU's memory is too small for the batch: lower training.batch_size, which is {batch_size}.",
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
        "The script needs {name}: add the package that has it to install.packages.",
    ),
    _Known(
        r"\d+ active GPUs",
        "The script shows more than one GPU to the trainer: remove CUDA_VISIBLE_DEVICES from the script.",
    ),
    _Known(
        r"Duplicate GPU detected",
        "The script puts both processes on one GPU: remove CUDA_VISIBLE_DEVICES from the script, or set "
        "speed.gpus = 1.",
    ),
    _Known(
        r"is killed by signal: Bus error|insufficient shared memory",
        "The data loaders ran out of shared memory: lower num_loader_workers in training.coqui.",
    ),
    _Known(
        r"enough samples for the evaluation set",
        "The dataset is too small for an evaluation part: raise eval_split_size in training.coqui.",
    ),
    _Known(
        r"No samples left",
        "No recording can be used: none can be read (see above), or their lengths are outside min_audio_len "
        "and max_audio_len. Upload the dataset again, or set these in training.coqui.",
    ),
    _Known(
        r"No training samples found",
        "None of the recordings in the metadata exists: check datasets.0.path, meta_file_train and "
        "formatter.",
    ),
    _Known(
        r"LibsndfileError|Error opening ['\"]|Format not recognised|Failed to open the input|Could not "
        r"open input file",
        "A recording cannot be read: check that this file is whole, and upload the dataset again.",
    ),
    _Known(
        r"No such file or directory: ['\"]?(?P<name>[^'\"\n]+)",
        "{name} does not exist: check the paths in the metadata and in the base voice's config.json.",
    ),
    _Known(
        r"unrecognized arguments|error: the following arguments are required",
        "The script does not accept Coqui's --config_path and --restore_path: it must be a script for "
        "Coqui's Trainer.",
    ),
    _Known(
        r"IndexError[\s\S]*coqpit|coqpit[\s\S]*IndexError",
        "Coqui cannot take settings as arguments if a list in config.json is empty: let the script read "
        "--config_path.",
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


def _last_error(lines: Sequence[str]) -> str | None:
    """The last line that looks like an error, for programs that print no traceback."""
    for line in reversed(lines):
        if re.search(r"error\b|\bfailed\b|\bkilled\b|exception\b", line, re.IGNORECASE):
            return line.strip()[:_MAX_CAUSE]
    return None


def diagnose(lines: Sequence[str], returncode: int, *, batch_size: int, tts: str | None) -> Diagnosis:
    """Find out why a training failed.

    Args:
        lines: the last lines of its output, without colours.
        returncode: as in subprocess, negative for a signal.
        batch_size: the batch size, for the advice on memory.
        tts: the version of Coqui TTS, for the advice on old scripts.
    """
    raised = _last_raised(lines)
    ended = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
    cause = raised or _last_error(lines)
    cause = f"The training failed: {cause}" if cause else f"The training ended with {ended} without a reason."
    if not cause.endswith((".", "!", "?")):
        cause += "."
    # The exception itself counts most, then what caused it. Other lines may be about problems that the
    # training survived.
    for text in (raised, _last_chain(lines)) if raised else ("\n".join(lines[-_TAIL:]),):
        for known in _KNOWN:
            if match := re.search(known.pattern, text):
                name = match.groupdict().get("name") or ""
                advice = known.advice.format(
                    name=name, batch_size=batch_size, tts=f"coqui-tts {tts}" if tts else "another"
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
    return raised is not None and re.search(_OUT_OF_MEMORY, raised) is not None
