"""What the benchmark measures of the client: that it is measured, not how much it is."""

from __future__ import annotations

import math
import subprocess
from dataclasses import replace
from pathlib import Path

import click
import pytest

from scripts.measures import client
from scripts.measures.figures import QUICK, Setting

TINY = replace(QUICK, seconds=0.05, sessions=40)

pytestmark = pytest.mark.process


def test_every_figure_is_measured_in_each_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "IMPORTS", 1)
    with client.CLIENT.start(Setting(TINY, tmp_path)) as play:
        rounds = [play(), play()]
    for found in rounds:
        assert found.keys() == {figure.key for figure in client.CLIENT.figures}
        assert all(math.isfinite(value) for value in found.values())
        # one thread of ours, however many sessions; libzmq adds two
        assert found["client.threads"] == 1
        assert found["client.all_threads"] == 3
        assert found["client.memory"] > 0
        assert 0 < found["client.task"] <= found["client.task_p99"] * client.BATCH
        assert found["client.task_cpu"] > 0
        assert found["client.task_in_a_row"] > 0
        assert found["client.import"] > 0
    assert client.CLIENT.available() is None


def test_an_import_that_brings_panel_along_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    heavy = "import sys; sys.modules['panel'] = sys\n" + client.IMPORT
    monkeypatch.setattr(client, "IMPORT", heavy)
    with pytest.raises(click.ClickException, match="imports Panel"):
        client.import_time()


def test_an_import_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "IMPORT", "import sessionclient.nothing")
    with pytest.raises(click.ClickException, match=r"No module named 'sessionclient\.nothing'"):
        client.import_time()


def test_an_app_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def dying(words: list[str], **more: object) -> object:
        if client.__name__ in words:
            words = [words[0], "-c", "raise SystemExit(3)"]
        return real(words, **more)  # type: ignore[call-overload]

    with client.CLIENT.start(Setting(TINY, tmp_path)) as play:
        monkeypatch.setattr(subprocess, "Popen", dying)
        with pytest.raises(click.ClickException, match="the app ended with status 3"):
            play()
