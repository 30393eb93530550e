"""Write explorer-light.png and explorer-dark.png, screenshots of the attention explorer, with Chromium.

Run `python figures/sorting.py` first, which writes attention.html into the current folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent.parent / "tools"))

import browser  # noqa: E402


def main() -> None:
    """Open the page in both themes and write the screenshots."""
    program = browser.installed()
    if program is None:
        sys.exit("error: no Chromium (Debian: apt-get install chromium)")
    page = Path("attention.html").resolve()
    with tempfile.TemporaryDirectory() as profile:
        chromium = browser.Browser(program, Path(profile))
        size = {"width": 1280, "height": 760, "deviceScaleFactor": 1, "mobile": False}
        chromium.send("Emulation.setDeviceMetricsOverride", **size)
        for theme in ("light", "dark"):
            chromium.open(page, f"#layer=0&head=2&token=9&pinned=1&theme={theme}")
            chromium.picture(FOLDER / f"explorer-{theme}.png")
        chromium.close()


if __name__ == "__main__":
    main()
