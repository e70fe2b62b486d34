"""scripts/bench.py: a small run of the real thing, and what it says to wrong usage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from scripts import bench
from scripts.measures import catalogue, growth
from scripts.measures.figures import Scale
from scripts.measures.results import Point, load
from tests.scripts.made_up import bench_results
from tests.support.processes import ROOT, eventually

REQUESTS = {
    f"{name}.{figure}"
    for name in ("echo", "requests", "reads")
    for figure in ("rate", "cpu", "busy", "load")
}


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PANELBUS_KEYS": "/nowhere", "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def started_by(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() for process in processes)


def with_words(process: psutil.Process, *words: str) -> bool:
    try:
        return set(words) <= set(process.cmdline())
    except psutil.NoSuchProcess:
        return False


# --- whole runs ----------------------------------------------------------------------------------


@pytest.mark.process
def test_a_quick_run_measures_and_writes_its_files(tmp_path: Path) -> None:
    file, text = tmp_path / "bench.json", tmp_path / "bench.md"
    words = ["--quick", "--only", "requests", "--json", str(file), "--markdown", str(text)]
    with started("scripts/bench.py", *words) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    results = load(file)
    assert results.quick
    assert results.values.keys() == REQUESTS
    for values in results.values.values():
        assert len(values) == 1
        # a quick round may be shorter than the clock that counts a process's time
        assert all(0 <= value < 1e9 for value in values)
    assert min(results.values["requests.rate"] + results.values["echo.rate"]) > 0
    for shown in (out, text.read_text()):
        assert "requests served by the broker ÷ raw ROUTER echo" in shown
        assert "not measured" in shown


@pytest.mark.process
def test_a_part_that_dies_is_told_and_the_others_are_ended(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    words = ["--only", "requests", "--rounds", "1000", "--json", str(file)]
    with started("-m", "scripts.bench", *words) as process:
        # the broker with its gateway, the echo, and a load for each
        eventually(lambda: len(started_by(process)) == 5, "all parts run", 60.0)
        parts = started_by(process)
        next(part for part in parts if with_words(part, "load", "0")).kill()
        _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "Error: raw ROUTER echo: the load ended with status -9" in err
    assert "Traceback" not in err
    assert not file.exists()
    eventually(lambda: all_gone(parts), "nothing is left behind")


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(number: signal.Signals) -> None:
    with started("-m", "scripts.bench", "--only", "requests") as process:
        eventually(lambda: len(started_by(process)) == 5, "all parts run", 60.0)
        parts = started_by(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert out == ""
    eventually(lambda: all_gone(parts), "nothing is left behind")


# --- what it says --------------------------------------------------------------------------------


def invoke(*words: str) -> Any:
    return CliRunner().invoke(bench.main, words)


def test_all_that_is_measured_is_listed() -> None:
    done = invoke("--list")
    assert done.exit_code == 0
    for group in catalogue.GROUPS:
        assert f"\n{group.name}\n" in f"\n{done.output}"
        for measure in group.measures:
            assert all(f"    {figure.key} " in done.output for figure in measure.figures)


def test_help_says_what_the_exit_status_means() -> None:
    done = invoke("--help")
    assert done.exit_code == 0
    assert "130 after Ctrl-C" in done.output
    for option in ("quick", "only", "rounds", "json", "compare", "markdown", "list"):
        assert f"--{option}" in done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--only", "nothing"], "'nothing' is not one of 'requests'"),
        (["--rounds", "0"], "--rounds"),
        (["--rounds", "many"], "--rounds"),
        (["--compare", "/nowhere/file.json"], "/nowhere/file.json can't be read: No such file"),
        (["--json", "/nowhere/file.json"], "/nowhere/file.json can't be written"),
        (["--markdown", "/nowhere/file.md"], "/nowhere/file.md can't be written"),
        (["--other"], "--other"),
    ],
)
def test_wrong_usage_is_told_with_status_2(words: list[str], says: str) -> None:
    done = invoke(*words)
    assert done.exit_code == 2
    assert says in " ".join(done.output.split())


def test_a_wrong_file_to_compare_with_is_told_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "samples.json"
    file.write_text(json.dumps({"settings": {}, "at": []}))
    done = invoke("--compare", str(file))
    assert done.exit_code == 2
    assert "holds no results of a benchmark" in done.output


# --- what comes of results -----------------------------------------------------------------------

Measured = Callable[..., Any]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Run the command where these would be measured."""

    def run(*words: str, **values: list[float]) -> Any:
        def measure(scale: Scale, only: tuple[str, ...]) -> Any:
            assert only == ()
            return bench_results(scale.quick, **values)

        monkeypatch.setattr(bench, "measure", measure)
        return invoke(*words)

    return run


def test_the_exit_status_says_whether_all_musts_are_met(measured: Measured) -> None:
    good = {"client.task": [40.0], "client.threads": [1.0]}
    bad = good | {"client.threads": [2.0]}
    assert measured(**good).exit_code == 0
    assert measured(**bad).exit_code == 1
    assert measured("--quick", **bad).exit_code == 0
    assert measured().exit_code == 0


def test_results_are_held_against_those_before(measured: Measured, tmp_path: Path) -> None:
    file = tmp_path / "before.json"
    assert measured("--json", str(file), **{"client.task": [40.0, 44.0]}).exit_code == 0
    done = measured("--compare", str(file), **{"client.task": [20.0, 22.0]})
    assert done.exit_code == 0
    assert "better" in done.output
    assert "0.50" in done.output


def test_what_was_missed_is_written_down_too(measured: Measured, tmp_path: Path) -> None:
    file, text = tmp_path / "now.json", tmp_path / "now.md"
    done = measured("--json", str(file), "--markdown", str(text), **{"client.task": [60.0]})
    assert done.exit_code == 1
    assert load(file).values == {"client.task": [60.0]}
    assert "| missed |" in text.read_text()


# --- pictures ------------------------------------------------------------------------------------


def test_pictures_are_drawn_of_the_growth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = bench_results(one=[1.0])
    results.growth = [
        Point(size, {figure.key: 1.0 + size for figure in growth.FIGURES}) for size in (100, 1_000)
    ]
    monkeypatch.setattr(bench, "measure", lambda *_: results)
    done = CliRunner().invoke(bench.main, ["--pictures", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "new").iterdir())
    assert [file.name for file in files] == ["growth-dark.svg", "growth-light.svg"]
    assert all("<svg" in file.read_text() for file in files)


def test_pictures_of_what_is_not_measured_are_refused(tmp_path: Path) -> None:
    words = ["--only", "requests", "--pictures", str(tmp_path)]
    done = CliRunner().invoke(bench.main, words)
    assert done.exit_code == 2
    assert "--only growth" in done.output
