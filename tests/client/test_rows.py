"""Raw rows become dicts with real times, computed as of one moment of the broker's clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sessionclient.rows import (
    BrokerTime,
    moment,
    present_command,
    present_session,
    present_task,
    shown_status,
)
from tests.client.rows import WALL, command, row

NOON = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)  # WALL


def test_a_moment_is_aware_and_in_utc() -> None:
    assert moment(WALL) == NOON
    assert moment(WALL + 0.25) == NOON + timedelta(milliseconds=250)
    assert moment(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert moment(None) is None


def test_a_session_is_shown_with_its_times() -> None:
    raw = row("s1", status="running", current_task="load", task_start=WALL - 2.0)
    assert present_session(raw, BrokerTime(107.0, WALL, 120.0)) == {
        "session_id": "s1",
        "app_name": "sales",
        "user_id": "ann",
        "start_time": NOON - timedelta(seconds=60),
        "last_heartbeat": NOON - timedelta(seconds=7),
        "duration_seconds": 60,
        "status": "running",
        "current_task": "load",
        "task_start": NOON - timedelta(seconds=2),
        "is_stale": False,
        "kill_requested": False,
        "kill_reason": None,
        "kill_stage": None,
        "kill_error": None,
        "process": "proc",
        "host": "host1",
        "pid": 42,
        "source": "bus",
    }


def test_a_session_shows_what_its_kill_came_to() -> None:
    raw = row(
        "s1", kill_requested=True, kill_reason="why", kill_stage="failed", kill_error="blocked"
    )
    shown = present_session(raw, BrokerTime(100.0, WALL, 120.0))
    kill = [shown[f"kill_{what}"] for what in ("requested", "reason", "stage", "error")]
    assert kill == [True, "why", "failed", "blocked"]


@pytest.mark.parametrize(
    ("observed", "stale"), [(219.9, False), (220.0, False), (220.1, True), (1e6, True)]
)
def test_a_session_is_stale_when_it_was_silent_for_longer(observed: float, stale: bool) -> None:
    assert present_session(row("s1"), BrokerTime(observed, WALL, 120.0))["is_stale"] is stale


def test_clocks_that_disagree_make_no_negative_times() -> None:
    shown = present_session(row("s1"), BrokerTime(90.0, WALL - 100.0, 120.0))
    assert shown["last_heartbeat"] == NOON - timedelta(seconds=100)
    assert (shown["duration_seconds"], shown["is_stale"]) == (0, False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "busy"),
        ({"heard": -1000.0}, "stale"),
        ({"kill_requested": True, "kill_stage": "requested"}, "being killed"),
        ({"kill_requested": True, "kill_stage": None, "heard": -1000.0}, "being killed"),
        ({"kill_requested": True, "kill_stage": "failed", "heard": -1000.0}, "kill failed"),
    ],
)
def test_a_kill_goes_before_silence_and_silence_before_the_status(
    changes: dict[str, Any], words: str
) -> None:
    raw = row("s1", status="busy", **changes)
    assert shown_status(present_session(raw, BrokerTime(100.0, WALL, 120.0))) == words


def test_a_duration_is_whole_seconds() -> None:
    raw = row("s1", start_time=WALL - 1.99)
    assert present_session(raw, BrokerTime(100.0, WALL, 120.0))["duration_seconds"] == 1


def test_a_command_is_shown_with_its_times_and_all_else_as_it_is() -> None:
    raw = command("c1", targets=3)
    assert present_command(raw) == {
        "command_id": "c1",
        "kind": "kill",
        "requested_at": NOON - timedelta(seconds=5),
        "finished_at": None,
        "stage": "requested",
        "targets": 3,
    }
    assert raw["requested_at"] == WALL - 5.0


def test_failures_of_a_command_become_a_dict_where_they_are_given() -> None:
    raw = command("c1", WALL, failures=[["s1", "blocked"], ["s2", "hung"]])
    shown = present_command(raw)
    assert shown["failures"] == {"s1": "blocked", "s2": "hung"}
    assert shown["finished_at"] == NOON
    assert present_command(command("c1", failures={"s1": "x"}))["failures"] == {"s1": "x"}


def test_a_finished_task_is_shown_with_its_times() -> None:
    raw = {"name": "load", "started_at": WALL - 3.0, "ended_at": WALL, "outcome": "ok"}
    assert present_task(raw) == {
        "name": "load",
        "started_at": NOON - timedelta(seconds=3),
        "ended_at": NOON,
        "outcome": "ok",
    }
    assert present_task(raw | {"ended_at": None})["ended_at"] is None
