"""The cause of a failed training, out of what it wrote."""

import pytest

from kernel_template.contract import EndReason
from kernel_template.train.diagnosis import Diagnosis, diagnose, ran_out_of_memory

_FRAME = '  File "/x/trainer.py", line 1, in fit\n    self._fit()\n'


def traceback(
    *raised: str, link: str = "\nDuring handling of the above exception, another exception occurred:\n"
) -> str:
    """A traceback that ends in `raised`; several are chained."""
    return f"\n{link}\n".join(f"Traceback (most recent call last):\n{_FRAME}{each}" for each in raised)


def explain(text: str, returncode: int = 1) -> Diagnosis:
    """Diagnose a log."""
    return diagnose(text.splitlines(), returncode, batch_size=16, tts="0.28.0")


@pytest.mark.parametrize(
    ("raised", "word"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "lower training.batch_size, which is 16",
        ),
        (
            "ImportError: cannot import name 'VitsAudioConfig' from 'TTS.tts.models.vits' (/x)",
            "coqui-tts 0.28.0",
        ),
        ("AttributeError: type object 'Vits' has no attribute 'init_from_config'", "TTS.bin.train_tts"),
        (
            "TypeError: From coqui-tts 0.28.0 you need to pass a config instance to`load_tts_samples()` that",
            "written for Coqui TTS 0.22",
        ),
        (
            "TypeError: load_tts_samples() got an unexpected keyword argument 'x'",
            "written for Coqui TTS 0.22",
        ),
        ("ModuleNotFoundError: No module named 'bangla'", "needs bangla: add the package"),
        ("ModuleNotFoundError: No module named 'TTS.tts.configs.shared'", "written for Coqui TTS 0.22"),
        (
            "RuntimeError: 2 active GPUs. Define the target GPU by `CUDA_VISIBLE_DEVICES`.",
            "more than one GPU",
        ),
        (
            "torch.distributed.DistBackendError: NCCL error\nLast error:\nDuplicate GPU detected : rank 0",
            "remove CUDA_VISIBLE_DEVICES",
        ),
        ("AssertionError:  [!] You do not have enough samples for the evaluation set.", "eval_split_size"),
        ("AssertionError:  [!] No training samples found in /x/metadata.csv", "meta_file_train"),
        (
            "soundfile.LibsndfileError: Error opening '/x/a.wav': Format not recognised.",
            "recording cannot be read",
        ),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/x/wavs/a b.wav'",
            "/x/wavs/a b.wav does not exist",
        ),
        ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error.", "num_loader_workers"),
        ("_pickle.UnpicklingError: Weights only load failed.", "model_file.pth"),
        ("RuntimeError: CUDA error: device-side assert triggered", "driver failed"),
    ],
)
def test_known_failures_say_what_to_do(raised: str, word: str) -> None:
    """The exception is quoted and the advice follows."""
    told = explain(f"> EPOCH: 0/9\n{traceback(raised)}\n ! Run is removed from /x\n")
    assert raised.partition(":")[0] in told.cause
    assert word in told.sentence
    assert told.reason is EndReason.TRAINING_FAILED


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
        ("RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", False),
        ("RuntimeError: CUDA error: device-side assert triggered", False),
        ("ValueError: bad text", False),
    ],
)
def test_memory_that_ran_out_in_all_its_forms(raised: str, *, memory: bool) -> None:
    """The kernel takes the same errors for it by the log as the host does on the spot."""
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
    """PyTorch reports a full disk in words of its own."""
    assert explain(traceback(raised)).reason is EndReason.DISK_FULL


def test_what_an_exception_came_of_counts() -> None:
    """The disk was full first; torch's follow-up error is what is raised in the end."""
    told = explain(
        traceback("OSError: [Errno 28] No space left on device", "ValueError: write to closed file")
    )
    assert told.reason is EndReason.DISK_FULL
    assert "ValueError" in told.cause


def test_troubles_that_were_survived_do_not_mislead() -> None:
    """An earlier, unrelated traceback gives no advice for the last one."""
    text = (
        traceback("ModuleNotFoundError: No module named 'wandb'")
        + "\n\nlater\n"
        + traceback("ValueError: bad text")
    )
    told = explain(text)
    assert told.sentence == "The training failed: ValueError: bad text."


def test_messages_of_several_lines() -> None:
    """The lines of an exception's message belong to it; what the trainer logs afterwards does not."""
    told = explain(traceback("ValueError: first\n  second") + "\n ! Run is kept in /x")
    assert told.cause == "The training failed: ValueError: first second."


def test_a_syntax_error_in_the_script() -> None:
    """It has no traceback's head."""
    told = explain('  File "train_tts.py", line 3\n    x =\n       ^\nSyntaxError: invalid syntax\n')
    assert "SyntaxError: invalid syntax" in told.cause


def test_a_script_with_other_arguments() -> None:
    """The words of argparse lead to what the script must take."""
    told = explain("usage: t.py [-h]\nt.py: error: unrecognized arguments: --config_path x", 2)
    assert "--restore_path" in told.sentence


@pytest.mark.parametrize(
    ("returncode", "word"),
    [(-9, "memory was probably full"), (-11, "crashed"), (3, "exit code 3 without a reason")],
)
def test_ends_without_a_word(returncode: int, word: str) -> None:
    """The exit code is all there is."""
    assert word in explain("step 1\nstep 2", returncode).sentence
