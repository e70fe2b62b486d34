"""A short run of real processes under faults. Longer ones: ``python scripts/chaos.py``."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from scripts.chaos import INTERRUPTED, main
from tests.support.processes import ROOT, eventually, running

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="it freezes processes"),
]

SCRIPT = str(ROOT / "scripts" / "chaos.py")
SEED = 5
FAULTS = 15  # each kind once
RUN_TIMEOUT = 300.0  # seconds; it takes about 30, and a busy machine its time


def processes_of(directory: Path) -> list[list[str]]:
    """The commands of those who were told of this directory."""
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    mine = [SCRIPT, "-m"]
    return [c for c in found if str(directory) in " ".join(c) and any(word in c for word in mine)]


@pytest.mark.timeout(RUN_TIMEOUT + 60)
def test_nothing_is_lost_doubled_or_missing_under_faults(tmp_path: Path) -> None:
    outcome_file, kept = tmp_path / "outcome.json", tmp_path / "kept"
    arguments = ["--faults", str(FAULTS), "--seed", str(SEED), "--apps", "3", "--sessions", "20"]
    arguments += ["--json", str(outcome_file), "--keep", str(kept)]
    with running([SCRIPT, *arguments], tmp_path / "log") as run:
        assert run.wait(RUN_TIMEOUT) == 0, run.log()
        print(run.log())
    outcome = json.loads(outcome_file.read_text())
    assert sum(outcome["faults"].values()) == FAULTS
    assert outcome["violations"] == []
    assert outcome["counts"]["delivered, callback run"] > 0
    assert (kept / "sessions.db").is_file()
    eventually(lambda: processes_of(tmp_path) == [], "all processes have ended")


def test_ctrl_c_ends_all_it_has_started(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    arguments = ["--apps", "2", "--sessions", "5", "--keep", str(kept)]
    with running([SCRIPT, *arguments], tmp_path / "log") as run:
        eventually(lambda: len(list(kept.glob("app*-1.jsonl"))) == 2, "its apps run", 60)
        run.signal(signal.SIGINT)
        assert run.wait(60) == INTERRUPTED
        assert "interrupted; the seed was" in run.log()
        assert "Traceback" not in run.log()
    eventually(lambda: processes_of(tmp_path) == [], "all processes have ended")


@pytest.mark.parametrize(
    "arguments",
    [["--faults", "0"], ["--seed", "-1"], ["--minutes", "0"], ["--keep", "."], ["what"]],
)
def test_wrong_usage_is_told_and_starts_nothing(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "somebody's").touch()
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "Error: " in done.output
