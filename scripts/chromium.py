"""The system's Chromium: where it is, and how it is started for a look at our own pages."""

from __future__ import annotations

import shutil
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# without these it asks Google's hosts for updates at every start
FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MISSING: Final = "no Chromium is installed; Debian: apt-get install chromium"


def find() -> str | None:
    """The path of its program, or None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)
