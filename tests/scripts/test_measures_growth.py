"""How growth is measured, fitted and drawn."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from monitor.style import SERIES, colours
from scripts.measures.growth import FIGURES, exponent, fitted, grow
from scripts.measures.growth_chart import PANELS, draw_both
from scripts.measures.results import Point
from tests.scripts.one_round import TINY, tiny

MAX_BYTES = 150_000  # of a picture in a document


@pytest.mark.process
def test_each_size_is_measured(tmp_path: Path) -> None:
    told: list[str] = []
    points = grow(tiny(tmp_path), told.append)
    assert [point.sessions for point in points] == list(TINY.growth)
    for point in points:
        assert set(point.figures) == {figure.key for figure in FIGURES}
        for key, value in point.figures.items():
            assert math.isfinite(value), key
            # what the broker uses anyway is taken off, and may be all that was seen
            assert value > 0 or (key == "growth.change" and value == 0), key
    assert told[0] == "20 sessions: they greet the broker"
    assert told[-1] == "20 sessions: the broker starts again"


# --- the fit -----------------------------------------------------------------------------------


def points(values: dict[int, float], key: str = "x") -> list[Point]:
    return [Point(sessions, {key: value}) for sessions, value in values.items()]


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_a_power_is_found(power: float) -> None:
    made = points({n: 7.0 * n**power for n in (100, 1_000, 10_000, 100_000)})
    assert exponent(made, "x") == pytest.approx(power, abs=1e-9)


def test_two_sizes_are_enough() -> None:
    assert exponent(points({100: 3.0, 1_000: 30.0}), "x") == pytest.approx(1.0)


def test_only_the_three_largest_sizes_count_in_whatever_order_they_come() -> None:
    made = points({100_000: 10.0, 10: 1.0, 10_000: 1.0, 1_000: 0.1, 100: 1.0})
    assert exponent(made, "x") == pytest.approx(1.0)


def test_it_is_the_least_squares_slope() -> None:
    # logarithms to the base of ten: sizes 2, 3, 4 and values 0, 0, 1
    made = points({100: 1.0, 1_000: 1.0, 10_000: 10.0})
    assert exponent(made, "x") == pytest.approx(0.5)
    assert [size for size, _ in fitted(made, "x")] == [100, 1_000, 10_000]
    line = [math.log10(value) for _, value in fitted(made, "x")]
    assert line == pytest.approx([-1 / 6, 1 / 3, 5 / 6])


def test_what_has_no_logarithm_is_left_out() -> None:
    assert exponent(points({100: 0.0, 1_000: 2.0, 10_000: 20.0}), "x") == pytest.approx(1.0)


@pytest.mark.parametrize("values", [{}, {100: 1.0}, {100: 0.0, 1_000: 1.0}])
def test_one_size_shows_no_growth(values: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="x: two sizes or more are needed"):
        exponent(points(values), "x")


# --- the chart ---------------------------------------------------------------------------------


def made_up(sizes: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)) -> list[Point]:
    values = {figure.key: 3.0 for figure in FIGURES}
    return [Point(n, {**values, "growth.memory": 2e6 + 400.0 * n}) for n in sizes]


def comments(file: Path) -> set[str]:
    """What is written in a picture: text is drawn as shapes, under its words as a comment."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.parse(file, parser).getroot()
    return {(node.text or "").strip() for node in root.iter() if callable(node.tag)}


def test_every_figure_has_its_chart() -> None:
    assert {panel.key for panel in PANELS} == {figure.key for figure in FIGURES}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_charts_show_values_and_growth_in_the_monitor_s_colours(tmp_path: Path, theme: str) -> None:
    file = tmp_path / f"growth-{theme}.svg"
    assert file in draw_both(made_up(), tmp_path)
    text = file.read_text()
    assert len(text) < MAX_BYTES
    assert f"fill: {colours(theme == 'dark')['surface']}" in text
    assert SERIES[0] in text
    words = comments(file)
    assert {panel.title for panel in PANELS} <= words
    assert {"$n^{0.00}$", "sessions", "100", "10,000", "1,000,000"} <= words
    assert {"2", "400"} <= words  # MB, at both ends
    assert any(said.startswith("One broker with 100 to 1,000,000 live") for said in words)


def test_two_sizes_are_drawn_with_both_their_names(tmp_path: Path) -> None:
    files = draw_both(made_up((100, 1_000)), tmp_path)
    assert {"100", "1,000"} <= comments(files[0])


def test_what_is_nowhere_above_zero_leaves_its_chart_empty(tmp_path: Path) -> None:
    made = [Point(n, {**dict.fromkeys((p.key for p in PANELS), 0.0)}) for n in (100, 1_000)]
    files = draw_both(made, tmp_path)
    assert {panel.title for panel in PANELS} <= comments(files[0])


def test_the_same_points_draw_the_same_file(tmp_path: Path) -> None:
    for one, other in zip(
        draw_both(made_up(), tmp_path / "a"), draw_both(made_up(), tmp_path / "b"), strict=True
    ):
        assert one.read_bytes() == other.read_bytes()
