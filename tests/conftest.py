"""How much hypothesis tries, and whether it repeats itself."""

from __future__ import annotations

import os

from hypothesis import settings

# in CI the same examples each time, so that a red run is about the change and can be had again
settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
