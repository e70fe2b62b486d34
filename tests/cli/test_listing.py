"""panelbus sessions, cleanup and watch."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from sessionclient.cli.shared import plain
from sessionclient.words import duration
from tests.cli.conftest import Open
from tests.support.processes import BrokerProcess, eventually, free_port, running

pytestmark = pytest.mark.process

Run = Callable[..., Result]


def test_sessions_are_listed_with_their_task(run: Run, opened: Open) -> None:
    tracker = opened("listed", "ann")
    with tracker.task("Refresh forecast"):
        eventually(lambda: "Refresh" in run("sessions", "--app", "listed").output, "the task")
        output = run("sessions", "--app", "listed").output
    assert tracker.session_id[:8] in output
    assert tracker.session_id not in output
    assert "ann" in output
    assert "running" in output
    assert "1 session\n" in output
    assert tracker.session_id in run("sessions", "--full-ids").output


def test_sessions_as_json_are_whole(run: Run, opened: Open) -> None:
    tracker = opened("json-app", "żółw")
    (row,) = json.loads(run("sessions", "--json", "--app", "json-app").output)
    assert (row["session_id"], row["user_id"]) == (tracker.session_id, "żółw")
    assert row["start_time"].endswith("+00:00")
    assert json.loads(run("sessions", "--json", "--app", "nobody").output) == []


def test_filters_and_an_empty_list(run: Run, opened: Open) -> None:
    opened("filtered", "ann")
    assert "1 session" in run("sessions", "--app", "filtered", "--user", "ann").output
    assert "No session matches." in run("sessions", "--app", "filtered", "--user", "bob").output
    assert "No session matches." in run("sessions", "--app", "filtered", "--stale").output
    assert "1 session" in run("sessions", "--app", "filtered", "--not-stale").output


def test_names_cannot_steer_the_terminal(run: Run, opened: Open) -> None:
    opened("[red]app[/red]", "\x1b[2Jann\r")
    output = run("sessions", "--user", "\x1b[2Jann\r").output
    assert "[red]app[/red]" in output
    assert "\x1b" not in output
    assert "\r" not in output


def test_cleanup_counts(run: Run) -> None:
    assert run("cleanup", "--older-than", "60").output == "0 stale sessions ended.\n"
    assert json.loads(run("cleanup", "--json").output) == {"cleaned_up_count": 0}


def test_a_broker_that_is_not_there_is_named(run: Run) -> None:
    result = run("sessions", "--server", f"tcp://127.0.0.1:{free_port()}", "--timeout", "0.3")
    assert result.exit_code == 1
    assert "cannot reach the broker at tcp://127.0.0.1:" in result.output


@pytest.mark.parametrize(
    "words",
    [
        ["sessions", "--server", "http://localhost:8000"],
        ["sessions", "--app", "x" * 256],
        ["sessions", "--timeout", "0"],
        ["sessions", "--nonsense"],
        ["cleanup", "--older-than", "-1"],
        ["nonsense"],
        ["kill"],
        ["kill-all"],
        ["kill", "x", "--wait", "-1"],
    ],
)
def test_wrong_usage_is_told_with_status_2(run: Run, words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert "Error: " in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "command",
    ["broker", "demos", "sessions", "kill", "kill-all", "cleanup", "watch"],
)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_a_part_that_is_not_installed_says_how_to_get_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    result = run("monitor")
    assert result.exit_code == 2
    assert "pip install 'panelbus[monitor]'" in result.output


def test_watch_tells_the_story_and_ends_with_ctrl_c(
    tmp_path: Path, broker: BrokerProcess, opened: Open, run: Run
) -> None:
    words = ["-c", "from sessionclient.cli import main; main()", "watch", "--app", "watched"]
    words += ["--server", broker.bus]
    with running(words, tmp_path / "watch.log") as watch:
        eventually(lambda: "live" in watch.log(), "the snapshot")
        tracker = opened("watched", "ann")
        opened("another")
        name = f"watched {tracker.session_id[:8]} ann"
        with tracker.task("Refresh"):
            eventually(lambda: f"{name} is running: Refresh" in watch.log(), "the task")
        run("kill", tracker.session_id, "--reason", "too big")
        eventually(lambda: f"- {name} ended: killed" in watch.log(), "the end")
        eventually(lambda: "completed, because: too big" in watch.log(), "the kill")
        watch.signal(signal.SIGINT)
        assert watch.wait() == 0
        assert f"+ {name} started" in watch.log()
        assert "another" not in watch.log()
        assert "Traceback" not in watch.log()


def test_watch_as_json(tmp_path: Path, broker: BrokerProcess, opened: Open) -> None:
    words = ["-c", "from sessionclient.cli import main; main()", "watch", "--json"]
    with running([*words, "--server", broker.bus], tmp_path / "watch.log") as watch:
        eventually(lambda: '"commands"' in watch.log(), "the snapshot")
        tracker = opened("json-watched")
        eventually(lambda: tracker.session_id in watch.log(), "the session")
        changes = [json.loads(line) for line in watch.log().splitlines()]
        assert [change["change"] for change in changes if change["change"] != "heard"][-1] == (
            "session"
        )
        assert changes[-1]["rows"][0]["app_name"] == "json-watched"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (59.9, "59s"), (185, "3m 05s"), (7620, "2h 07m"), (356400, "4d 03h"), (-1, "0s")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_keeps_what_can_be_printed() -> None:
    assert plain("añ 😀\x00\u202e") == "añ 😀\ufffd\ufffd"
