"""Proof that the checkers can fail: without any one of its guards the product breaks a promise."""

from __future__ import annotations

from itertools import count, islice

import pytest

from tests.simulation.fleet import run
from tests.simulation.guards import GUARDS, Guard
from tests.simulation.plan import PROFILES, Plan, make_plan
from tests.simulation.seeds import MARKS
from tests.simulation.shrink import kind_of

pytestmark = MARKS

ENOUGH = 200  # runs of its profiles within which a missing guard must be noticed


def plans(guard: Guard) -> list[Plan]:
    seeds = (s for s in count(guard.first) if PROFILES[s % len(PROFILES)].name in guard.profiles)
    return [make_plan(seed) for seed in islice(seeds, ENOUGH)]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_missing_guard_is_noticed(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        guard.take_away(patch)
        failing = next((p for p in plans(guard) if kind_of(run(p).error) is not None), None)
        assert failing is not None, f"{ENOUGH} runs without it, and nobody noticed"
        error = run(failing).error
    assert kind_of(error) in guard.noticed_by, f"seed {failing.seed}: {error!r}"
    assert run(failing).error is None  # with the guard all is well
