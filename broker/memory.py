"""Memory that is free inside this process goes back to the system, after a peak.

glibc keeps what was freed for later use: after one message of 100,000 frames 200 MB stayed. It is
asked to give that back when the process has grown a good deal, which costs a few milliseconds.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger("panelbus.broker")

CHECK_EVERY: Final = 5.0  # seconds
GROWTH: Final = 64 << 20  # bytes more than after the last time
_STATM: Final = Path("/proc/self/statm")


def resident() -> int | None:
    """Bytes this process holds; None where the system does not tell so cheaply."""
    if sys.platform != "linux":
        return None
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # /proc is not mounted
        return None


def give_back() -> None:
    """Return free memory to the system; does nothing without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Memory:
    """Looks at the process's size now and then."""

    def __init__(
        self,
        resident: Callable[[], int | None] = resident,
        give_back: Callable[[], None] = give_back,
    ) -> None:
        self._resident = resident
        self._give_back = give_back
        self._next = 0.0  # monotonic seconds
        self._least = resident()

    def watch(self, now: float) -> None:
        """Called about once a second (monotonic time)."""
        if now < self._next:
            return
        self._next = now + CHECK_EVERY
        size = self._resident()
        if size is None or self._least is None:
            return
        if size < self._least + GROWTH:
            self._least = min(self._least, size)
            return
        self._give_back()
        self._least = self._resident() or size
        log.info("the broker had grown to %d MB, and has %d MB", size >> 20, self._least >> 20)
