"""Sessions in their order, from any place, however many were removed in between."""

from __future__ import annotations

import random

import pytest

from broker.registry.in_order import LEAST_DEAD, InOrder
from broker.registry.model import Process, Session


def session(seq: int) -> Session:
    process = Process("proc", "bus", None, "host", 1, 0.0, 0.0)
    return Session(f"s{seq}", seq, "app", None, process, 0.0, "idle")


def test_it_goes_on_behind_any_number_whether_that_one_is_there_or_not() -> None:
    order = InOrder()
    for seq in (2, 3, 7):
        order.append(session(seq))
    assert [s.seq for s in order] == [2, 3, 7]
    assert [[s.seq for s in order.after(seq)] for seq in (0, 2, 5, 7, 9)] == [
        [2, 3, 7],
        [3, 7],
        [7],
        [],
        [],
    ]


def test_an_empty_one_is_false_and_has_nobody() -> None:
    order, one = InOrder(), session(1)
    assert (bool(order), len(order), list(order), one in order) == (False, 0, [], False)
    order.append(one)
    assert (bool(order), one in order, session(1) in order, session(2) in order) == (
        True,
        True,
        False,
        False,
    )
    order.remove(one)
    assert (bool(order), one in order, list(order)) == (False, False, [])


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_a_sorted_list_would_be(seed: int) -> None:
    rng = random.Random(seed)
    order, model, seq = InOrder(), list[Session](), 0
    for _ in range(3_000):
        if model and rng.random() < 0.5 + 0.3 * (seed - 2) / 2:
            gone = model.pop(rng.randrange(len(model)))
            order.remove(gone)
        else:
            seq += rng.randint(1, 3)
            model.append(session(seq))
            order.append(model[-1])
    assert list(order) == model
    assert len(order) == len(model)
    for after in range(0, seq + 2, 7):
        assert list(order.after(after)) == [s for s in model if s.seq > after]


def test_what_was_removed_takes_no_more_room_than_what_is_there() -> None:
    order = InOrder()
    sessions = [session(seq) for seq in range(1, 10_001)]
    for one in sessions:
        order.append(one)
    for one in sessions[:-10]:
        order.remove(one)
    assert len(order._places) == len(order._seqs) <= 10 + LEAST_DEAD + 1
    assert list(order) == sessions[-10:]
