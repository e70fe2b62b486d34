"""What Panelbus must reach and aims at, and whether a run did."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from scripts.measures.results import Results

Word = Literal["aim", "must", "missed", "not measured"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One row. With ``over`` it is a ratio: the figure ``value`` ÷ the sum of those figures."""

    key: str
    what: str
    value: str  # a figure's key
    over: tuple[str, ...]
    must: float
    aim: float
    better: Literal["less", "more"]
    unit: str = ""  # of the figure; a ratio has none


GOALS: Final = (
    Goal(
        "requests",
        "requests served by the broker ÷ raw ROUTER echo",
        "requests.rate",
        ("echo.rate",),
        must=0.45,
        aim=0.65,
        better="more",
    ),
    Goal(
        "change",
        "CPU of the broker for one status change, all in",
        "changes.cpu",
        (),
        must=25.0,
        aim=12.0,
        better="less",
        unit="µs",
    ),
    Goal(
        "kill",
        "kill under load, committed, p50 ÷ (raw push + one fdatasync)",
        "kill.p50",
        ("push.p50", "fdatasync.p50"),
        must=3.0,
        aim=1.5,
        better="less",
    ),
    Goal(
        "kill-all",
        "kill-all of 10,000 sessions in 100 processes, until the last has it",
        "kill_all.last",
        (),
        must=100.0,
        aim=30.0,
        better="less",
        unit="ms",
    ),
    Goal(
        "memory",
        "memory of the broker for one session, of 100,000",
        "many.memory",
        (),
        must=1_500.0,
        aim=700.0,
        better="less",
        unit="B",
    ),
    Goal(
        "rest",
        "100,000 sessions in 1,000 processes at rest: of a core of the broker",
        "many.rest",
        (),
        must=2.0,
        aim=0.5,
        better="less",
        unit="%",
    ),
    Goal(
        "restart",
        "restart of the broker with 100,000 sessions, until it serves",
        "many.restart",
        (),
        must=3.0,
        aim=1.0,
        better="less",
        unit="s",
    ),
    Goal(
        "task",
        "`with tracker.task(...)`: time of the caller",
        "client.task",
        (),
        must=50.0,
        aim=10.0,
        better="less",
        unit="µs",
    ),
    Goal(
        "client memory",
        "1,000 sessions in one app process: memory of each",
        "client.memory",
        (),
        must=5_000.0,
        aim=2_000.0,
        better="less",
        unit="B",
    ),
    Goal(
        "client threads",
        "1,000 sessions in one app process: threads more",
        "client.threads",
        (),
        must=1.0,
        aim=1.0,
        better="less",
    ),
    Goal(
        "page",
        "GET /sessions?limit=100 with 100,000 sessions, p50",
        "many.page_p50",
        (),
        must=15.0,
        aim=5.0,
        better="less",
        unit="ms",
    ),
    Goal(
        "feed",
        "feed to one subscriber without a gap",
        "feed.rate",
        (),
        must=50_000.0,
        aim=200_000.0,
        better="more",
        unit="/s",
    ),
    Goal(
        "visible",
        "change to browser, 10,000 rows, 1,000 changes/s, p95",
        "visible.p95",
        (),
        must=500.0,
        aim=250.0,
        better="less",
        unit="ms",
    ),
    Goal(
        "alive",
        "CPU for a session kept alive ÷ a heartbeat over HTTP",
        "alive.cpu",
        ("ancestor.cpu",),
        must=1 / 40,
        aim=1 / 1_000,
        better="less",
    ),
    Goal(
        "kill beside Redis",
        "kill under load, committed, p50 ÷ Redis pub/sub p50, not durable",
        "kill.p50",
        ("redis.p50",),
        must=4.0,
        aim=2.0,
        better="less",
    ),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a goal. ``word`` is the best that was reached, by the median ``value``."""

    goal: Goal
    word: Word
    value: float | None
    values: tuple[float, ...] = ()  # one a round


def judge(goal: Goal, results: Results) -> Verdict:
    values = _values(goal, results)
    if not values:
        return Verdict(goal, "not measured", None)
    value = statistics.median(values)
    if _reaches(value, goal.aim, goal.better):
        word: Word = "aim"
    elif _reaches(value, goal.must, goal.better):
        word = "must"
    else:
        word = "missed"
    return Verdict(goal, word, value, tuple(values))


def judge_all(results: Results) -> list[Verdict]:
    return [judge(goal, results) for goal in GOALS]


def _reaches(value: float, bound: float, better: Literal["less", "more"]) -> bool:
    return value <= bound if better == "less" else value >= bound


def _values(goal: Goal, results: Results) -> Sequence[float]:
    """One a round; empty when something it needs was not measured.

    A ratio is taken in each round, where what disturbed the machine disturbed both sides. Figures
    of different numbers of rounds have none in common; there it is the ratio of the medians.
    """
    keys = (goal.value, *goal.over)
    if not all(results.values.get(key) for key in keys):
        return ()
    above, *below = (results.values[key] for key in keys)
    if not below:
        return above
    if len({len(above), *map(len, below)}) > 1:
        above = [statistics.median(above)]
        below = [[statistics.median(values)] for values in below]
    sums = map(sum, zip(*below, strict=True))
    # nothing can be held against what took no time at all, as in a round that was too short
    return [value / over for value, over in zip(above, sums, strict=True) if over > 0]
