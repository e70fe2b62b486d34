"""What the benchmark measures, in which units, and how large each part of it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Sample = Mapping[str, float]  # of one round: figures by their keys
Round = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that is measured, once a round. ``key`` names it in goals and files."""

    key: str
    what: str
    unit: str  # as it is shown: "/s", "µs", "ms", "s", "B", "%" or "" for a count
    better: Literal["less", "more"] = "less"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: the whole, or the quick form, which has the same parts but smaller."""

    quick: bool
    rounds: int  # of each group
    warm_up: int  # rounds before those, which are not counted
    seconds: float  # that a measure of a rate lasts in one round
    kills: int  # in one round
    sessions: int  # live beside what is measured, where nothing else is said
    many: int  # live where the point is that they are many
    busy: float  # messages a second of a broker that has much to do
    growth: tuple[int, ...]  # numbers of sessions at which growth is measured


WHOLE = Scale(
    quick=False,
    rounds=5,
    warm_up=1,
    seconds=2.0,
    kills=100,
    sessions=10_000,
    many=100_000,
    busy=20_000.0,
    growth=(100, 1_000, 10_000, 100_000, 1_000_000),
)
QUICK = Scale(
    quick=True,
    rounds=1,
    warm_up=0,
    seconds=0.3,
    kills=10,
    sessions=500,
    many=2_000,
    busy=2_000.0,
    growth=(100, 1_000),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a measure is given: how much to do, and a directory of its own for files."""

    scale: Scale
    directory: Path


@dataclass(frozen=True, slots=True)
class Measure:
    """One subject. ``start`` sets everything up and gives what runs one round; leaving its context
    ends every process it started.

    A measure is named in the progress display. One without ``available`` can always run; else it
    gives why it can't be run here, or None.
    """

    name: str
    figures: tuple[Figure, ...]
    start: Callable[[Setting], AbstractContextManager[Round]]
    available: Callable[[], str | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Group:
    """Measures whose rounds take turns, so that what disturbs the machine disturbs them alike.

    ``rounds`` overrides the scale's, for what takes long or hardly varies; then nothing warms up.
    """

    name: str
    measures: tuple[Measure, ...]
    rounds: int | None = None
