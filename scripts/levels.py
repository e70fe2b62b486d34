"""Whether a measured quantity levels off: pure, so that made-up series can try it.

A run's first third is its warm-up. What counts is how much the rest would grow over the length of
the whole run, judged twice: by a robust slope, which finds a steady leak under any noise, and by
how far apart its ends are, which finds a jump.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WARM_UP: Final = 1 / 3  # of the run
SHARE: Final = 0.10  # of its level a series may grow over the run
MIN_SAMPLES: Final = 9  # of a run, so that there is something to judge
MAX_POINTS: Final = 300  # a slope is found from; it takes the square of that


@dataclass(frozen=True, slots=True)
class Kind:
    """What is measured, and how much of it may come in a run whatever its level is."""

    name: str
    unit: str  # as after a number; empty for a count
    slack: float
    may_fall: bool = True  # whether falling is fine


MEMORY: Final = Kind("memory", "MB", 3.0)
THREADS: Final = Kind("threads", "", 2.0)
DESCRIPTORS: Final = Kind("descriptors", "", 5.0)
DATABASE: Final = Kind("database", "MB", 3.0)
SESSIONS: Final = Kind("live sessions", "", 10.0, may_fall=False)
# what gathers in a second or two of a busy machine
QUEUE: Final = Kind("waiting", "", 1_000.0)
KINDS: Final = {
    kind.name: kind for kind in (MEMORY, THREADS, DESCRIPTORS, DATABASE, SESSIONS, QUEUE)
}


@dataclass(frozen=True, slots=True)
class Level:
    """What became of one series, in its own unit."""

    start: float
    warm: float  # just after the warm-up
    end: float
    per_hour: float  # slope after the warm-up
    growth: float  # over the length of the run
    allowed: float

    @property
    def off(self) -> bool:
        """Whether it has levelled off."""
        return self.growth <= self.allowed


def judge(kind: Kind, at: Sequence[float], values: Sequence[float]) -> Level:
    """Judge the samples ``values`` taken ``at`` these seconds, in ascending order.

    Raises:
        ValueError: there are fewer than `MIN_SAMPLES`, or not as many times as values.
    """
    if len(at) != len(values) or len(at) < MIN_SAMPLES:
        raise ValueError(f"{len(values)} values at {len(at)} times can't be judged")
    length = at[-1] - at[0]
    first = next(i for i, moment in enumerate(at) if moment >= at[0] + length * WARM_UP)
    late_at, late = at[first:], values[first:]
    third = max(1, len(late) // 3)
    few = max(1, len(values) // 20)
    rate = slope(late_at, late)
    steady = rate * length
    jump = statistics.median(late[-third:]) - statistics.median(late[:third])
    growth = max(steady, jump) if kind.may_fall else max(abs(steady), abs(jump))
    return Level(
        start=statistics.median(values[:few]),
        warm=statistics.median(late[:few]),
        end=statistics.median(values[-few:]),
        per_hour=rate * 3600,
        growth=growth,
        allowed=max(SHARE * statistics.median(late), kind.slack),
    )


def slope(at: Sequence[float], values: Sequence[float]) -> float:
    """Change a second: the median of the slopes between all pairs (Theil and Sen)."""
    step = -(-len(at) // MAX_POINTS)
    points = list(zip(at[::step], values[::step], strict=True))
    rates = [
        (later - value) / (then - moment)
        for i, (moment, value) in enumerate(points)
        for then, later in points[i + 1 :]
        if then > moment
    ]
    return statistics.median(rates) if rates else 0.0
