"""Finds the cause of a failed training in its log."""

from pathlib import Path

import pytest

from kernel_template.contract import EndReason
from kernel_template.train.diagnosis import Diagnosis, diagnose, ran_out_of_memory
from tests.support import WITH_TORCH

pytestmark = WITH_TORCH

_FRAME = '  File "/x/{frame}", line 1, in fit\n    self._fit()\n'


def traceback(
    *raised: str,
    link: str = "\nDuring handling of the above exception, another exception occurred:\n",
    frame: str = "trainer.py",
) -> str:
    """Return a traceback that ends with `raised`; several are chained."""
    return f"\n{link}\n".join(
        f"Traceback (most recent call last):\n{_FRAME.format(frame=frame)}{each}" for each in raised
    )


def explain(text: str, returncode: int = 1) -> Diagnosis:
    """Diagnose a log."""
    return diagnose(text.splitlines(), returncode, batch_size=16, tts="0.28.0")


def _table() -> list[tuple[str, str, str]]:
    lines = Path(__file__).with_name("failures.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [(frame, raised, words) for frame, raised, words in rows]


FAILURES = _table()


@pytest.mark.parametrize(("frame", "raised", "words"), FAILURES)
def test_known_failures_say_what_to_do(frame: str, raised: str, words: str) -> None:
    """The exception is quoted, followed by its own advice and no other."""
    told = explain(f"> EPOCH: 0/9\n{traceback(raised, frame=frame)}\n ! Run is removed from /x\n")
    assert raised.partition(":")[0] in told.cause
    assert words in told.advice
    others = {
        other for _, _, other in FAILURES if other != words and words not in other and other not in words
    }
    assert not [other for other in others if other in told.advice]


def test_several_lines_are_looked_at_together() -> None:
    """NCCL's second line says what is wrong."""
    raised = "torch.distributed.DistBackendError: NCCL error\nLast error:\nDuplicate GPU detected : rank 0"
    assert "remove CUDA_VISIBLE_DEVICES" in explain(traceback(raised)).advice


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("usage: t.py [-h]\nt.py: error: unrecognized arguments: --config_path x", "parse_known_args"),
        ("Usage: t.py [OPTIONS]\n\nError: No such option: --config_path", "ignore_unknown_options"),
        ("Usage: t.py [OPTIONS]\n\nError: Missing option '--data'.", "give its own ones defaults"),
    ],
)
def test_scripts_with_options_of_their_own(said: str, words: str) -> None:
    """Errors of argparse and click lead to what the script must accept."""
    assert words in explain(said, 2).advice


def test_the_first_to_fail_is_the_cause() -> None:
    """Of several processes only the lines of the one that the launcher names are looked at."""
    closed = traceback(
        "RuntimeError: gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:5"
    )
    own = traceback("KeyError: 'step'")
    of_rank_1 = "\n".join(f"[rank 1] {line}" for line in closed.splitlines())
    assert "'step'" in explain(f"{own}\n{of_rank_1}").cause
    named = f" > kgtts: the last lines of rank 1:\n{own}\n > kgtts: rank 1 ended with exit code 1, so"
    assert "'step'" in explain(f"{closed}\n{named} the training ended.").cause
    killed = explain(f"{closed}\n > kgtts: rank 1 was killed by signal 9, so the training ended.", -9)
    assert "memory was probably full" in killed.sentence


@pytest.mark.parametrize(
    ("raised", "memory"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", True),
        ("torch.AcceleratorError: CUDA error: out of memory", True),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("RuntimeError: cuFFT error: CUFFT_ALLOC_FAILED", True),
        ("torch.distributed.DistBackendError: NCCL error\nLast error:\nCuda failure 2 'out of memory'", True),
        ("RuntimeError: cuFFT error: CUFFT_INTERNAL_ERROR", True),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", True),
        ("RuntimeError: GET was unable to find an engine to execute this computation", True),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", False),
        ("RuntimeError: CUDA error: device-side assert triggered", False),
        ("ValueError: bad text", False),
    ],
)
def test_memory_that_ran_out_in_all_its_forms(raised: str, *, memory: bool) -> None:
    """The kernel recognises the same out-of-memory errors in the log as the host does in exceptions."""
    assert ran_out_of_memory(traceback(raised).splitlines()) is memory
    pytest.importorskip("torch")
    from kernel_template.host.peers import is_out_of_memory  # noqa: PLC0415 - it needs torch.

    if not raised.startswith("ValueError"):
        assert is_out_of_memory(RuntimeError(raised.partition(": ")[2])) is memory


@pytest.mark.parametrize(
    "raised",
    [
        "OSError: [Errno 28] No space left on device",
        "RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
        "RuntimeError: PytorchStreamWriter failed writing file data/1: file write failed",
    ],
)
def test_a_full_disk_in_all_its_forms(raised: str) -> None:
    """PyTorch's own messages about a full disk are recognised."""
    assert explain(traceback(raised)).reason is EndReason.DISK_FULL


def test_what_an_exception_came_of_counts() -> None:
    """The full disk was the cause; torch's follow-up error only comes last."""
    told = explain(
        traceback("OSError: [Errno 28] No space left on device", "ValueError: write to closed file")
    )
    assert told.reason is EndReason.DISK_FULL
    assert "ValueError" in told.cause


def test_troubles_that_were_survived_do_not_mislead() -> None:
    """An earlier, unrelated traceback gives no advice about the last one."""
    text = (
        traceback("ModuleNotFoundError: No module named 'wandb'")
        + "\n\nlater\n"
        + traceback("ValueError: bad text")
    )
    told = explain(text)
    assert told.sentence == "The training failed: ValueError: bad text."


def test_messages_of_several_lines() -> None:
    """All lines of an exception's message count; what the trainer logs afterwards does not."""
    told = explain(traceback("ValueError: first\n  second") + "\n ! Run is kept in /x")
    assert told.cause == "The training failed: ValueError: first second."


def test_the_line_of_the_script_is_named() -> None:
    """A folder that the script makes in the inputs is traced to its line, not to the library's."""
    text = (
        "Traceback (most recent call last):\n"
        '  File "/kaggle/input/d/train_tts.py", line 12, in <module>\n    os.makedirs(OUT)\n'
        '  File "<frozen os>", line 225, in makedirs\n'
        '  File "/usr/lib/python3.11/pathlib.py", line 1116, in mkdir\n'
        "OSError: [Errno 30] Read-only file system: '/kaggle/input/d/out'\n"
    )
    assert "writes to /kaggle/input/d/out in line 12 of train_tts.py, but" in explain(text).advice


def test_a_syntax_error_in_the_script() -> None:
    """A syntax error is found although it has no `Traceback` line."""
    told = explain('  File "train_tts.py", line 3\n    x =\n       ^\nSyntaxError: invalid syntax\n')
    assert "SyntaxError: invalid syntax" in told.cause


@pytest.mark.parametrize(
    ("returncode", "word"),
    [(-9, "memory was probably full"), (-11, "crashed"), (3, "exit code 3 without a reason")],
)
def test_ends_without_a_word(returncode: int, word: str) -> None:
    """Without any output the exit code is reported."""
    assert word in explain("step 1\nstep 2", returncode).sentence
