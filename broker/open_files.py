"""How many files the broker may have open: each client is one. Raised at start, watched after.

At the limit libzmq can't accept connections any more and says nothing: those connected stay served,
new clients stay away, and its I/O thread spins. So there is a word before it comes to that.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Final

log = logging.getLogger("panelbus.broker")

WANTED: Final = 65_535  # as many as the context's sockets
WARN_AT: Final = 0.8  # of the limit
QUIET_AT: Final = 0.7  # below this the warning may come again
CHECK_EVERY: Final = 5.0  # seconds


def raise_limit(wanted: int = WANTED) -> int | None:
    """Raise this process's limit as far as it is allowed to; the limit now, None where none is."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        return target
    return soft


def in_use() -> int | None:
    """About how many files are open, None for as many as may be: the lowest number that is free.

    It costs the same however many there are, and gaps below it fill up before the limit is met.
    """
    try:
        number = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        return None
    os.close(number)
    return number


class OpenFiles:
    """Warns once each time the limit comes near."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._next = 0.0  # monotonic seconds
        self._warned = False

    def watch(self, now: float) -> None:
        """Called about once a second (monotonic time)."""
        if self._limit is None or now < self._next:
            return
        self._next = now + CHECK_EVERY
        self.judge(in_use())

    def judge(self, used: int | None) -> None:
        """``used``: open files, None for all there may be."""
        if self._limit is None:
            return
        share = 1.0 if used is None else used / self._limit
        if share >= WARN_AT and not self._warned:
            self._warned = True
            log.warning(
                "%s of %d files are open; further clients can't connect when all are: raise the"
                " limit (ulimit -n, or LimitNOFILE in a systemd unit)",
                "all" if used is None else f"about {used}",
                self._limit,
            )
        elif share < QUIET_AT and self._warned:
            self._warned = False
            log.info("enough files can be opened again")
