"""The crowd as a command, at a real broker."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from demos.crowd import main, status_line
from sessionclient import Operator
from tests.support.processes import BrokerProcess, Process, eventually, running, running_broker

SESSIONS = 24
PROCESSES = 3


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path_factory.mktemp("crowd")) as broker:
        yield broker


@pytest.fixture
def operator(broker: BrokerProcess) -> Iterator[Operator]:
    with Operator(broker.bus) as operator:
        yield operator


@pytest.fixture
def crowd(broker: BrokerProcess, operator: Operator, tmp_path: Path) -> Iterator[Process]:
    words = ["-m", "demos.crowd", "--server", broker.bus, "--sessions", str(SESSIONS)]
    words += ["--processes", str(PROCESSES), "--seed", "1", "--apps", f"a-{tmp_path.name},other"]
    with running(words, tmp_path / "crowd.log") as crowd:
        eventually(lambda: len(operator.get_all_sessions()) >= SESSIONS, "they arrive", 30)
        yield crowd
        children = members(crowd) if crowd.running else []
    eventually(lambda: not any(child.is_running() for child in children), "no process is left")


def members(crowd: Process) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(crowd.pid).children()
    return found


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sessions_live_are_killed_are_followed_and_end_in_order(
    crowd: Process, operator: Operator, number: signal.Signals
) -> None:
    rows = operator.get_all_sessions()
    assert len({row["pid"] for row in rows}) == PROCESSES
    victims = [row["session_id"] for row in rows[:5]]
    for victim in victims:
        assert operator.request_kill(victim, "enough", wait=10)["stage"] == "completed"
    alive = {row["session_id"] for row in operator.get_all_sessions()}
    assert alive.isdisjoint(victims)

    def followed() -> bool:
        return len(operator.get_all_sessions()) >= SESSIONS - 2

    eventually(followed, "others come", 60)
    children = members(crowd)
    assert len(children) == PROCESSES
    crowd.signal(number)
    assert crowd.wait() == 0
    assert operator.get_all_sessions() == []  # each has said goodbye
    assert not any(child.is_running() for child in children)
    log = crowd.log()
    assert re.search(r"24 sessions in 3 processes at tcp://\S+, seed 1; Ctrl-C or kill \d+", log)
    assert "5 killed" in log or "working" in log
    assert "Traceback" not in log


@pytest.mark.process
def test_a_crowd_whose_parent_is_killed_ends_in_order(crowd: Process, operator: Operator) -> None:
    children = members(crowd)
    crowd.kill()
    eventually(lambda: not any(child.is_running() for child in children), "its processes end")
    assert operator.get_all_sessions() == []
    assert "Traceback" not in crowd.log()
    assert "BrokenPipe" not in crowd.log()


@pytest.mark.process
def test_a_process_that_dies_ends_the_crowd_with_a_word(crowd: Process) -> None:
    members(crowd)[0].kill()
    assert crowd.wait() == 1
    assert "has ended with status -9; stopping the others" in crowd.log()


@pytest.mark.process
def test_it_ends_by_itself_after_its_minutes(broker: BrokerProcess, tmp_path: Path) -> None:
    words = ["-m", "demos.crowd", "--server", broker.bus, "--sessions", "2", "--minutes", "0.02"]
    with running(words, tmp_path / "crowd.log") as crowd:
        assert crowd.wait(30) == 0
        assert "2 sessions in 2 processes" in crowd.log()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sessions", "0"], "0 is not in the range"),
        (["--sessions", "many"], "not a valid integer"),
        (["--processes", "0"], "0 is not in the range"),
        (["--minutes", "nan"], "nan is not a number"),
        (["--minutes", "-1"], "not in the range"),
        (["--server", "nonsense"], "is not a broker's address"),
        (["--apps", " , "], "at least one app name"),
        (["--apps", "x" * 256], "at most 255 characters"),
        (["--sessions", "30000", "--processes", "2"], "at most 20,000 sessions"),
    ],
)
def test_a_wrong_value_is_told(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert said in result.output


def test_a_setting_may_come_from_the_environment() -> None:
    result = CliRunner().invoke(main, [], env={"PANELBUS_SESSIONS": "no", "PANELBUS_SEED": "1"})
    assert result.exit_code == 2
    assert "'no' is not a valid integer" in result.output


def test_help_tells_units_and_defaults() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    assert "Minutes until it ends by itself" in text
    assert "[default: 200; 1<=x<=40000]" in text


def test_the_status_line_adds_up() -> None:
    state = {"sessions": 10, "online": 9, "running": 2, "arrived": 12, "tasks": 5, "killed": 1}
    assert status_line([state, state], 20) == (
        "20 of 20 sessions, 4 working; so far 24 came, 10 tasks done, 0 failed, 2 killed;"
        " the broker does not have 2 of them yet"
    )
    assert status_line([], 20).startswith("0 of 20 sessions")
