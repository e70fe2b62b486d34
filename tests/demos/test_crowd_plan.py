"""The crowd in virtual time."""

from __future__ import annotations

import random

import pytest

from demos.crowd_plan import (
    APPS,
    ARRIVAL_SPAN,
    OTHER_TASKS,
    Action,
    Arrive,
    Begin,
    Crowd,
    Finish,
    Leave,
    shares,
)

HOUR = 3600.0


def played(seed: int, size: int, until: float, apps: tuple[str, ...] = tuple(APPS)) -> list[Action]:
    crowd = Crowd(random.Random(seed), size, apps, 0.0)
    actions: list[Action] = []
    while crowd.next_at() <= until:
        actions += crowd.due(crowd.next_at())
    return actions


def test_the_same_seed_plays_the_same_crowd() -> None:
    assert played(7, 20, HOUR) == played(7, 20, HOUR)
    assert played(7, 20, HOUR) != played(8, 20, HOUR)


def test_everybody_arrives_in_time_and_their_number_stays_about_the_same() -> None:
    crowd = Crowd(random.Random(1), 50, tuple(APPS), 100.0)
    assert len(crowd.due(100.0 + ARRIVAL_SPAN)) >= 50
    alive, counts = 50, []
    while crowd.next_at() <= HOUR:
        for action in crowd.due(crowd.next_at()):
            alive += isinstance(action, Arrive) - isinstance(action, Leave)
        counts.append(alive)
    assert min(counts) >= 45
    assert max(counts) == 50


def test_users_do_one_thing_after_the_other() -> None:
    actions = played(3, 30, 3 * HOUR)
    working: set[int] = set()
    present: set[int] = set()
    for action in actions:
        match action:
            case Arrive(who, app, user):
                assert app in APPS
                assert user is None or "." in user
                present.add(who)
            case Begin(who, task):
                assert who in present - working
                assert 1 <= len(task) <= 255
                working.add(who)
            case Finish(who, _):
                working.remove(who)
            case Leave(who):
                assert who not in working
                present.remove(who)
    finished = [action for action in actions if isinstance(action, Finish)]
    failed = [action for action in finished if action.error is not None]
    assert 0.02 < len(failed) / len(finished) < 0.1
    assert any(isinstance(action, Leave) for action in actions)


def test_somebody_follows_one_who_was_killed() -> None:
    crowd = Crowd(random.Random(1), 1, ("own app",), 0.0)
    (arrive,) = crowd.due(ARRIVAL_SPAN)
    assert isinstance(arrive, Arrive)
    assert crowd.killed(arrive.who, 10.0)
    assert not crowd.killed(arrive.who, 10.0)
    actions: list[Action] = []
    while len(actions) < 2:
        actions += crowd.due(crowd.next_at())
    assert isinstance(actions[0], Arrive)
    assert actions[0].who != arrive.who
    assert isinstance(actions[1], Begin | Leave)
    if isinstance(actions[1], Begin):
        assert actions[1].task in OTHER_TASKS


@pytest.mark.parametrize(
    ("sessions", "processes", "expected"),
    [(200, 4, [50] * 4), (10, 4, [3, 3, 2, 2]), (1, 1, [1]), (3, 3, [1, 1, 1])],
)
def test_shares(sessions: int, processes: int, expected: list[int]) -> None:
    assert shares(sessions, processes) == expected
