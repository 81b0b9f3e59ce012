"""How fast `kgtts serve` answers: first sound, requests a second, memory under load, what serving costs.

    python -m benchmarks.serve VOICE [--seconds 10]

VOICE is a package, a voice.json or a folder that has one. The server is a process of its own, the clients are
in this one, so both share the machine's cores. *Alone* is the same text by the same voice without a server.
The first sound of a long text is the median of 15 requests, one after the other, of 100 sentences each; the
clients leave after it. Under load each client asks for a sentence again and again. Memory is the server's
resident set, by its own /metrics (Linux).
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

SENTENCE = "আমি বাংলায় গান গাই।"
LONG = "আমি বাংলায় গান গাই। আজ সকালে বৃষ্টি হয়েছে, তাই রাস্তাঘাট ভেজা, তবু বাজারে অনেক মানুষ। " * 50


@contextmanager
def serving(voice: Path, *options: str) -> Iterator[str]:
    """A server in its own process; gives its address."""
    command = [sys.executable, "-m", "orchestrator", "serve", str(voice), "--port", "0", *options]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", env=environ
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("Open http"):
                break
        else:
            raise SystemExit(said)
        try:
            yield line.split()[1]
        finally:
            process.send_signal(signal.SIGTERM)


def ask(url: str, text: str, **fields: object) -> requests.Response:
    """Ask for speech; the head and the first sound have come."""
    body = {"input": text, "response_format": "wav", "noise": 0, **fields}
    return requests.post(f"{url}/v1/audio/speech", json=body, stream=True, timeout=60)


def measure(url: str, name: str) -> float:
    """A value of the server's process by its own /metrics; 0 where the system does not say it."""
    for line in requests.get(f"{url}/metrics", timeout=60).text.splitlines():
        if line.startswith(f"process_{name} "):
            return float(line.split()[1])
    return 0.0


def memory(url: str) -> float:
    """The server's resident memory in MB."""
    return measure(url, "resident_memory_bytes") / 1e6


def first_sound(url: str, repeat: int = 15) -> tuple[float, float]:
    """The median and the worst time until the first sound of a long text, in seconds."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        with ask(url, LONG) as answer:
            next(answer.iter_content(4096))
        times.append(time.perf_counter() - began)
    return statistics.median(times), max(times)


def load(url: str, clients: int, seconds: float, text: str = SENTENCE) -> tuple[float, float, float, int]:
    """Requests a second, the median and the 95th percentile of their times, and how many got 429."""
    times: list[float] = []
    refused = 0
    until = time.perf_counter() + seconds
    lock = threading.Lock()

    def client() -> None:
        nonlocal refused
        while time.perf_counter() < until:
            began = time.perf_counter()
            answer = ask(url, text)
            ok = answer.ok and answer.content
            with lock:
                if ok:
                    times.append(time.perf_counter() - began)
                else:
                    refused += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = sorted(times)
    return len(times) / seconds, statistics.median(ordered), ordered[int(0.95 * len(ordered))], refused


def alone(voice: Path, repeat: int = 20) -> tuple[float, float]:
    """The sentence without a server: how many a second, and the processor time of one in seconds."""
    from orchestrator.serve import open_voices  # noqa: PLC0415 - not in the process that only asks.
    from orchestrator.voice import SynthesisOptions  # noqa: PLC0415 - as above.

    item = open_voices([(None, voice)]).all[0]
    for _ in range(3):
        list(item.voice.say(SENTENCE, SynthesisOptions(noise=0.0)))
    began, busy = time.perf_counter(), time.process_time()
    for _ in range(repeat):
        list(item.voice.say(SENTENCE, SynthesisOptions(noise=0.0)))
    return repeat / (time.perf_counter() - began), (time.process_time() - busy) / repeat


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("voice", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each load lasts")
    asked = parser.parse_args()
    by_itself, busy_alone = alone(asked.voice)
    print(f"alone: {by_itself:.1f} sentences/s, {busy_alone * 1000:.0f} ms of a processor each")
    with serving(asked.voice) as url:
        print(f"memory after the start: {memory(url):.0f} MB")
        ask(url, SENTENCE).content  # noqa: B018 - the first one warms up.
        middle, worst = first_sound(url)
        print(
            f"first sound of {len(LONG):,} characters: {middle * 1000:.0f} ms (worst {worst * 1000:.0f} ms)"
        )
        for clients in (1, 2, 8, 32):
            before = measure(url, "cpu_seconds_total")
            rate, middle, late, refused = load(url, clients, asked.seconds)
            busy = (measure(url, "cpu_seconds_total") - before) / (rate * asked.seconds)
            print(
                f"{clients:>3} clients: {rate:6.1f} requests/s ({rate / by_itself:.2f} of alone), "
                f"median {middle * 1000:.0f} ms, 95 % {late * 1000:.0f} ms, {refused} refused, "
                f"{memory(url):.0f} MB, "
                f"{busy * 1000:.0f} ms of a processor each ({busy / busy_alone:.2f} of alone)"
            )
        stop = threading.Event()

        def reads_long_texts() -> None:
            while not stop.is_set():
                with ask(url, LONG) as answer:
                    for _ in answer.iter_content(4096):
                        if stop.is_set():
                            return

        readers = [threading.Thread(target=reads_long_texts) for _ in range(8)]
        for reader in readers:
            reader.start()
        time.sleep(2)
        middle, worst = first_sound(url, 7)
        print(
            f"first sound while 8 others read long texts: {middle * 1000:.0f} ms "
            f"(worst {worst * 1000:.0f} ms); {memory(url):.0f} MB"
        )
        stop.set()
        for reader in readers:
            reader.join()


if __name__ == "__main__":
    main()
