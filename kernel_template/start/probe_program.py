"""Import what the training needs and print one JSON line about it; exit with 1 if an import fails.

Finding a package's folder does not prove that the package can be imported: TTS raises on import if torchaudio
or torchcodec is missing.

    python -m kernel_template.start.probe_program warm MODEL

imports what a training of that model imports, and prints nothing: the training then finds these files in
the disk's cache.
"""

import contextlib
import importlib
import json
import sys
from typing import Any

from kernel_template.tools.garbage import import_quickly
from kernel_template.tools.packages import remember_packages


def main() -> int:
    """Import TTS, its trainer and torch. Returns the exit code."""
    answer: dict[str, Any] = {"ok": False, "error": None, "cuda": False, "devices": []}
    try:
        for name in ("torch", "TTS", "trainer"):
            answer[name] = str(getattr(importlib.import_module(name), "__version__", ""))
            if name == "torch":
                remember_packages()
        torch = importlib.import_module("torch")
        answer["built_for_cuda"] = torch.version.cuda
        answer["cuda"] = bool(torch.cuda.is_available())
        answer["devices"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        answer["ok"] = True
    except Exception as error:  # noqa: BLE001 - whatever an import raises is the result.
        answer["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, ModuleNotFoundError):
            answer["missing"] = error.name
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 0 if answer["ok"] else 1


def warm(model: str) -> None:
    """Import what a training of `model` imports; ignore what fails."""
    for name in ("torch", "TTS.bin.train_tts", f"TTS.tts.models.{model}"):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
        if name == "torch":
            remember_packages()


if __name__ == "__main__":
    import_quickly()
    if sys.argv[1:2] == ["warm"]:
        warm(sys.argv[2])
    else:
        raise SystemExit(main())
