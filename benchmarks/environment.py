"""The environment of a user who has just arrived, with an emulator for Kaggle."""

import os
from pathlib import Path


def newcomer(folder: Path, url: str, login: tuple[str, str]) -> dict[str, str]:
    """The variables for `kgtts` and the stock client.

    Args:
        folder: an empty home.
        url: the emulator's address.
        login: user name and key.
    """
    environ = {
        **os.environ,
        "HOME": str(folder),
        "KGTTS_HOME": str(folder / "kgtts"),
        "KGTTS_KAGGLE_URL": url,
        "KAGGLE_USERNAME": login[0],
        "KAGGLE_KEY": login[1],
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    for name in ("KAGGLE_API_TOKEN", "PYTHONDONTWRITEBYTECODE"):  # What is installed has its bytecode.
        environ.pop(name, None)
    return environ
