"""The first seeds, counted: a simulation that never meets a fault or a path proves nothing."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from tests.simulation.fleet import run
from tests.simulation.plan import CRASH_POINTS, DISK_FAULTS, LIFE, PROFILES, READS, make_plan
from tests.simulation.seeds import COUNTED, MARKS
from tests.simulation.shrink import Case, report

pytestmark = MARKS

FAULTS = (
    *("lose", "repeat", "delay", "cut off", "partition", "half open", "feed cut"),
    *("connection dropped", "freeze of a process", "freeze of the broker", "process died"),
    *("wall clock jump", "slow-commit", "unsynced lost", "kept and never told"),
    *(f"crash {point}" for point in (*CRASH_POINTS, "unusable store")),
    *(f"commit: {fault}" for fault in (*DISK_FAULTS, "unusable")),
    *("impostor", "squatter", "viewer", "junk", "replay"),
)
PATHS = (
    *("kill acknowledged", "kill tried again", "kill of nobody", "key reused", "pushed"),
    *("kill refused: unavailable", "kill refused: too_many", "kill refused: RequestTimeout"),
    *(f"callbacks: {kind}" for kind in ("succeed", "slow", "raises", "fails")),
    *("pushed at a hello", "restart with open kills", "refusal stored", "stop, all saved"),
    *("REST session", "REST session killed", "session refused", "malformed", "unreachable"),
    *("mirror live", "mirror resyncing", "mirror down", "gap", "late or again"),
    *("silence noticed", "given up as silent", "back after silence"),
    *("memory compared with the store", "compared with SQLite"),
    *(f"read {kind}" for kind in READS),
)
STEPS = sorted(
    f"step {step}" for step in set(LIFE).union(*(profile.weights for profile in PROFILES))
)


@cache  # not a fixture: those are set up while lines are counted, which makes it slow
def counts() -> Counter[str]:
    total: Counter[str] = Counter()
    for seed in range(COUNTED):
        outcome = run(make_plan(seed))
        if outcome.error is not None:
            pytest.fail(report(Case(make_plan(seed))), pytrace=False)
        total.update(outcome.counts)
    return total


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_injected(fault: str) -> None:
    assert counts()[fault] > 0


@pytest.mark.parametrize("path", PATHS)
def test_every_path_of_interest_is_taken(path: str) -> None:
    assert counts()[path] > 0


@pytest.mark.parametrize("step", STEPS)
def test_every_step_of_every_profile_is_taken(step: str) -> None:
    assert counts()[step] > 0
