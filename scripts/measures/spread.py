"""Times that were taken one by one: their median, 99th percentile and worst, in milliseconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from scripts.measures.figures import Figure

# Seconds between two of them, so that each is measured alone: the same for kills and for what they
# are held against, because what runs once in a while finds nothing of its own in the caches.
PAUSE: Final = 0.02


def spread_figures(name: str, what: str) -> tuple[Figure, ...]:
    """What `spread` gives."""
    return (
        Figure(f"{name}.p50", f"{what}: median", "ms"),
        Figure(f"{name}.p99", f"{what}: 99th percentile", "ms"),
        Figure(f"{name}.worst", f"{what}: worst", "ms"),
    )


def spread(name: str, taken: Sequence[float]) -> dict[str, float]:
    """Of two or more times in seconds."""
    # inclusive: the other method guesses beyond the worst when there are fewer than a hundred
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return {
        f"{name}.p50": 1000.0 * statistics.median(taken),
        f"{name}.p99": 1000.0 * cuts[98],
        f"{name}.worst": 1000.0 * max(taken),
    }
