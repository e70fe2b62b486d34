"""What the page says about a session, and when there is none."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from monitor import views
from monitor.views import Clock, detail, text
from tests.monitor.make import MINUTE, NOW, SECOND, command, session
from tests.monitor.page import Page, words

UTC_CLOCK = Clock()
DASH = "\N{EN DASH}"


def task(name: str, began: datetime, took: float, **changes: Any) -> dict[str, Any]:
    """A finished task."""
    ended_at = began + timedelta(seconds=took)
    return {
        "name": name,
        "started_at": began,
        "ended_at": ended_at,
        "outcome": "ok",
        "error": None,
        **changes,
    }


def shown(row: dict[str, Any], *tasks: dict[str, Any], now: datetime = NOW) -> str:
    return detail(row, tasks, [], now, UTC_CLOCK)


# --- values and times --------------------------------------------------------------------------


def test_values_are_text_and_what_is_missing_is_a_dash() -> None:
    assert [text(None), text(None, "none"), text(0), text("")] == [DASH, "none", "0", ""]
    assert text("""<&"'>""") == "&lt;&amp;&quot;&#x27;&gt;"


def test_moments_are_shown_in_the_zone_of_the_browser() -> None:
    moment = NOW + timedelta(microseconds=45_678)
    assert UTC_CLOCK.at(moment) == "12:30:40"
    assert UTC_CLOCK.fine(moment) == "12:30:40.045"
    east = Clock(timedelta(hours=5, minutes=30))
    assert (east.at(moment), east.fine(moment)) == ("18:00:40", "18:00:40.045")
    west = Clock(timedelta(hours=-13))
    assert west.at(moment, "%d %b %H:%M") == "05 May 23:30"
    assert UTC_CLOCK.at(None) == DASH


# --- no session --------------------------------------------------------------------------------


def test_an_empty_list_says_how_to_connect_an_app() -> None:
    said = words(views.empty("tcp://127.0.0.1:5760"))
    assert said.startswith("No sessions yet")
    assert "from sessionclient import SessionClient" in said
    assert "PANELBUS_URL=tcp://127.0.0.1:5760" in said


def test_the_lines_that_connect_an_app_are_python() -> None:
    compile(views.CONNECT, "connect", "exec")
    assert len(views.CONNECT.splitlines()) == 3


def test_an_absent_broker_is_named_with_the_time() -> None:
    east = Clock(timedelta(hours=2))
    said = words(views.away("tcp://host:1", NOW, east))
    assert said.startswith("No broker at tcp://host:1 since 14:30:40")
    assert words(views.away("tcp://host:1", None, east)).startswith(
        "No broker at tcp://host:1 The monitor connects by itself"
    )


def test_nothing_chosen_says_how_to_choose() -> None:
    assert words(views.nothing_chosen()).startswith("No session chosen Click a row")


def test_an_unknown_session_is_named_with_the_reason() -> None:
    assert words(views.unknown("abc", "Not live: it ended.")) == "Session abc Not live: it ended."
    assert words(views.unknown("x" * 99, "?")) == f"Session {'x' * 64} ?"


# --- one session -------------------------------------------------------------------------------


def test_a_session_is_shown_with_its_facts() -> None:
    row = session("s1", last_heartbeat=NOW - 5 * SECOND, start_time=NOW - 125 * SECOND)
    said = words(shown(row))
    assert said.startswith("sales · ann Session s1 Status idle Task")
    for fact in (
        f"Task {DASH}",
        "Started 06 May 12:28:35, 2m 05s ago",
        "Heard 5s ago",
        "Where host1, pid 42",
        "Process proc",
        "Tasks None so far.",
        "Commands None.",
    ):
        assert fact in said
    assert "Reason of kill" not in said


def test_a_session_without_a_user_and_one_on_rest() -> None:
    said = words(shown(session("s1", user_id=None, source="rest", host="-", pid=0)))
    assert "nobody logged in" in said
    assert "Where REST Process" in said


@pytest.mark.parametrize(
    ("changes", "status", "tone"),
    [
        ({}, "idle", "muted"),
        ({"status": "running"}, "running", "good"),
        ({"status": "on its own"}, "on its own", ""),
        ({"is_stale": True}, "stale", "warn"),
        ({"kill_requested": True, "kill_stage": "delivered"}, "being killed", "bad"),
        ({"kill_requested": True, "kill_stage": "failed"}, "kill failed", "bad"),
        ({"ended_at": NOW, "end_reason": "stopped", "end_error": None}, "ended", ""),
    ],
)
def test_the_status_has_its_tone(changes: dict[str, Any], status: str, tone: str) -> None:
    html = shown(session("s1", **changes))
    assert f"<b class='{tone}'>{status}</b>" in html
    assert f"Status {status} Task" in words(html)


