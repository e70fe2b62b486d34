"""panelbus kill and kill-all, and scripts/kill_all.py."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from click.testing import Result

from tests.cli.conftest import Open
from tests.support.processes import ROOT, BrokerProcess, eventually, free_port

pytestmark = pytest.mark.process

Run = Callable[..., Result]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Callbacks that wait for this one hang until the test is over."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_kill_by_unique_beginnings(run: Run, opened: Open) -> None:
    first, second, third = (opened("many", user) for user in ("ann", "bob", "cy"))
    result = run("kill", first.session_id, second.session_id[:12], "--reason", "too big")
    assert result.exit_code == 0
    assert f"{first.session_id} of many (ann): ended" in result.output
    assert f"{second.session_id} of many (bob): ended" in result.output
    assert first.kill_reason == second.kill_reason == "too big"
    assert not third.killed.is_set()


def test_nothing_is_killed_unless_all_are_found(run: Run, opened: Open) -> None:
    tracker = opened("careful")
    result = run("kill", tracker.session_id, "no-such-session")
    assert result.exit_code == 1
    assert "there is no session 'no-such-session'" in result.output
    assert not tracker.killed.is_set()


def test_an_ambiguous_beginning_lists_what_it_could_be(run: Run, opened: Open) -> None:
    # more sessions than there are first digits
    trackers = [opened("ambiguous") for _ in range(17)]
    digits = [tracker.session_id[0] for tracker in trackers]
    shared = next(digit for digit in digits if digits.count(digit) > 1)
    result = run("kill", shared)
    assert result.exit_code == 1
    assert "beginning of several sessions" in result.output
    assert not any(tracker.killed.is_set() for tracker in trackers)


def test_an_ended_session_says_how_it_ended(run: Run, opened: Open) -> None:
    tracker = opened("ended")
    run("kill", tracker.session_id)
    result = run("kill", tracker.session_id)
    assert result.exit_code == 1
    assert f"session '{tracker.session_id}' has ended (killed)" in result.output


def test_kill_that_does_not_complete_in_time(run: Run, opened: Open, gate: threading.Event) -> None:
    tracker = opened("stubborn")
    tracker.on_kill(gate.wait)

    def delivered() -> bool:
        result = run("kill", tracker.session_id, "--wait", "0", "--json")
        assert result.exit_code == 0
        (outcome,) = json.loads(result.output)
        assert outcome["session_id"] == tracker.session_id
        assert outcome["stage"] in ("requested", "delivered")
        return bool(outcome["stage"] == "delivered")

    eventually(delivered, "its process has the kill")
    result = run("kill", tracker.session_id, "--wait", "0.2")
    assert result.exit_code == 1
    assert "its callbacks are still running after 0.2 s" in result.output


def test_kill_reports_a_callback_that_failed(run: Run, opened: Open) -> None:
    tracker = opened("failing")

    def broken() -> None:
        raise ValueError("no \x1b[31mway")

    tracker.on_kill(broken)
    result = run("kill", tracker.session_id)
    assert result.exit_code == 1
    assert "raised ValueError: no \ufffd[31mway" in result.output


def test_kill_all_asks_and_takes_no_for_an_answer(run: Run, opened: Open) -> None:
    trackers = [opened("asked"), opened("asked")]
    result = run("kill-all", "asked", input="n\n")
    assert result.exit_code == 1
    assert "2 sessions of 'asked' at tcp://" in result.output
    assert "nothing was killed" in result.output
    assert not any(tracker.killed.is_set() for tracker in trackers)
    result = run("kill-all", "asked", input="y\n")
    assert result.exit_code == 0
    assert "2 sessions of 'asked' ended." in result.output
    assert all(tracker.killed.is_set() for tracker in trackers)


def test_kill_all_of_an_unknown_app_is_no_error(run: Run) -> None:
    result = run("kill-all", "unknown")
    assert result.exit_code == 0
    assert "'unknown' has no session" in result.output


def test_kill_all_lists_what_did_not_end(run: Run, opened: Open, gate: threading.Event) -> None:
    stuck, quick = opened("half"), opened("half")
    stuck.on_kill(gate.wait)
    result = run("kill-all", "half", "--yes", "--wait", "0.5")
    assert result.exit_code == 1
    assert "1 of 2 sessions did not end:" in result.output
    assert f"{stuck.session_id}: its callbacks are still running" in result.output
    assert quick.session_id not in result.output


def test_kill_all_without_waiting_and_as_json(
    run: Run, opened: Open, gate: threading.Event
) -> None:
    stuck = opened("quick")
    stuck.on_kill(gate.wait)
    result = run("kill-all", "quick", "--yes", "--wait", "0")
    assert result.exit_code == 0
    assert "The kill of 1 session is accepted." in result.output
    result = run("kill-all", "quick", "--yes", "--json")
    assert json.loads(result.output)["killed_count"] == 0  # it is asked to end already


def script(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/kill_all.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)


def test_the_script_does_the_same(broker: BrokerProcess, opened: Open) -> None:
    tracker = opened("scripted")
    done = script("scripted", "--server", broker.bus, "--yes", "--reason", "over", "--wait", "9")
    assert (done.returncode, done.stdout) == (0, "1 session of 'scripted' ended.\n")
    assert tracker.kill_reason == "over"
    assert script().returncode == 2
    lost = script("x", "--server", f"tcp://127.0.0.1:{free_port()}", "--timeout", "0.3")
    assert lost.returncode == 1
    assert lost.stderr.startswith("kill_all.py: cannot reach the broker")
