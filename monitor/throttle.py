"""Guessing passwords slows down: failed logins are counted by address and by user. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

FREE: Final = 5  # failures before there is a wait
FORGOTTEN_AFTER: Final = 900.0  # seconds without a failure
MAX_KEYS: Final = 10_000  # counted at the same time; those unheard of for longest go first
# The longest wait, in seconds. A user's is short, so that a stranger who guesses at a name can't
# keep its owner from the kill switch for long.
ADDRESS_WAIT: Final = 60.0
USER_WAIT: Final = 10.0


class _Count(NamedTuple):
    failures: int
    last: float  # of the time `Throttle` is given


class Throttle:
    """Counts failures by key; each one beyond the free ones doubles the wait for the next try."""

    def __init__(self, longest: float) -> None:
        """``longest``: seconds of the longest wait."""
        self._longest = longest
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def wait(self, key: str, now: float) -> float:
        """Seconds until this key may try again; 0 when it may now."""
        count = self._of(key, now)
        if count.failures < FREE:
            return 0.0
        pause = min(self._longest, 2.0 ** min(count.failures - FREE, 30))
        return max(0.0, count.last + pause - now)

    def tried(self, key: str, now: float) -> None:
        """A try begins. It counts as failed until `passed`, so that many at once count, too."""
        self._counts[key] = _Count(self._of(key, now).failures + 1, now)
        self._counts.move_to_end(key)
        if len(self._counts) > MAX_KEYS:
            self._counts.popitem(last=False)

    def passed(self, key: str, now: float) -> None:
        """That try was right. Earlier failures stay: one's own login must not wash them off."""
        failures = self._of(key, now).failures - 1
        if failures > 0:
            self._counts[key] = _Count(failures, now)
        else:
            self._counts.pop(key, None)

    def _of(self, key: str, now: float) -> _Count:
        count = self._counts.get(key)
        if count is None or now - count.last >= FORGOTTEN_AFTER:
            return _Count(0, now)
        return count
