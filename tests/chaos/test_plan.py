"""The plan of faults."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from scripts.faults.plan import LONG, LONGEST_GAP, SHAPES, Fault, plan

PARTS = {"broker": 1, "gateway": 1, "monitor": 1, "app": 4, "proxy": 3}


def planned(seed: int, count: int, parts: dict[str, int] = PARTS) -> list[Fault]:
    return list(islice(plan(seed, parts), count))


def test_the_same_seed_plans_the_same_faults() -> None:
    assert planned(7, 500) == planned(7, 500)
    assert planned(7, 500) != planned(8, 500)
    assert planned(7, 500)[:40] == planned(7, 40)


def test_every_kind_comes_once_before_any_comes_twice() -> None:
    for seed in range(20):
        assert {fault.kind for fault in planned(seed, len(SHAPES))} == SHAPES.keys()


def test_faults_strike_what_there_is_and_for_as_long_as_their_kind_allows() -> None:
    faults = planned(3, 5_000)
    for fault in faults:
        shape = SHAPES[fault.kind]
        assert 0.0 <= fault.after <= LONGEST_GAP
        assert shape.shortest <= fault.seconds <= (LONG[1] if shape.may_last else shape.longest)
    struck = {part: {f.target for f in faults if f.part == part} for part in PARTS}
    assert struck == {part: set(range(count)) for part, count in PARTS.items()}
    assert any(fault.seconds > 10.0 for fault in faults)


def test_often_means_more_often() -> None:
    counts = Counter(fault.kind for fault in planned(3, 5_000))
    assert counts["app kill -9"] > 1.5 * counts["app exit"]


def test_what_is_not_there_is_not_struck() -> None:
    faults = planned(1, 1_000, {**PARTS, "monitor": 0})
    assert {fault.part for fault in faults} == PARTS.keys() - {"monitor"}
    with pytest.raises(ValueError, match="nothing to strike"):
        planned(1, 1, {})


def test_some_faults_end_a_process_and_the_others_only_trouble_it() -> None:
    ending = {fault.kind for fault in planned(1, len(SHAPES)) if fault.ends}
    assert ending == {
        "broker kill -9",
        "broker kill -9 at an answer",
        "broker restart",
        "app kill -9",
        "app exit",
        "gateway kill -9",
        "monitor kill -9",
    }
