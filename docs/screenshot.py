"""Renews docs/images/report.png from the report of a demo: `python docs/screenshot.py DEMO_FOLDER`.

Needs Chromium or Chrome on the PATH.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGE = Path(__file__).parent / "images" / "report.png"
SIZE = (1100, 900)


def main(folder: Path) -> None:
    """Take the picture."""
    IMAGE.parent.mkdir(exist_ok=True)
    browser = next(found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name)))
    page = next(folder.rglob("report.html")).resolve()
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--disable-background-networking", "--no-first-run", f"--user-data-dir={profile}"),
                *(f"--window-size={SIZE[0]},{SIZE[1]}", "--virtual-time-budget=5000"),
                *(f"--screenshot={IMAGE}", page.as_uri()),
            ],
            check=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
