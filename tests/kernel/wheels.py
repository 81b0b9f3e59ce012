"""Tiny wheels, and an environment that imitates Kaggle's image: torch and its packages, without Coqui."""

import contextlib
import functools
import http.server
import importlib.util
import os
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a module of the image or of Coqui needs to answer the probe.
_CODE = {
    "torch": "class version: cuda = None\nclass cuda:\n    is_available = staticmethod(lambda: False)\n"
    "    device_count = staticmethod(lambda: 0)\n",
    "TTS": "import numpy, six, torch, torchaudio\n",
}
_MODULES = {"coqui-tts": "TTS", "coqui-tts-trainer": "trainer"}
_PADDING = 10_000  # Bytes that each package has besides its code.


@dataclass(frozen=True)
class Made:
    """A distribution to make."""

    name: str
    version: str
    requires: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """Return the beginning of its wheel's name."""
        return f"{self.name.replace('-', '_')}-{self.version}"

    def files(self) -> dict[str, str]:
        """Return its content."""
        module = _MODULES.get(self.name, self.name)
        needs = "".join(f"Requires-Dist: {item}\n" for item in self.requires)
        info = f"{self.stem}.dist-info"
        files = {
            f"{module}/__init__.py": f"__version__ = {self.version!r}\n{_CODE.get(module, '')}",
            f"{module}/data.bin": "x" * _PADDING,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n{needs}",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/INSTALLER": "tests\n",
        }
        record = "".join(f"{name},,{len(text)}\n" for name, text in files.items())
        return files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}


IMAGE = (Made("torch", "2.10.0+cu128"), Made("torchaudio", "2.10.0+cu128"), Made("numpy", "2.3.1"))
# What an index offers: newer kin of the image's own, and a Coqui that wants them.
OFFERED = (
    Made("torch", "2.13.0"),
    Made("torchaudio", "2.13.0"),
    Made("numpy", "2.9.0"),
    Made("six", "1.17.0"),
    Made("coqui-tts-trainer", "0.4.0", ("torch>=2.4",)),
    Made("coqui-tts", "0.27.5", ("torch>=2.4", "torchaudio", "numpy>=2", "coqui-tts-trainer")),
    Made("coqui-tts", "0.28.0", ("torch>=2.13", "torchaudio>=2.13", "numpy>=2.9", "coqui-tts-trainer")),
)


def make_wheels(folder: Path, offered: Sequence[Made]) -> Path:
    """Write wheels into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for made in offered:
        with zipfile.ZipFile(folder / f"{made.stem}-py3-none-any.whl", "w") as archive:
            for name, text in made.files().items():
                archive.writestr(name, text)
    return folder


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name.
        """Print nothing."""


@contextlib.contextmanager
def serve_index(folder: Path, offered: Sequence[Made]) -> Iterator[str]:
    """Serve a package index for pip and uv on loopback. Yields its address."""
    for made in offered:
        make_wheels(folder / made.name, [made])
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Image:
    """An environment with the image's packages."""

    python: Path
    site: Path
    env: dict[str, str]

    @classmethod
    def make(cls, folder: Path) -> "Image":
        """Make it. pip is borrowed from this environment, as bringing it takes seconds."""
        home = folder / "image"
        venv.create(home, with_pip=False, symlinks=True)
        python = home / "bin" / "python"
        (site,) = (home / "lib").glob("python3*/site-packages")
        borrowed = folder / "borrowed"
        borrowed.mkdir()
        spec = importlib.util.find_spec("pip")
        assert spec is not None
        assert spec.origin is not None
        (borrowed / "pip").symlink_to(Path(spec.origin).parent)
        env = {
            # Where this environment's uv is.
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
            "PYTHONPATH": str(borrowed),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "UV_NO_CONFIG": "1",
            "UV_NO_CACHE": "1",
        }
        image = cls(python, site, env)
        for made in IMAGE:
            image.put(made)
        return image

    def put(self, made: Made) -> None:
        """Put a distribution there, whatever it requires."""
        for name, text in made.files().items():
            (self.site / name).parent.mkdir(parents=True, exist_ok=True)
            (self.site / name).write_text(text)
