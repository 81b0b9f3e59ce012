"""The second name of the best model: the trainer (0.4.0) copies each one, of up to a gigabyte, to it.

Nothing here needs torch.
"""

import contextlib
from pathlib import Path
from typing import Any

_SHORTCUT = "best_model.pth"


class FewerCopies:
    """`fsspec` as trainer.io sees it: the best model's second name is a link, not another gigabyte.

    A script may read best_model.pth in the same session; Kaggle leaves links out of a kernel's outputs, where
    the best model has its number.
    """

    def __init__(self, fsspec: Any) -> None:
        self._fsspec = fsspec

    def get_mapper(self, *args: Any, **kwargs: Any) -> Any:
        """The mapper, whose file system makes links of such copies."""
        return _Mapper(self._fsspec.get_mapper(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fsspec, name)


class _Mapper:
    def __init__(self, mapper: Any) -> None:
        self._mapper = mapper

    @property
    def fs(self) -> Any:
        return _Files(self._mapper.fs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mapper, name)


class _Files:
    def __init__(self, files: Any) -> None:
        self._files = files

    def copy(self, source: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        place = Path(str(target))
        if place.name != _SHORTCUT or "://" in str(target) or Path(str(source)).parent != place.parent:
            self._files.copy(source, target, *args, **kwargs)
            return
        link_best(Path(str(source)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)


def link_best(model: Path) -> None:
    """Let best_model.pth name `model`; a disk without links goes without."""
    part = model.with_name(f".kgtts-{_SHORTCUT}.link")
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
        part.symlink_to(model.name)
        part.replace(model.with_name(_SHORTCUT))
