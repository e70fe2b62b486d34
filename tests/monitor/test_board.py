"""The board: changes and the time go in, rows to write and to remove come out."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.board import HOUR, MAX_ENDED, Board, Delta, Figures
from sessionclient.rows import BrokerTime, present_command, present_session
from tests.client import rows as raw
from tests.monitor.make import MINUTE, NOW, SECOND, command, ended, heard, session, told


def board(*sessions: dict[str, Any]) -> Board:
    """One that has had its first snapshot; two minutes of silence are stale."""
    made = Board(120.0)
    made.apply(told("snapshot", *sessions), NOW)
    return made


def test_these_tests_use_the_dicts_of_the_client() -> None:
    real = present_session(raw.row("s1"), BrokerTime(100.0, raw.WALL, 120.0))
    assert real.keys() == session("s1").keys()
    assert present_command(raw.command("c1")).keys() <= command("c1").keys()


def test_a_new_board_is_down_and_knows_nothing() -> None:
    new = Board(120.0)
    assert (new.state, new.since, new.ready) == ("down", None, False)
    assert new.figures(NOW) == Figures(0, 0, 0, 0, None, 0)
    assert new.commands_of("s1") == []
    assert not new.tick(NOW)


def test_the_state_is_kept_with_its_time_and_touches_no_row() -> None:
    new = Board(120.0)
    assert not new.apply(told("state", {"state": "resyncing"}), NOW)
    assert (new.state, new.since) == ("resyncing", NOW)
    assert not new.apply(told("state", {"state": "live"}), NOW + SECOND)
    assert (new.state, new.since, new.ready) == ("live", NOW + SECOND, False)


def test_a_snapshot_replaces_everything() -> None:
    new = board(session("s1"), session("s2", app_name="stock", process="p2", current_task="load"))
    delta = new.apply(told("snapshot", session("s3", app_name="stock")), NOW)
    assert delta == Delta(everything=True)
    assert new.sessions == {"s3": session("s3", app_name="stock")}
    assert new.figures(NOW) == Figures(1, 0, 0, 0, "stock", 1)
    assert new.ready


def test_an_empty_snapshot_is_everything_too() -> None:
    new = board(session("s1"))
    assert new.apply(told("snapshot"), NOW) == Delta(everything=True)
    assert new.sessions == {}
    assert new.by_app == {}


def test_what_a_snapshot_has_no_more_is_not_taken_for_ended() -> None:
    new = board(session("s1"))
    new.apply(told("snapshot"), NOW)
    assert new.ended == {}


def test_a_session_is_put_and_put_again() -> None:
    new = board()
    assert new.apply(told("session", session("s1")), NOW) == Delta(changed={"s1"})
    busy = session("s1", status="running", current_task="load", task_start=NOW)
    assert new.apply(told("session", busy), NOW) == Delta(changed={"s1"})
    assert new.sessions == {"s1": busy}
    assert new.figures(NOW) == Figures(1, 1, 0, 0, "sales", 1)


def test_the_board_keeps_its_own_copy_of_a_session() -> None:
    row = session("s1")
    new = board(row)
    new.tick(NOW + 10 * MINUTE)
    assert new.sessions["s1"]["is_stale"]
    assert row == session("s1")


def test_a_session_may_change_its_app_and_its_process() -> None:
    new = board(session("s1"), session("s2"))
    new.apply(told("session", session("s1", app_name="stock", process="p2")), NOW)
    assert new.by_app == {"sales": 1, "stock": 1}
    assert new.apply(heard("p2", NOW + SECOND), NOW) == Delta(changed={"s1"})
    assert new.apply(heard("proc", NOW + SECOND), NOW) == Delta(changed={"s2"})


def test_an_ended_session_is_kept_with_how_it_ended() -> None:
    new = board(session("s1", current_task="load"), session("s2"))
    end = ended("s1", reason="killed", error="why", ended_at=NOW + SECOND)
    assert new.apply(told("ended", end), NOW) == Delta(removed={"s1"})
    assert new.sessions.keys() == {"s2"}
    assert new.figures(NOW) == Figures(1, 0, 0, 0, "sales", 1)
    assert new.ended == {
        "s1": {
            **session("s1", current_task="load"),
            "end_reason": "killed",
            "end_error": "why",
            "ended_at": NOW + SECOND,
        }
    }


def test_the_end_of_an_unknown_session_is_nothing_to_keep() -> None:
    new = board(session("s1"))
    assert new.apply(told("ended", ended("s9")), NOW) == Delta(removed={"s9"})
    assert new.ended == {}
    assert new.sessions.keys() == {"s1"}


def test_a_session_that_comes_back_is_ended_no_more() -> None:
    new = board(session("s1"))
    new.apply(told("ended", ended("s1")), NOW)
    new.apply(told("session", session("s1")), NOW)
    assert new.ended == {}
    assert new.sessions.keys() == {"s1"}


def test_the_oldest_ended_sessions_are_forgotten() -> None:
    new = board(*(session(f"s{number}") for number in range(MAX_ENDED + 2)))
    for number in range(MAX_ENDED + 2):
        new.apply(told("ended", ended(f"s{number}")), NOW)
    assert list(new.ended) == [f"s{number}" for number in range(2, MAX_ENDED + 2)]


def test_several_rows_in_one_change_are_all_taken() -> None:
    new = board(session("s1"), session("s2"))
    assert new.apply(told("session", session("s3"), session("s4")), NOW).changed == {"s3", "s4"}
    assert new.apply(told("ended", ended("s1"), ended("s3")), NOW).removed == {"s1", "s3"}
    assert new.sessions.keys() == {"s2", "s4"}


def test_a_kind_of_change_that_is_not_known_changes_nothing() -> None:
    new = board(session("s1"))
    assert not new.apply(told("weather", {"rain": True}), NOW)
    assert new.sessions == {"s1": session("s1")}


def test_a_process_that_was_heard_is_heard_in_all_its_sessions() -> None:
    new = board(session("s1"), session("s2"), session("s3", process="p2"))
    later = NOW + 5 * SECOND
    assert new.apply(heard("proc", later), later) == Delta(changed={"s1", "s2"})
    times = {sid: row["last_heartbeat"] for sid, row in new.sessions.items()}
    assert times == {"s1": later, "s2": later, "s3": NOW}


def test_an_unknown_process_that_was_heard_is_nobody() -> None:
    new = board(session("s1"))
    assert not new.apply(heard("p9", NOW + SECOND), NOW)
    new.apply(told("ended", ended("s1")), NOW)
    assert not new.apply(heard("proc", NOW + SECOND), NOW)


def test_a_process_becomes_stale_after_its_silence_and_not_before() -> None:
    new = board(session("s1"), session("s2"), session("s3", process="p2"))
    new.apply(heard("p2", NOW + MINUTE), NOW)
    assert not new.tick(NOW + 2 * MINUTE)
    assert new.tick(NOW + 2 * MINUTE + SECOND) == Delta(changed={"s1", "s2"})
    assert not new.tick(NOW + 2 * MINUTE + SECOND)
    assert {sid for sid, row in new.sessions.items() if row["is_stale"]} == {"s1", "s2"}
    assert new.figures(NOW).stale == 2
    assert [new.status(sid) for sid in ("s1", "s3")] == ["stale", "idle"]


def test_a_stale_process_that_is_heard_is_stale_no_more() -> None:
    new = board(session("s1"), session("s2"))
    new.tick(NOW + 3 * MINUTE)
    assert new.apply(heard("proc", NOW + 3 * MINUTE), NOW).changed == {"s1", "s2"}
    assert new.figures(NOW).stale == 0
    assert not new.tick(NOW + 3 * MINUTE)


def test_a_stale_session_that_ends_is_counted_no_more() -> None:
    new = board(session("s1"), session("s2"))
    new.tick(NOW + 3 * MINUTE)
    new.apply(told("ended", ended("s1")), NOW)
    assert new.figures(NOW).stale == 1
    new.apply(told("ended", ended("s2")), NOW)
    assert new.figures(NOW).stale == 0


def test_the_broker_says_who_is_stale_at_first() -> None:
    new = board(session("s1", is_stale=True), session("s2", process="p2"))
    assert new.figures(NOW).stale == 1
    assert new.status("s1") == "stale"


def test_all_sessions_of_a_process_are_as_stale_as_the_newest_word_says() -> None:
    old = session("s1", is_stale=True, last_heartbeat=NOW - 9 * MINUTE)
    fresh = session("s2", last_heartbeat=NOW)
    for order in ([old, fresh], [fresh, old]):
        new = board(*order)
        assert [row["is_stale"] for row in new.sessions.values()] == [False, False]
        assert new.figures(NOW).stale == 0


def test_a_word_as_old_as_the_newest_counts() -> None:
    new = board(session("s1"), session("s2", is_stale=True))
    assert [row["is_stale"] for row in new.sessions.values()] == [True, True]
    assert new.figures(NOW).stale == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "busy"}, "busy"),
        ({"kill_requested": True, "kill_stage": "delivered"}, "being killed"),
        ({"kill_requested": True, "kill_stage": "failed"}, "kill failed"),
    ],
)
def test_a_status_in_words(changes: dict[str, Any], words: str) -> None:
    assert board(session("s1", **changes)).status("s1") == words


def test_the_busiest_app_is_the_one_with_most_sessions() -> None:
    new = board(*(session(f"s{n}", app_name="stock" if n else "sales") for n in range(3)))
    assert new.figures(NOW)[-2:] == ("stock", 2)
    for number in (1, 2):
        new.apply(told("ended", ended(f"s{number}")), NOW)
    assert new.figures(NOW)[-2:] == ("sales", 1)
    assert new.by_app == {"sales": 1}


def test_a_delta_is_true_when_there_is_something_to_do() -> None:
    assert not Delta()
    assert Delta(everything=True)
    assert Delta(changed={"s1"})
    assert Delta(removed={"s1"})


def test_a_row_that_changes_how_its_process_looks_changes_the_siblings_too() -> None:
    board = Board(120.0)
    board.apply(told("snapshot", session("s1"), session("s2"), session("s3", process="x")), NOW)
    late = session("s1", is_stale=True, last_heartbeat=NOW + SECOND)
    assert board.apply(told("session", late), NOW).changed == {"s1", "s2"}
    assert board.figures(NOW).stale == 2


def test_silence_is_judged_by_the_brokers_clock() -> None:
    ahead = HOUR  # the broker's clock before ours
    told_at = NOW + ahead
    row = session("s1", last_heartbeat=told_at)
    row["duration_seconds"] = int((told_at - row["start_time"]).total_seconds())
    board = Board(120.0)
    board.apply(told("session", row), NOW)
    assert board.tick(NOW + 100 * SECOND).changed == set()
    assert board.tick(NOW + 130 * SECOND).changed == {"s1"}
