"""Counts and histograms the registry keeps for metrics and health."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

# Upper bounds in seconds: kills and commits live between a tenth of a millisecond and seconds.
BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
)  # fmt: skip


class Histogram:
    """Counts of durations (seconds) per bucket, in the cumulative form Prometheus reads."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def wire(self) -> dict[str, Any]:
        total = 0
        buckets = []
        for upper, count in zip(BUCKETS, self._counts, strict=False):
            total += count
            buckets.append([upper, total])
        return {"buckets": buckets, "sum": self._sum, "count": sum(self._counts)}


@dataclass(slots=True)
class Health:
    """Whether the broker can keep what it is asked to; ``cause`` is one word, or None when ok."""

    cause: str | None = None
    message: str = ""

    def wire(self) -> dict[str, Any]:
        return {
            "status": "ok" if self.cause is None else "degraded",
            "cause": self.cause,
            "message": self.message,
        }


@dataclass(slots=True)
class Stats:
    messages: Counter[str] = field(default_factory=Counter)  # by kind
    rejected: Counter[str] = field(default_factory=Counter)  # by cause
    kills: Counter[str] = field(default_factory=Counter)  # targets, by the stage they reached
    kill_latency: Histogram = field(default_factory=Histogram)  # asked -> delivered
    commit: Histogram = field(default_factory=Histogram)
    dropped_unsaved: int = 0  # history lost because the store failed for too long
    health: Health = field(default_factory=Health)
