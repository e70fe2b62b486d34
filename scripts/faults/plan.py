"""Which fault comes next, and when: a pure function of the seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

MEAN_GAP: Final = 0.8  # seconds from one fault to the next, on average
LONGEST_GAP: Final = 3.0  # seconds
LONG_ONE_IN: Final = 15  # of the faults that last, one is long
LONG: Final = (6.0, 13.0)  # seconds: past the client's patience and past the clean-up


class Shape(NamedTuple):
    """A kind of fault: whom it strikes, how often beside the others, and for how long."""

    part: str
    weight: int
    shortest: float  # seconds until it is undone (for a kill: until the next start)
    longest: float
    may_last: bool = False  # now and then as long as `LONG`


SHAPES: Final[dict[str, Shape]] = {
    "broker kill -9": Shape("broker", 6, 0.0, 1.0),
    # in the instant after it has accepted a kill
    "broker kill -9 at an answer": Shape("broker", 6, 0.0, 1.0),
    "broker restart": Shape("broker", 3, 0.0, 0.5),
    "broker frozen": Shape("broker", 6, 0.2, 3.0, True),
    "app kill -9": Shape("app", 10, 0.0, 1.0),
    "app exit": Shape("app", 4, 0.0, 0.5),
    "app frozen": Shape("app", 10, 0.2, 3.0, True),
    "gateway kill -9": Shape("gateway", 6, 0.0, 0.0),
    "gateway frozen": Shape("gateway", 4, 0.2, 3.0),
    "monitor kill -9": Shape("monitor", 4, 0.0, 0.0),
    "monitor frozen": Shape("monitor", 3, 0.2, 3.0),
    "network slow": Shape("proxy", 8, 0.5, 4.0, True),
    "network stalled": Shape("proxy", 8, 0.2, 3.0, True),
    "network swallows": Shape("proxy", 8, 0.2, 3.0, True),
    "network cut": Shape("proxy", 8, 0.0, 2.0),
    "half-closed at the broker": Shape("proxy", 5, 0.2, 3.0, True),
    "half-closed at the client": Shape("proxy", 5, 0.2, 3.0, True),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    kind: str  # of `SHAPES`
    target: int  # which of the apps or proxies; 0 where there is one only
    after: float  # seconds since the fault before
    seconds: float  # until it is undone

    @property
    def part(self) -> str:
        return SHAPES[self.kind].part

    @property
    def ends(self) -> bool:
        """Whether it ends a process, instead of troubling it for a while."""
        return any(word in self.kind for word in ("kill -9", "restart", "exit"))


def plan(seed: int, parts: dict[str, int]) -> Iterator[Fault]:
    """Faults without end; ``parts`` tells how many of each part there are to strike.

    Every kind comes once before any comes twice.
    """
    rng = random.Random(seed)
    kinds = [kind for kind, shape in SHAPES.items() if parts.get(shape.part, 0) > 0]
    if not kinds:
        raise ValueError("there is nothing to strike")
    weights = [SHAPES[kind].weight for kind in kinds]
    first = rng.sample(kinds, len(kinds))
    more = (rng.choices(kinds, weights)[0] for _ in itertools.count())
    for kind in itertools.chain(first, more):
        shape = SHAPES[kind]
        long = shape.may_last and rng.randrange(LONG_ONE_IN) == 0
        yield Fault(
            kind,
            rng.randrange(parts[shape.part]),
            min(rng.expovariate(1 / MEAN_GAP), LONGEST_GAP),
            rng.uniform(*(LONG if long else (shape.shortest, shape.longest))),
        )
