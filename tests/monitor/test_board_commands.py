"""The board's commands: their stages, their times, and whom they were for."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.board import HOUR, MAX_COMMANDS, Board
from tests.monitor.make import MINUTE, NOW, SECOND, command, ended, session, told


@pytest.fixture
def board() -> Board:
    """Two sessions of "sales" and one of "stock", a minute old."""
    made = Board(120.0)
    others = session("s2"), session("s3", app_name="stock")
    made.apply(told("snapshot", session("s1"), *others), NOW)
    return made


def reached(board: Board, command_id: str) -> dict[str, Any]:
    stages: dict[str, Any] = board.commands[command_id]["reached"]
    return stages


def test_a_command_is_kept_and_touches_no_row(board: Board) -> None:
    assert not board.apply(told("command", command("c1")), NOW + SECOND)
    assert board.commands == {"c1": {**command("c1"), "reached": {"requested": NOW}}}


def test_each_stage_keeps_the_time_it_was_first_seen(board: Board) -> None:
    times = [NOW + number * SECOND for number in range(1, 4)]
    board.apply(told("command", command("c1")), times[0])
    board.apply(told("command", command("c1", stage="delivered")), times[1])
    board.apply(told("command", command("c1", stage="delivered", completed=1)), times[2])
    assert reached(board, "c1") == {"requested": NOW, "delivered": times[1]}
    done = command("c1", stage="completed", finished_at=times[2])
    board.apply(told("command", done), NOW + MINUTE)
    assert reached(board, "c1") == {
        "requested": NOW,
        "delivered": times[1],
        "completed": times[2],
    }


@pytest.mark.parametrize("stage", ["completed", "failed"])
def test_what_finished_before_it_was_seen_has_the_broker_s_times(board: Board, stage: str) -> None:
    done = command("c1", stage=stage, finished_at=NOW + SECOND)
    board.apply(told("command", done), NOW + MINUTE)
    assert reached(board, "c1") == {"requested": NOW, stage: NOW + SECOND}


def test_a_snapshot_of_commands_replaces_them(board: Board) -> None:
    board.apply(told("command", command("c1")), NOW)
    assert not board.apply(told("commands", command("c2"), command("c3")), NOW)
    assert list(board.commands) == ["c2", "c3"]
    board.apply(told("commands"), NOW)
    assert board.commands == {}


def test_a_snapshot_of_sessions_leaves_commands_alone(board: Board) -> None:
    board.apply(told("command", command("c1")), NOW)
    board.apply(told("snapshot"), NOW)
    assert list(board.commands) == ["c1"]


def test_the_oldest_commands_are_forgotten(board: Board) -> None:
    for number in range(MAX_COMMANDS + 2):
        board.apply(told("command", command(f"c{number}")), NOW)
    assert list(board.commands) == [f"c{number}" for number in range(2, MAX_COMMANDS + 2)]


def test_kills_are_counted_by_the_sessions_they_were_for(board: Board) -> None:
    board.apply(told("command", command("c1", app_name="sales", session_id=None, total=7)), NOW)
    board.apply(told("command", command("c2")), NOW)
    assert board.figures(NOW).kills_last_hour == 8
    board.apply(told("command", command("c2", stage="completed", finished_at=NOW)), NOW)
    assert board.figures(NOW).kills_last_hour == 8


def test_a_kill_counts_for_an_hour(board: Board) -> None:
    board.apply(told("command", command("c1")), NOW)
    assert board.figures(NOW + HOUR).kills_last_hour == 1
    assert board.figures(NOW + HOUR + SECOND).kills_last_hour == 0


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["command_id"] for each in found]


def test_commands_of_a_session_are_its_own_and_those_of_its_app(board: Board) -> None:
    everybody = {"session_id": None, "total": 2}
    board.apply(told("command", command("c1")), NOW)
    board.apply(told("command", command("c2", session_id="s2")), NOW)
    board.apply(told("command", command("c3", app_name="sales", **everybody)), NOW)
    board.apply(told("command", command("c4", app_name="stock", **everybody)), NOW)
    assert ids(board.commands_of("s1")) == ["c3", "c1"]
    assert ids(board.commands_of("s2")) == ["c3", "c2"]
    assert ids(board.commands_of("s3")) == ["c4"]


def test_a_kill_of_an_app_before_a_session_began_was_not_for_it(board: Board) -> None:
    everybody = {"session_id": None, "app_name": "sales"}
    start = board.sessions["s1"]["start_time"]
    board.apply(told("command", command("c1", requested_at=start - SECOND, **everybody)), NOW)
    assert board.commands_of("s1") == []
    board.apply(told("command", command("c2", requested_at=start, **everybody)), NOW)
    assert ids(board.commands_of("s1")) == ["c2"]


def test_an_ended_session_keeps_its_commands(board: Board) -> None:
    board.apply(told("command", command("c1")), NOW)
    board.apply(told("ended", ended("s1", reason="killed")), NOW)
    assert ids(board.commands_of("s1")) == ["c1"]


def test_nobody_has_no_commands(board: Board) -> None:
    board.apply(told("command", command("c1", session_id="s9")), NOW)
    assert board.commands_of("s9") == []


def test_news_of_a_command_leave_it_in_its_place() -> None:
    board = Board(120.0)
    for row in (command("c1"), command("c2"), command("c1", stage="delivered")):
        board.apply(told("command", row), NOW)
    assert list(board.commands) == ["c1", "c2"]


def test_a_resync_keeps_when_a_stage_was_reached() -> None:
    board = Board(120.0)
    delivered = command("c1", stage="delivered")
    board.apply(told("command", delivered), NOW + SECOND)
    board.apply(told("commands", delivered), NOW + 60 * SECOND)
    assert board.commands["c1"]["reached"]["delivered"] == NOW + SECOND
