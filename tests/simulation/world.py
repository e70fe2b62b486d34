"""Virtual time, the events to come, the dice, the story and the counts of one run."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

Action = Callable[[], None]

MAX_EVENTS = 200_000  # in one run; more is a loop that never comes to rest


class Broken(AssertionError):
    """An invariant does not hold. ``about`` names the sessions and commands concerned."""

    def __init__(self, invariant: str, text: str, *about: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.about = frozenset(about)


class Line(NamedTuple):
    """One line of the story; a fault concerns everybody."""

    at: float
    text: str
    about: tuple[str, ...]
    fault: bool


class World:
    """The clock and the dice of one run: equal seeds and plans make equal lives.

    Every channel and node throws dice of its own, so that leaving one fault out changes as little
    as possible of everything else; that is what makes a failing run shrink.
    """

    def __init__(self, seed: int, *, only: frozenset[str] | None = None, story: bool = False):
        """``only``: the faults of messages and commits that may happen; None allows all."""
        self.seed = seed
        self.now = 1000.0
        self.stormy = True  # faults by chance happen until the storm is over
        self.thorough = story  # dear checks at every step
        self.counts: Counter[str] = Counter()
        self.injected: list[str] = []  # names of the faults by chance that happened
        self.events = 0
        self.lines: list[Line] | None = [] if story else None
        self._only = only
        self._heap: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def dice(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    def happens(self, fault: str) -> bool:
        """Whether this fault, which the dice want, is allowed; it is counted if so."""
        if self._only is not None and fault not in self._only:
            return False
        self.injected.append(fault)
        self.counts[fault.partition(" ")[0]] += 1
        if self.lines is not None:
            self.lines.append(Line(self.now, fault, (), True))
        return True

    # --- time ------------------------------------------------------------------------------

    def at(self, moment: float, action: Action) -> None:
        heapq.heappush(self._heap, (moment, next(self._order), action))

    def after(self, delay: float, action: Action) -> None:
        self.at(self.now + delay, action)

    def run(self, seconds: float) -> None:
        """Let time pass, event by event."""
        end = self.now + seconds
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, action = heapq.heappop(heap)
            action()
            self.events += 1
            if self.events > MAX_EVENTS:
                raise Broken("I14", f"{MAX_EVENTS} events and no rest")
        self.now = end

    # --- the report ------------------------------------------------------------------------

    def tell(self, text: str, *about: str, fault: bool = False) -> None:
        """One line of what happened, kept only when a story is wanted."""
        if self.lines is not None:
            self.lines.append(Line(self.now, text, about, fault))