def test_the_reason_and_the_failure_of_a_kill_are_shown() -> None:
    row = session(
        "s1",
        kill_requested=True,
        kill_stage="failed",
        kill_reason="too big",
        kill_error="it hangs",
    )
    said = words(shown(row))
    assert "The kill failed: it hangs" in said
    assert "Reason of kill too big" in said


@pytest.mark.parametrize(("error", "more"), [(None, ""), ("it broke", " it broke")])
def test_an_ended_session_says_how_it_ended(error: str | None, more: str) -> None:
    row = session(
        "s1",
        ended_at=NOW,
        end_reason="killed",
        end_error=error,
        kill_error="old news",
        current_task="load",
        task_start=NOW - SECOND,
    )
    html = shown(row, now=NOW + 5 * MINUTE)
    assert f"This session ended at 12:30:40 (killed).{more} Session s1" in words(html)
    assert "old news" not in html
    assert "None so far." in html  # what it did at its end is no task that runs
    assert "1m 00s ago" in html  # it grows no older


# --- its tasks ---------------------------------------------------------------------------------


def bars(html: str) -> list[tuple[str | None, str | None]]:
    return [(attrs["class"], attrs["style"]) for tag, attrs in Page(html).elements if tag == "i"]


def test_tasks_lie_where_they_were_in_the_session_s_life() -> None:
    start = NOW - 100 * SECOND
    html = shown(
        session("s1", start_time=start, current_task="plot", task_start=NOW - 25 * SECOND),
        task("load", start, 10),
        task("parse", start + 50 * SECOND, 20, outcome="error", error="no file"),
        task("check", start + 70 * SECOND, 0, outcome="error"),
    )
    assert bars(html) == [
        ("open", "left:75.00%;width:25.00%"),
        ("error", "left:70.00%;width:0.50%"),
        ("error", "left:50.00%;width:20.00%"),
        ("ok", "left:0.00%;width:10.00%"),
    ]
    said = words(html)
    assert "plot running 12:30:15, 25s check failed 12:30:10, 0s" in said
    assert "parse no file 12:29:50, 20s load 12:29:00, 10s" in said


def test_a_bar_never_leaves_its_line() -> None:
    row = session("s1", start_time=NOW - 10 * SECOND)
    html = shown(
        row,
        task("before it began", NOW - MINUTE, 5),
        task("after now", NOW + MINUTE, 50),
        task("all the time", NOW - MINUTE, 300),
    )
    assert bars(html) == [
        ("ok", "left:0.00%;width:100.00%"),
        ("ok", "left:99.00%;width:1.00%"),
        ("ok", "left:0.00%;width:50.00%"),
    ]


def test_a_session_that_has_just_begun_has_a_line_too() -> None:
    row = session("s1", start_time=NOW, current_task="load", task_start=None)
    assert bars(shown(row)) == [("open", "left:0.00%;width:0.50%")]


def test_only_the_newest_tasks_are_shown() -> None:
    tasks = [task(f"task {n}.", NOW - MINUTE, 1) for n in range(views.MAX_TASKS + 2)]
    html = shown(session("s1"), *tasks)
    assert len(bars(html)) == views.MAX_TASKS
    assert "task 1." not in html
    assert html.index("task 31.") < html.index("task 2.")


# --- its commands ------------------------------------------------------------------------------


def with_commands(*commands: dict[str, Any]) -> str:
    reached = [{"reached": {"requested": NOW}, **each} for each in commands]
    return detail(session("s1"), [], reached, NOW, UTC_CLOCK)


def test_commands_are_shown_with_whom_they_are_for_and_by_whom() -> None:
    own = command("c1", reason="too big", requested_by="op:1")
    everybody = command("c2", app_name="sales", session_id=None, requested_by="op:2")
    said = words(with_commands(own, everybody))
    assert "Kill of this session by op:1 too big requested 12:30:40.000 delivered" in said
    assert "Kill of all of its app by op:2 requested 12:30:40.000" in said


def test_only_the_newest_commands_are_shown() -> None:
    html = with_commands(*(command(f"c{n}", requested_by=f"op {n}.") for n in range(9)))
    assert html.count("Kill of") == views.MAX_COMMANDS == 8
    assert "op 0." in html
    assert "op 8." not in html
