"""Models: folders ROOT/models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION, filled by hand or by the demo."""

from pathlib import Path

from orchestrator.emulator.service.files import is_safe_name


class Models:
    """All models of an emulator.

    Args:
        root: the emulator's folder.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / "models"

    def folder(self, owner: str, model: str, framework: str, variation: str, version: int) -> Path | None:
        """The folder of a model version; None if there is none.

        The framework may be spelt as in a mount path or as in the wire's enum: `pyTorch`, `PY_TORCH`.
        """
        above = self._existing(owner, model)
        for folder in sorted(above.iterdir()) if above else ():
            if _plain(folder.name) == _plain(framework):
                return self._existing(owner, model, folder.name, variation, str(version))
        return None

    def latest_version(self, owner: str, model: str, framework: str, variation: str) -> int | None:
        """The highest version number of a model's variation; None if there is none."""
        above = self._existing(owner, model)
        numbers = [
            int(folder.name)
            for folder in (above.glob("*/*/*") if above else ())
            if _plain(folder.parts[-3]) == _plain(framework)
            and folder.parts[-2] == variation
            and folder.name.isdecimal()
        ]
        return max(numbers, default=None)

    def _existing(self, *parts: str) -> Path | None:
        folder = self._folder.joinpath(*parts)
        return folder if all(map(is_safe_name, parts)) and folder.is_dir() else None


def _plain(framework: str) -> str:
    return framework.replace("_", "").replace("-", "").lower()
