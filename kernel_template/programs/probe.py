# ruff: noqa: INP001 - a stand-alone program, written out by the kernel and run in its own process.
"""Import what the training needs and print one JSON line about it; exit 1 when an import fails.

Finding a package's folder does not prove that the package can be imported: TTS raises on import when
torchaudio or torchcodec is missing.
"""

import importlib
import json
import sys
from typing import Any


def main() -> int:
    """Import TTS, its trainer and torch. Returns the exit code."""
    answer: dict[str, Any] = {"ok": False, "error": None, "cuda": False, "devices": []}
    try:
        for name in ("torch", "TTS", "trainer"):
            answer[name] = str(getattr(importlib.import_module(name), "__version__", ""))
        torch = importlib.import_module("torch")
        answer["built_for_cuda"] = torch.version.cuda
        answer["cuda"] = bool(torch.cuda.is_available())
        answer["devices"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        answer["ok"] = True
    except Exception as error:  # noqa: BLE001 - whatever an import raises is the answer.
        answer["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, ModuleNotFoundError):
            answer["missing"] = error.name
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
