"""How often somebody may ask: token buckets, as many as there are askers, up to a bound. Pure."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

MAX_BUCKETS: Final = 10_000  # askers remembered; the longest silent go first


class Buckets:
    """For each asker a bucket of `burst` requests, into which `rate` of them flow each second.

    A bucket that was forgotten is full again, so the bound on their number can let somebody ask
    more, never less.
    """

    def __init__(self, rate: float, burst: float, most: int = MAX_BUCKETS) -> None:
        """Times are in seconds, of any clock that never goes back."""
        self._rate = rate
        self._burst = burst
        self._most = most
        self._kept: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, and when

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, asker: str, now: float) -> float:
        """Take one request out: 0.0, or the seconds until there is one, and none is taken."""
        left, since = self._kept.pop(asker, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        allowed = left >= 1
        self._kept[asker] = (left - 1 if allowed else left, now)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


def retry_after(seconds: float) -> str:
    """A wait as the header has it: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))
