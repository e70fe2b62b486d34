"""What the charts show: sessions over time by app, kills over time. Pure, and bounded."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

STEP: Final = timedelta(seconds=5)  # between two samples
SPAN: Final = timedelta(hours=1)  # that is kept and shown
MAX_SAMPLES: Final = SPAN // STEP + 1
MAX_APPS: Final = 5  # drawn by themselves; the others are drawn together
OTHERS: Final = "other apps"
KILL_BUCKET: Final = timedelta(minutes=1)


class Sample(NamedTuple):
    """How many sessions each app had at a moment."""

    at: datetime
    by_app: Mapping[str, int]


class Series(NamedTuple):
    """Sessions over time: one list of counts for each name, the largest app first."""

    at: list[datetime]
    counts: dict[str, list[int]]


class History:
    """Samples of the last hour."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)

    def sample(self, by_app: Mapping[str, int], now: datetime) -> bool:
        """Take a sample if one is due; whether it was."""
        if self._samples and now - self._samples[-1].at < STEP:
            return False
        self._samples.append(Sample(now, dict(by_app)))
        return True

    def series(self) -> Series:
        """The samples as one line for each of the apps that were largest, and one for the rest."""
        weight: Counter[str] = Counter()
        for sample in self._samples:
            weight.update(sample.by_app)
        chosen = [app for app, _ in weight.most_common(MAX_APPS)]
        counts = {app: [s.by_app.get(app, 0) for s in self._samples] for app in chosen}
        if len(weight) > len(chosen):
            rest = [
                sum(s.by_app.values()) - sum(s.by_app.get(app, 0) for app in chosen)
                for s in self._samples
            ]
            mine = counts.get(OTHERS)  # an app may be called so
            counts[OTHERS] = (
                rest if mine is None else [a + b for a, b in zip(mine, rest, strict=True)]
            )
        return Series([sample.at for sample in self._samples], counts)


def kills_by_minute(
    commands: Iterable[dict[str, Any]], now: datetime
) -> tuple[list[datetime], list[int]]:
    """Sessions asked to end in each minute of the last hour, oldest first."""
    end = now.replace(second=0, microsecond=0)
    buckets = SPAN // KILL_BUCKET
    starts = [end - (buckets - 1 - number) * KILL_BUCKET for number in range(buckets)]
    counts = [0] * buckets
    for command in commands:
        number = (command["requested_at"] - starts[0]) // KILL_BUCKET
        if 0 <= number < buckets:
            counts[number] += command["total"]
    return starts, counts
