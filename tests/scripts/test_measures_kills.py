"""scripts/measures/kills.py and what it is made of: each measure once, as small as can be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from scripts.measures import kills
from scripts.measures.figures import QUICK, Measure, Setting
from scripts.measures.spread import spread, spread_figures

TINY = replace(QUICK, seconds=0.1, kills=3, sessions=20, many=40)


@pytest.mark.process
@pytest.mark.parametrize(
    "measure",
    [kills.CEILINGS, kills.KILL, kills.KILL_ALL, kills.UNDER],
    ids=lambda measure: measure.name,
)
def test_two_rounds_give_every_figure_and_leave_nothing_behind(
    measure: Measure, tmp_path: Path
) -> None:
    before = psutil.Process().children(recursive=True)
    assert measure.available() is None
    with measure.start(Setting(TINY, tmp_path / "own")) as one_round:
        for _ in range(2):
            found = one_round()
            assert sorted(found) == sorted(figure.key for figure in measure.figures)
            assert all(math.isfinite(value) and value > 0 for value in found.values()), found
    assert psutil.Process().children(recursive=True) == before


def test_keys_of_figures_are_said_once() -> None:
    measures = (kills.CEILINGS, kills.KILL, kills.KILL_ALL, kills.UNDER)
    keys = [figure.key for measure in measures for figure in measure.figures]
    assert len(keys) == len(set(keys))


def test_processes_hold_a_hundred_sessions_each_but_are_never_few() -> None:
    assert kills.processes_for(10_000) == 100
    assert kills.processes_for(20) == 10


def test_a_spread_is_in_milliseconds_and_never_beyond_the_worst() -> None:
    found = spread("x", [0.001, 0.002, 0.009])
    assert found["x.p50"] == pytest.approx(2.0)
    assert found["x.worst"] == pytest.approx(9.0)
    assert 2.0 < found["x.p99"] <= found["x.worst"]
    assert sorted(found) == sorted(figure.key for figure in spread_figures("x", "x"))
