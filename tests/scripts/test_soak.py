"""scripts/soak.py: a small run of the real thing, and what it says to wrong usage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from scripts.soak import main
from tests.support.processes import ROOT, eventually

SMALL = ["--sessions", "40", "--apps", "2", "--life", "1", "4", "--no-monitor", "--kills", "240"]
PARTS = {"broker", "gateway", "operator", "app 1", "app 2"}


def soak(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "scripts/soak.py", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PANELBUS_KEYS": "/nowhere", "PYTHONPATH": str(ROOT)},
    )


def started_by(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() for process in processes)


@pytest.mark.process
def test_a_small_run_samples_and_judges_every_part(tmp_path: Path) -> None:
    keep, file = tmp_path / "kept", tmp_path / "soak.json"
    timing = ["--minutes", "0.1", "--every", "0.5", "--seed", "7"]
    process = soak(*SMALL, *timing, "--keep", str(keep), "--json", str(file))
    out, err = process.communicate(timeout=100)
    assert process.returncode in (0, 1), err  # so short a run may well still be warming up
    document = json.loads(file.read_text())
    assert len(document["at"]) == 13
    series = {(row["part"], row["kind"]): row["values"] for row in document["series"]}
    assert {part for part, kind in series if kind == "memory"} == PARTS
    for part in PARTS:
        for kind in ("memory", "threads", "descriptors"):
            assert min(series[part, kind]) > 0
    assert min(series["broker", "live sessions"]) > 30
    assert max(series["sessions.db-wal", "database"]) > 0
    totals = document["totals"]
    assert totals["ended"] > 0
    assert totals["killed"] > 0
    assert (keep / "sessions.db").exists()
    lines = [line for line in out.splitlines() if line.endswith(("level   |", "GROWS   |"))]
    assert any("broker: memory (MB)" in line for line in lines)
    assert any("2 apps: threads" in line for line in lines)
    assert (process.returncode == 0) == all("level" in line for line in lines)


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_and_proves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = soak(*SMALL, "--minutes", "60", "--every", "0.2", "--keep", str(tmp_path / "kept"))
    try:
        # broker, gateway, two apps, operator
        eventually(lambda: len(started_by(process)) == 5, "all parts run", 60.0)
        parts = started_by(process)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "stopped before" in err
    assert "Traceback" not in err
    eventually(lambda: all_gone(parts), "nothing is left behind")


@pytest.mark.process
def test_a_part_that_ends_is_told_and_the_others_are_ended(tmp_path: Path) -> None:
    process = soak(*SMALL, "--minutes", "60", "--every", "0.2", "--keep", str(tmp_path / "kept"))
    try:
        eventually(lambda: len(started_by(process)) == 5, "all parts run", 60.0)
        parts = started_by(process)
        next(part for part in parts if "app-2" in part.cmdline()).kill()
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "app 2 ended with status -9" in err
    assert "Traceback" not in err
    eventually(lambda: all_gone(parts), "nothing is left behind")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sessions", "5", "--apps", "6"], "as many --sessions as --apps"),
        (["--sessions", "30000", "--apps", "2"], "at most 20,000 sessions"),
        (["--life", "9", "3"], "shortest life first"),
        (["--minutes", "1", "--every", "10"], "long enough for 9 samples"),
        (["--minutes", "nan"], "nan is not a number"),
        (["--life", "1", "nan"], "nan is not a number"),
        (["--sessions", "0"], "--sessions"),
    ],
)
def test_wrong_usage_is_told_with_status_2(words: list[str], says: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert says in done.output


def test_a_database_that_is_kept_already_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "sessions.db").write_bytes(b"mine")
    done = CliRunner().invoke(main, ["--keep", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds a sessions.db already" in done.output
