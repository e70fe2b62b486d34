"""What a crowd of pretended users does, without I/O: the time goes in, actions come out."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

ARRIVAL_SPAN: Final = 5.0  # seconds in which the first users arrive
STAY: Final = 900.0  # seconds a user stays, on average
SHORTEST_STAY: Final = 20.0  # seconds
PAUSE: Final = 40.0  # seconds between two tasks of a user, on average
TASK_MEDIAN: Final = 20.0  # seconds; half of the tasks are shorter
TASK_SPREAD: Final = 0.9  # of the logarithm of a task's seconds
LONGEST_TASK: Final = 900.0  # seconds
FAILS: Final = 0.05  # share of the tasks that fail
GAP: Final = 4.0  # seconds until somebody follows one who left, on average
KILLED_GAP: Final = 12.0  # seconds until somebody follows one who was killed, on average
NOBODY: Final = 0.15  # share of the users who are not logged in

APPS: Final[dict[str, tuple[str, ...]]] = {
    "sales-forecast": ("Refresh forecast", "Fit seasonal model", "Export to Excel"),
    "portfolio-risk": ("Monte Carlo, 10,000 paths", "Stress test 2008", "Value at risk"),
    "churn-explorer": ("Train gradient boosting", "Score customers", "Build cohorts"),
    "plant-monitor": ("Load sensor history", "Detect anomalies", "Render heat map"),
    "route-planner": ("Solve vehicle routing", "Geocode addresses", "Compare scenarios"),
    "claims-review": ("Search similar claims", "Summarise documents", "Load claim history"),
}
"""Apps with what their users do in them."""

OTHER_TASKS: Final = ("Load data", "Refresh view", "Run model", "Export report")
ERRORS: Final = (
    "out of memory while joining tables",
    "the warehouse closed the connection",
    "column 'region' is missing",
    "no convergence after 500 iterations",
    "timed out waiting for a lock",
)
FIRST_NAMES: Final = [
    "ana",
    "ben",
    "carla",
    "dev",
    "elif",
    "fatou",
    "george",
    "hana",
    "ivan",
    "julia",
    "kofi",
    "lena",
    "mateo",
    "nora",
    "omar",
    "priya",
    "quentin",
    "rosa",
    "sven",
    "tara",
    "umar",
    "vera",
    "wei",
    "xenia",
    "yusuf",
    "zoe",
]
LAST_NAMES: Final = [
    "adler",
    "baker",
    "costa",
    "diaz",
    "eriksen",
    "fischer",
    "gupta",
    "haddad",
    "ito",
    "jensen",
    "kowalski",
    "larsen",
    "moreau",
    "nguyen",
    "okafor",
    "petrov",
    "rossi",
    "santos",
    "tanaka",
    "ueda",
    "vogel",
    "weber",
    "yilmaz",
]


@dataclass(frozen=True, slots=True)
class Arrive:
    """Somebody opens an app. ``who`` is the number all later actions go by."""

    who: int
    app: str
    user: str | None


@dataclass(frozen=True, slots=True)
class Begin:
    who: int
    task: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The task is over; ``error`` is None if it went well."""

    who: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Leave:
    who: int


Action = Arrive | Begin | Finish | Leave


@dataclass(slots=True)
class _User:
    app: str
    leaves: float  # when
    working: bool = False


@dataclass(order=True, slots=True)
class _Entry:
    at: float
    order: int
    who: int | None = field(compare=False)  # None: somebody arrives


class Crowd:
    """About ``size`` users; the same ``rng`` state and times give the same actions."""

    def __init__(self, rng: random.Random, size: int, apps: Sequence[str], now: float) -> None:
        self._rng, self._apps = rng, tuple(apps)
        self._popular = [1 / (rank + 1) ** 0.7 for rank in range(len(self._apps))]
        self._users: dict[int, _User] = {}
        self._calendar: list[_Entry] = []
        self._orders, self._numbers = itertools.count(), itertools.count(1)
        for _ in range(size):
            self._note(now + rng.uniform(0.0, ARRIVAL_SPAN), None)

    def next_at(self) -> float:
        """When something is due again; infinity if never."""
        return self._calendar[0].at if self._calendar else float("inf")

    def due(self, now: float) -> list[Action]:
        """What is to be done by now, in order."""
        actions: list[Action] = []
        while self._calendar and self._calendar[0].at <= now:
            entry = heapq.heappop(self._calendar)
            if entry.who is None:
                actions.append(self._arrive(entry.at))
            elif entry.who in self._users:
                actions.append(self._go_on(entry.at, entry.who))
        return actions

    def killed(self, who: int, now: float) -> bool:
        """Somebody's session was ended; after a while there will be another. False if that one
        is gone already."""
        if self._users.pop(who, None) is None:
            return False
        self._note(now + self._rng.expovariate(1 / KILLED_GAP), None)
        return True

    def _note(self, at: float, who: int | None) -> None:
        heapq.heappush(self._calendar, _Entry(at, next(self._orders), who))

    def _arrive(self, at: float) -> Arrive:
        rng, who = self._rng, next(self._numbers)
        app = rng.choices(self._apps, self._popular)[0]
        stay = max(SHORTEST_STAY, rng.expovariate(1 / STAY))
        self._users[who] = _User(app, at + stay)
        self._pause(at, who)
        return Arrive(who, app, user_name(rng))

    def _go_on(self, at: float, who: int) -> Action:
        """A user's next step: one who works has finished, one who paused begins or leaves."""
        user = self._users[who]
        if user.working:
            user.working = False
            self._pause(at, who)
            failed = self._rng.random() < FAILS
            return Finish(who, self._rng.choice(ERRORS) if failed else None)
        if at >= user.leaves:
            del self._users[who]
            self._note(at + self._rng.expovariate(1 / GAP), None)
            return Leave(who)
        user.working = True
        self._note(at + task_seconds(self._rng), who)
        return Begin(who, self._rng.choice(APPS.get(user.app, OTHER_TASKS)))

    def _pause(self, at: float, who: int) -> None:
        pause = self._rng.expovariate(1 / PAUSE)
        # leaves in time, unless in the middle of a task, which is waited for
        self._note(max(at, min(at + pause, self._users[who].leaves)), who)


def user_name(rng: random.Random) -> str | None:
    """A believable name, or None for one who is not logged in."""
    if rng.random() < NOBODY:
        return None
    return f"{rng.choice(FIRST_NAMES)}.{rng.choice(LAST_NAMES)}"


def task_seconds(rng: random.Random) -> float:
    """How long a task takes: mostly short, now and then very long."""
    return min(LONGEST_TASK, TASK_MEDIAN * rng.lognormvariate(0.0, TASK_SPREAD))


def shares(sessions: int, processes: int) -> list[int]:
    """How many sessions each process has; they differ by one at most."""
    base, more = divmod(sessions, processes)
    return [base + (index < more) for index in range(processes)]
