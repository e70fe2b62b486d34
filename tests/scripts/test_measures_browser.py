"""What the benchmark measures in a browser: that it is measured, not how much it is."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest

from scripts import chromium
from scripts.measures import browser
from scripts.measures.figures import QUICK, Setting
from tests.browser.conftest import REQUIRE

TINY = replace(QUICK, sessions=50)


@pytest.fixture(scope="module")
def _chromium() -> None:
    if chromium.find() is None:
        text = "THE BROWSER'S MEASURE DID NOT RUN: install Chromium (apt-get install chromium)"
        if os.environ.get(REQUIRE):
            pytest.fail(text)
        pytest.skip(text)


@pytest.mark.browser
@pytest.mark.process
@pytest.mark.usefixtures("_chromium")
def test_every_figure_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert browser.available() is None
    monkeypatch.setattr(browser, "QUICK_SAMPLES", 3)
    with browser.VISIBLE.start(Setting(TINY, tmp_path)) as play:
        found = play()
    assert found.keys() == {figure.key for figure in browser.VISIBLE.figures}
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    assert 0 < found["visible.p50"] <= found["visible.p95"]
    assert found["visible.changes"] > 0
    assert "Traceback" not in (tmp_path / "monitor.log").read_text()


@pytest.mark.process
def test_a_monitor_that_can_t_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(click.ClickException, match=r"^the monitor ended: Error: .*--server"),
        browser.monitor("nonsense", tmp_path),
    ):
        pass


def test_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "find", lambda: None)
    assert browser.available() == chromium.MISSING
    monkeypatch.setitem(sys.modules, "playwright", None)
    monkeypatch.setattr(browser, "find_spec", lambda name: None if name == "playwright" else name)
    assert browser.available() == "playwright is not installed"
