"""Results of a benchmark that never was: judged, kept, and held against others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.measures import catalogue
from scripts.measures.goals import GOALS, Goal, judge, judge_all
from scripts.measures.machine import describe
from scripts.measures.results import NotResults, Point, compare, differences, load
from tests.scripts.made_up import bench_results as made

RATIO = Goal("r", "one ÷ two and three", "one", ("two", "three"), 3.0, 1.5, "less")
RATE = Goal("f", "a rate", "one", (), 50_000.0, 200_000.0, "more", "/s")


# --- goals ---------------------------------------------------------------------------------------


def test_a_ratio_is_taken_in_each_round() -> None:
    # the second round was disturbed, but both sides alike
    results = made(one=[2.0, 20.0, 2.2], two=[0.5, 5.0, 0.5], three=[0.5, 5.0, 0.5])
    verdict = judge(RATIO, results)
    assert verdict.values == (2.0, 2.0, 2.2)
    assert (verdict.value, verdict.word) == (2.0, "must")


def test_figures_of_different_numbers_of_rounds_are_related_by_their_medians() -> None:
    verdict = judge(RATIO, made(one=[1.0, 3.0, 9.0], two=[1.0], three=[2.0]))
    assert (verdict.value, verdict.values, verdict.word) == (1.0, (1.0,), "aim")


@pytest.mark.parametrize(
    ("value", "word"), [(1.5, "aim"), (1.51, "must"), (3.0, "must"), (3.01, "missed")]
)
def test_less_is_better(value: float, word: str) -> None:
    assert judge(RATIO, made(one=[value], two=[0.25], three=[0.75])).word == word


@pytest.mark.parametrize(
    ("value", "word"),
    [(2e5, "aim"), (199_999.0, "must"), (5e4, "must"), (49_999.0, "missed")],
)
def test_more_is_better(value: float, word: str) -> None:
    assert judge(RATE, made(one=[value])).word == word


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"one": [1.0], "two": [1.0]},
        {"two": [1.0], "three": [1.0]},
        {"one": [], "two": [], "three": []},
        {"one": [1.0], "two": [0.0], "three": [0.0]},
    ],
)
def test_what_is_missing_is_not_measured(values: dict[str, list[float]]) -> None:
    verdict = judge(RATIO, made(False, **values))
    assert (verdict.word, verdict.value, verdict.values) == ("not measured", None, ())


def test_a_round_in_which_the_other_side_took_no_time_is_left_out() -> None:
    verdict = judge(RATIO, made(one=[2.0, 4.0], two=[0.0, 1.0], three=[0.0, 1.0]))
    assert verdict.values == (2.0,)


def test_nothing_is_measured_in_an_empty_run() -> None:
    assert {verdict.word for verdict in judge_all(made())} == {"not measured"}


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: str(goal.key))
def test_a_goal_is_about_figures_that_are_measured(goal: Goal) -> None:
    figures = {
        figure.key: figure
        for group in catalogue.GROUPS
        for measure in group.measures
        for figure in measure.figures
    }
    found = [figures[key] for key in (goal.value, *goal.over) if key in figures]
    assert {goal.value, *goal.over} <= figures.keys()
    if goal.over:
        assert len({figure.unit for figure in found}) <= 1
    elif found:
        assert (found[0].unit, found[0].better) == (goal.unit, goal.better)
    if goal.better == "less":
        assert goal.aim <= goal.must
    else:
        assert goal.aim >= goal.must


def test_names_are_there_once() -> None:
    measures = [measure for group in catalogue.GROUPS for measure in group.measures]
    keys = [figure.key for measure in measures for figure in measure.figures]
    for names in (
        catalogue.names(),
        keys,
        [goal.key for goal in GOALS],
        [measure.name for measure in measures],
    ):
        assert len(set(names)) == len(names)


# --- files ---------------------------------------------------------------------------------------


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    results = made(one=[1.0, 2.5], two=[3.0])
    results.figures["one"] = replace(results.figures["one"], better="more", unit="/s")
    results.growth = [Point(100, {"one": 1.0}), Point(1_000, {"one": 2.0})]
    results.left_out = {"Redis": "is not installed"}
    results.save(tmp_path / "file.json")
    assert load(tmp_path / "file.json") == results


def document(**changed: Any) -> str:
    figure = {"what": "w", "unit": "ms", "better": "less", "values": [1.0]}
    whole = {
        "kind": "panelbus bench",
        "version": 1,
        "quick": False,
        "machine": {},
        "figures": {"one": figure | changed.pop("figure", {})},
        "growth": [],
        "left_out": {},
    }
    return json.dumps(whole | changed)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is no JSON"),
        ("no", "it is no JSON"),
        ("[]", "no results"),
        ("{}", "no results"),
        (document(kind="another"), "no results"),
        (document(version=2), "of version 2, and this reads 1 only"),
        (document(figures=None), "damaged"),
        (document(figures={"one": {}}), "damaged"),
        (document(figure={"values": []}), "damaged"),
        (document(figure={"values": ["1"]}), "damaged"),
        (document(figure={"values": [float("nan")]}), "damaged"),
        (document(figure={"better": "other"}), "damaged"),
        (document(growth=[{"sessions": 1}]), "damaged"),
        (document(machine=[]), "damaged"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(NotResults) as raised:
        load(file)
    told = str(raised.value)
    assert says in told
    assert str(file) in told
    assert "\n" not in told


def test_a_file_that_is_binary_or_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, says in (("binary", "no JSON"), ("missing", "No such file"), (".", "directory")):
        with pytest.raises(NotResults, match=says):
            load(tmp_path / name)


def test_the_machine_is_described(tmp_path: Path) -> None:
    found = describe(tmp_path)
    assert found.keys() >= {"processor", "cores", "memory", "system", "Python", "pyzmq", "msgpack"}
    assert found.keys() >= {"SQLite", "file system", "load average"}
    assert all(found.values())


# --- beside another run --------------------------------------------------------------------------


def test_a_figure_is_better_or_worse_when_its_rounds_do_not_overlap() -> None:
    before = made(a=[10.0, 12.0], b=[10.0, 12.0], c=[10.0, 12.0], d=[1.0, 1.0], e=[0.0, 0.0])
    now = made(a=[5.0, 6.0], b=[20.0, 24.0], c=[11.0, 13.0], x=[1.0, 1.0], e=[1.0, 2.0])
    changes = {change.figure.key: change for change in compare(now, before)}
    assert {key: change.word for key, change in changes.items()} == {
        "a": "better",
        "b": "worse",
        "c": "",
        "e": "worse",
    }
    assert (changes["a"].before, changes["a"].now, changes["a"].ratio) == (11.0, 5.5, 0.5)
    assert changes["e"].ratio is None


def test_of_what_should_be_much_more_is_better() -> None:
    before, now = made(a=[10.0, 12.0]), made(a=[20.0, 24.0])
    now.figures["a"] = replace(now.figures["a"], better="more")
    assert [change.word for change in compare(now, before)] == ["better"]


def test_one_round_proves_nothing() -> None:
    assert [change.word for change in compare(made(a=[1.0]), made(a=[9.0]))] == [""]


def test_what_makes_runs_hard_to_compare_is_told() -> None:
    now, before = made(), made(quick=True)
    before.machine = {"processor": "another", "load average": "9.9 before it began"}
    told = differences(now, before)
    assert told == [
        "one was quick, the other was not",
        "processor: another before, made up now",
    ]
    assert differences(now, now) == []
