"""The sessions of the soak in virtual time."""

from __future__ import annotations

import random
from collections import Counter

from scripts.soak_app import Action, Churn

LIFE = (30.0, 120.0)  # seconds
HOUR = 3600.0


def churn(seed: int = 1, places: int = 20) -> Churn:
    return Churn(random.Random(seed), places, LIFE, 0.0)


def played(made: Churn, until: float) -> list[tuple[float, Action]]:
    actions: list[tuple[float, Action]] = []
    while (now := made.next_at()) <= until:
        actions += [(now, action) for action in made.due(now)]
    return actions


def test_the_same_seed_plays_the_same() -> None:
    assert played(churn(7), HOUR) == played(churn(7), HOUR)
    assert played(churn(7), HOUR) != played(churn(8), HOUR)


def test_each_place_has_a_session_at_any_time_and_tasks_only_within_one() -> None:
    live: set[int] = set()
    busy: set[int] = set()
    for _, (what, place) in played(churn(), HOUR):
        if what == "begin":
            assert place not in live
            live.add(place)
        elif what == "end":
            live.remove(place)
            busy.discard(place)
        elif what == "work":
            assert place in live - busy
            busy.add(place)
        else:
            busy.remove(place)
    assert len(live) == 20


def test_sessions_live_as_long_as_told_and_do_not_end_together() -> None:
    begun: dict[int, float] = {}
    lives = []
    ends = Counter[int]()
    for at, (what, place) in played(churn(places=200), HOUR):
        if what == "begin":
            begun[place] = at
        elif what == "end":
            lives.append(at - begun[place])
            ends[int(at // 60)] += 1
    firsts, rest = lives[:200], lives[1000:]
    assert 0.0 < min(firsts) < LIFE[0]  # as if begun before
    assert LIFE[0] <= min(rest) < max(rest) <= LIFE[1]
    assert min(ends.values()) > 0.5 * max(ends.values())


def test_one_that_is_killed_is_followed_by_another_at_once() -> None:
    made = churn(places=1)
    played(made, 5.0)
    made.killed(0, 5.0)
    assert made.next_at() == 0.0
    assert made.due(5.0) == [Action("begin", 0)]
    ends = [at for at, action in played(made, HOUR) if action.what == "end"]
    assert ends[0] >= 5.0 + LIFE[0]  # the old one's end is void
