"""How much hypothesis tries, and whether it repeats itself; which tests come first; Ctrl-C."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# in CI the same examples each time, so that a red run is about the change and can be had again
settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# a shell has what runs in its background ignore Ctrl-C, and so would whatever the tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
LONGEST = (TESTS / "browser" / "test_monitor_states.py", TESTS / "simulation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that in the end nobody waits for the last one of them."""
    items.sort(key=lambda item: not any(map(item.path.is_relative_to, LONGEST)))
