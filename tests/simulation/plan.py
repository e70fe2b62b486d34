"""What will happen in a run: its profile of faults and the list of its steps, from one seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final, NamedTuple

STORM: Final = 36.0  # virtual seconds of life with faults
PACE: Final = 1.3  # steps a second
APPS: Final = ("sales", "stock")

CRASH_POINTS: Final = ("now", "before commit", "committed", "answered", "pushed", "sent")
DISK_FAULTS: Final = ("full", "busy", "io", "readonly", "kept", "torn")
KILLS: Final = ("key", "no key", "wait", "twice", "reuse")
READS: Final = ("tasks", "commands", "get", "find", "stats", "command_state")
JUNK: Final = 6  # kinds of nonsense a stranger may send


class Step(NamedTuple):
    """One thing that happens. Numbers pick among whatever there is at that moment, so that a step
    makes sense also when those before it are left out."""

    at: float  # seconds from the start
    what: str
    args: tuple[int | float | str, ...] = ()


# how often each step of a fleet's life is taken, in any profile
LIFE: Final = {
    "open": 4.0,
    "change": 5.0,
    "close": 1.0,
    "kill": 2.5,
    "kill_all": 0.4,
    "cleanup": 0.2,
    "create": 0.6,
    "delete": 0.2,
    "status": 0.3,
    "read": 0.8,
    "exit": 0.2,
    "fork": 0.3,
    "drop": 0.4,
}


@dataclass(frozen=True)
class Profile:
    """How bad which things are: probabilities for each message or commit, weights of steps."""

    name: str
    lose: float = 0.0
    repeat: float = 0.0
    late: float = 0.0
    longest: float = 0.0  # seconds a late message may take
    feed_lose: float = 0.0
    feed_repeat: float = 0.0
    feed_late: float = 0.0
    commit_fails: float = 0.0
    commit_slow: float = 0.0
    slowest: float = 0.0  # seconds a slow commit may take
    drift: float = 0.0  # how much faster or slower a node's clock may run
    greedy: bool = False  # small limits, so that they are met
    weights: dict[str, float] = field(default_factory=dict)


PROFILES: Final = (
    Profile("calm"),
    Profile(
        "lossy",
        lose=0.08,
        repeat=0.08,
        late=0.1,
        longest=1.5,
        feed_lose=0.12,
        feed_repeat=0.05,
        feed_late=0.05,
        weights={"cut": 1.0, "half": 0.8, "cut_feed": 0.5, "drop": 1.0, "resync": 1.5},
    ),
    Profile("crashy", weights={"crash": 2.0, "die": 0.6, "stop": 0.4, "half": 0.2}),
    Profile(
        "disk",
        commit_fails=0.1,
        commit_slow=0.1,
        slowest=8.0,
        weights={"disk": 1.0, "crash": 0.6, "unusable": 0.2},
    ),
    Profile(
        "clocks",
        drift=0.02,
        weights={"freeze": 2.0, "freeze_broker": 0.8, "wall": 1.0, "crash": 0.2, "drop": 0.6},
    ),
    Profile(
        "greedy",
        greedy=True,
        late=0.1,
        longest=0.5,
        weights={"flood": 1.2, "open": 4.0, "crash": 0.2, "kill": 4.0},
    ),
    Profile(
        "hostile",
        repeat=0.05,
        late=0.1,
        longest=3.0,
        weights={
            "impostor": 1.2,
            "squatter": 1.2,
            "junk": 1.2,
            "viewer": 0.8,
            "replay": 1.2,
            "drop": 0.8,
        },
    ),
    Profile(
        "storm",
        lose=0.05,
        repeat=0.05,
        late=0.05,
        longest=2.0,
        feed_lose=0.1,
        feed_repeat=0.05,
        feed_late=0.05,
        commit_fails=0.08,
        commit_slow=0.08,
        slowest=4.0,
        drift=0.02,
        weights={
            **dict.fromkeys(("crash", "cut", "half", "freeze", "disk"), 0.8),
            **dict.fromkeys(
                ("die", "stop", "cut_feed", "freeze_broker", "wall", "flood", "resync"), 0.3
            ),
            **dict.fromkeys(("impostor", "squatter", "junk", "viewer", "replay"), 0.15),
        },
    ),
)


@dataclass(frozen=True)
class Plan:
    """All that a run is made of; the seed is only for the dice that are thrown on the way."""

    seed: int
    profile: str
    steps: tuple[Step, ...]
    sqlite: bool = False  # a real SQLite file takes every batch too


def profile_of(name: str) -> Profile:
    return next(profile for profile in PROFILES if profile.name == name)


def make_plan(seed: int) -> Plan:
    """The plan of a seed: every profile in turn, one run in fifty on SQLite too."""
    profile = PROFILES[seed % len(PROFILES)]
    dice = random.Random(f"{seed}/plan")
    weights = {**LIFE, **profile.weights}
    names, odds = list(weights), list(weights.values())
    steps = [Step(0.1 * (number + 1), "open", (number, APPS[number % 2])) for number in range(3)]
    at = 1.0
    while at < STORM:
        what = dice.choices(names, odds)[0]
        steps.append(Step(round(at, 4), what, _arguments(what, dice)))
        at += dice.expovariate(PACE)
    sqlite = seed % 50 == 7
    return Plan(seed, profile.name, tuple(steps), sqlite)


def _arguments(what: str, dice: random.Random) -> tuple[int | float | str, ...]:
    who, pick = dice.randrange(12), dice.randrange(100)
    seconds = round(dice.choice((0.5, 3.0, 8.0, 14.0, 30.0)) * dice.uniform(0.7, 1.2), 3)
    match what:
        case "open" | "kill_all" | "create":
            return who, dice.choice(APPS)
        case "kill":
            return who, pick, dice.choice(KILLS)
        case "read":
            return who, pick, dice.choice(READS)
        case "change" | "close" | "delete" | "status" | "squatter":
            return who, pick
        case "cleanup":
            return who, dice.choice((8.0, 15.0, 30.0))
        case "cut" | "freeze" | "cut_feed":
            return who, seconds
        case "half":
            return who, dice.choice(("client", "broker"))
        case "crash":
            return (dice.choice(CRASH_POINTS),)
        case "freeze_broker":
            return (seconds,)
        case "disk":
            return dice.choice(DISK_FAULTS), seconds / 2
        case "wall":
            return (dice.choice((-3600.0, 3600.0)),)
        case "junk":
            return who, dice.randrange(JUNK)
        case "unusable" | "stop":
            return ()
        case _:
            return (who,)
