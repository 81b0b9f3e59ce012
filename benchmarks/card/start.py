"""What machine this is, as the kernel sees it, and what its GPU can do at most."""

import contextlib
import sys

from benchmarks.card.machine import Card
from kernel_template.start.environment import describe_environment
from kernel_template.start.gpu import list_gpus
from kernel_template.start.probe import probe_tts
from kernel_template.tools.package import PackagePrograms
from kernel_template.tools.paths import Paths
from kernel_template.tools.process import capture_output
from kernel_template.usage.readings import read_gpus


def part_start(card: Card) -> None:
    """What machine this is, as the kernel sees it."""

    class Sink:
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

        def warn(self, message: str) -> None:
            self.lines.append(f"! {message}")

    env = card.environment({})
    queries = {
        "nvidia-smi": ["nvidia-smi"],
        "nvidia-smi -L": ["nvidia-smi", "-L"],
        "nvidia-smi -q": ["nvidia-smi", "-q"],
        "as the kernel asks at its start": [
            *("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
        ],
        "as the meter asks": [
            *("nvidia-smi", "--query-gpu=utilization.gpu,memory.used,memory.total"),
            "--format=csv,noheader,nounits",
        ],
        "df": ["df", "-h", "/dev/shm", "/tmp"],  # noqa: S108 - their sizes.
    }
    for name, command in queries.items():
        answer = capture_output(command, env, 20)
        card.note(
            "start", query=name, answer=answer.output if answer else None, code=answer and answer.returncode
        )
    sink = Sink()
    gpus = list_gpus(capture_output, env)
    with contextlib.suppress(Exception):
        describe_environment(Paths(card.work), gpus, sink)
    probe = probe_tts(capture_output, PackagePrograms(), env)
    card.note(
        "start", report="\n".join(sink.lines), gpus=gpus, readings=read_gpus(capture_output, env), probe=probe
    )
    # The first import of librosa's filters compiles for 20 s; the trainings find that in numba's cache.
    program = (
        "import time, torch; b = time.time()\n"
        "import TTS.tts.models.vits, TTS.bin.train_tts, librosa\n"
        "librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80); print('imports', time.time() - b)\n"
        "def rate(work, amount):\n"
        "    [work() for _ in range(3)]; torch.cuda.synchronize(); b = time.time()\n"
        "    [work() for _ in range(10)]; torch.cuda.synchronize(); return amount * 10 / (time.time() - b)\n"
        "if torch.cuda.is_available():\n"
        "    a = torch.randn(2**28, device='cuda'); c = torch.empty_like(a)\n"
        "    print('copy GB/s', rate(lambda: c.copy_(a), 2 * a.nbytes / 1e9))\n"
        "    m = torch.randn(8192, 8192, device='cuda', dtype=torch.float16)\n"
        "    print('fp16 product TFLOP/s', rate(lambda: m @ m, 2 * 8192**3 / 1e12))\n"
        "    print(torch.__version__, torch.version.cuda, torch.backends.cudnn.version())\n"
    )
    answer = capture_output([sys.executable, "-c", program], env, min(120, card.left))
    card.note("start", ceilings=answer.output if answer else None)
