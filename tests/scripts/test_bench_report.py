"""How results of a benchmark are shown."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from scripts.measures import report
from scripts.measures.figures import Figure
from scripts.measures.goals import GOALS
from scripts.measures.results import Point, Results
from tests.scripts.made_up import bench_results as made


def full() -> Results:
    results = made(one=[1.0, 3.0])
    for goal in GOALS:
        for key in (goal.value, *goal.over):
            results.figures[key] = Figure(key, f"what {key} is | [red]", goal.unit)
            results.values[key] = [goal.must, goal.must]
    results.values["alive.cpu"] = [0.001, 0.002]
    results.values["ancestor.cpu"] = [1.0, 1.0]
    results.values["client.memory"] = [1_234.0, 5_678.0]
    results.growth = [Point(100, {"one": 1.25}), Point(1_000_000, {"one": 2.5, "new.one": 77.0})]
    results.left_out = {"Redis": "no [server] is installed"}
    return results


def test_the_terminal_shows_everything() -> None:
    out = io.StringIO()
    report.show(full(), Console(file=out, width=160), made(one=[4.0, 8.0]))
    text = out.getvalue()
    for goal in GOALS:
        assert goal.what in text
    for shown in ("3.46 KB", "1.23 to 5.68 KB", "1/667", "1/1,000 to 1/500", "50,000/s", "100 ms"):
        assert shown in text, shown
    assert "what kill.p50 is | [red]" in text
    assert "no [server] is installed" in text
    assert "1,000,000" in text
    assert "new.one" in text
    assert "better" in text


def test_markdown_holds_the_same() -> None:
    text = report.markdown(full(), made(one=[4.0, 8.0]))
    assert "- processor: made up\n" in text
    assert "| the figure one | 2 ms | 1 to 3 ms | 2 |" in text
    assert "| the figure one | 6 ms | 2 ms | 0.33 | better |" in text
    assert "| 1,000,000 | 2.5 ms | 77 |" in text
    assert "what kill.p50 is \\| [red]" in text
    assert "not measured: Redis: no [server] is installed" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) > 2 * len(GOALS)
    assert text.index("## Goals") < text.index("## Figures") < text.index("## Growth")


def test_growth_is_told_in_words_and_by_its_power() -> None:
    results = made(one=[1.0])
    results.growth = [
        Point(size, {"growth.memory": 400.0 * size, "growth.kill": 1.5}) for size in (100, 10_000)
    ]
    text = report.markdown(results)
    assert "| sessions | memory for all sessions | kill, until its process has it, median |" in text
    assert "| 10,000 | 4 MB | 1.5 ms |" in text
    assert "| as sessions to the power | 1.00 | 0.00 |" in text


def test_a_quick_run_says_so_and_an_empty_one_is_shown() -> None:
    assert report.markdown(made(quick=True)).startswith("A quick run")
    out = io.StringIO()
    report.show(made(quick=True), Console(file=out, width=160))
    assert "A quick run" in out.getvalue()
    assert "not measured" in out.getvalue()


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0, "ms", "0 ms"),
        (1.0, "", "1"),
        (97_123.4, "/s", "97,123/s"),
        (99.96, "ms", "100 ms"),
        (12.34, "µs", "12.3 µs"),
        (0.01234, "ms", "0.0123 ms"),
        (999.0, "B", "999 B"),
        (1_500.0, "B", "1.5 KB"),
        (2_500_000.0, "B", "2.5 MB"),
        (-3e9, "B", "-3 GB"),
        (0.025, report.RATIO, "1/40"),
        (0.28, report.RATIO, "0.28"),
    ],
)
def test_numbers_are_short(value: float, unit: str, shown: str) -> None:
    assert report.number(value, unit) == shown
