"""The soak's chart, light and dark, from made-up samples."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from monitor.style import SERIES, colours
from scripts.plots import figure, logarithmic, name_lines, write
from scripts.soak_chart import draw_both, main
from tests.scripts.made_up import made_up

MAX_BYTES = 150_000  # of a picture in a document


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_small_and_has_the_monitor_s_colours(tmp_path: Path, theme: str) -> None:
    draw_both(made_up(), tmp_path)
    text = (tmp_path / f"soak-{theme}.svg").read_text()
    ElementTree.fromstring(text)
    assert len(text) < MAX_BYTES
    assert f"fill: {colours(theme == 'dark')['surface']}" in text
    assert SERIES[0] in text
    for words in ("Memory, MB", "Live sessions", "2 apps", "sessions.db", "minutes"):
        assert f"<!-- {words} -->" in text


def test_the_same_samples_draw_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_both(made_up(), tmp_path / name)
    for theme in ("light", "dark"):
        file = f"soak-{theme}.svg"
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_it_can_be_drawn_again_from_a_file(tmp_path: Path) -> None:
    made_up().save(tmp_path / "soak.json")
    done = CliRunner().invoke(main, [str(tmp_path / "soak.json"), "--to", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "soak-light.svg",
        "soak-dark.svg",
    }


@pytest.mark.parametrize("text", ["", "[]", '{"at": []}', "null"])
def test_another_file_is_wrong_usage(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    done = CliRunner().invoke(main, [str(file)])
    assert done.exit_code == 2
    assert "holds no samples of a soak" in done.output


def test_logarithmic_axes_name_powers_of_ten_in_full(tmp_path: Path) -> None:
    with figure("dark", (4.0, 3.0)) as (made, axes):
        axes.plot([1, 10, 1_000], [10, 100, 100_000], label="measured")
        logarithmic(axes, "Cost", "sessions", "µs")
        name_lines(axes)
        write(made, tmp_path / "log.svg")
    text = (tmp_path / "log.svg").read_text()
    for words in ("Cost", "1,000", "100,000", "measured"):
        assert f"<!-- {words} -->" in text
