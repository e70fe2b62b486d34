"""A copy of the broker's list: its changes one by one, and what is shown of it."""

from __future__ import annotations

from typing import Any

import pytest

from sessionclient.mirror import MAX_COMMANDS, Change
from sessionclient.rows import BrokerTime, moment, present_command, present_session
from tests.client.rows import WALL, command, row
from tests.client.stage_mirror import DOWN, LIVE, RESYNCING, MirrorStage


def shown(raw: dict[str, Any], now: float) -> dict[str, Any]:
    """A row as of this time of the clocks, which all agree."""
    return present_session(raw, BrokerTime(now, WALL + now, 120.0))


def test_a_mirror_that_was_never_connected_is_down_and_empty() -> None:
    stage = MirrorStage()
    stage.fed(100.0, 1, ["+", row("s1")])
    stage.mirror.tick(1e6)
    stage.mirror.resync(1e6)
    assert (stage.mirror.state, stage.mirror.resyncs, stage.ids()) == ("down", 0, [])
    assert stage.mirror.take() == ([], [])
    assert stage.mirror.next_deadline() == float("inf")


def test_a_snapshot_makes_the_mirror_live() -> None:
    stage = MirrorStage()
    stage.welcomed(100.0)
    first, changes = stage.mirror.take()
    assert (first, changes) == ([("list", 0, 1)], [RESYNCING])
    stage.answer(first[0], 100.2, row("s2", 2), row("s1", 1))
    second, changes = stage.mirror.take()
    assert (second, changes) == ([("commands", 0, 1)], [])
    newest_first = [command("c2"), command("c1", WALL)]
    stage.answer_commands(second[0], 100.4, newest_first)
    assert stage.changes() == [
        LIVE,
        Change("snapshot", [shown(row("s1", 1), 100.4), shown(row("s2", 2), 100.4)]),
        Change("commands", [present_command(raw) for raw in reversed(newest_first)]),
    ]
    assert list(stage.mirror.commands) == ["c1", "c2"]
    assert set(stage.mirror.rows) == {"s1", "s2"}


def test_changes_are_handed_over_once() -> None:
    stage = MirrorStage()
    stage.welcomed(100.0)
    assert stage.mirror.take() != ([], [])
    assert stage.mirror.take() == ([], [])


# --- changes -------------------------------------------------------------------------------------


def test_a_new_session_appears() -> None:
    stage = MirrorStage.live(row("s1", 1))
    stage.fed(101.0, 6, ["+", row("s2", 2)])
    assert stage.changes() == [Change("session", [shown(row("s2", 2), 101.0)])]
    assert stage.ids() == ["s1", "s2"]


def test_a_known_session_is_replaced() -> None:
    stage = MirrorStage.live(row("s1"))
    changed = row("s1", kill_requested=True, kill_stage="requested")
    stage.fed(101.0, 6, ["+", changed])
    assert stage.changes() == [Change("session", [shown(changed, 101.0)])]
    assert stage.mirror.rows == {"s1": changed}


def test_a_status_changes_and_nothing_else() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.fed(101.0, 6, ["s", "s1", "running", "load", WALL + 101.0])
    running = row("s1", status="running", current_task="load", task_start=WALL + 101.0)
    assert stage.changes() == [Change("session", [shown(running, 101.0)])]
    assert stage.mirror.rows == {"s1": running}


def test_an_end_removes_the_session_and_tells_why() -> None:
    stage = MirrorStage.live(row("s1"), row("s2", 2))
    stage.fed(101.0, 6, ["-", "s1", "killed", WALL + 101.0, "a callback failed"])
    ended = {
        "session_id": "s1",
        "reason": "killed",
        "ended_at": moment(WALL + 101.0),
        "error": "a callback failed",
    }
    assert stage.changes() == [Change("ended", [ended])]
    assert stage.ids() == ["s2"]
    stage.fed(102.0, 7, ["-", "s2", "closed", WALL + 102.0, None])
    assert stage.changes()[0].rows[0]["error"] is None
    assert stage.mirror.rows == {}


def test_news_of_a_session_nobody_knows_changes_nothing() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.fed(101.0, 6, ["s", "s9", "idle", None, None], ["-", "s9", "closed", WALL, None])
    assert stage.changes() == []
    assert (stage.mirror.state, stage.mirror.rows) == ("live", {"s1": row("s1")})


def test_hearing_of_a_process_refreshes_all_its_sessions_and_no_other() -> None:
    stage = MirrorStage.live(row("s1"), row("s2", 2), row("s3", 3, process="other"))
    stage.fed(130.0, 6, ["h", "proc", 129.5])
    news = {"process": "proc", "heard": 129.5, "last_heartbeat": moment(WALL + 129.5)}
    assert stage.changes() == [Change("heard", [news])]
    heard = {sid: raw["heard"] for sid, raw in stage.mirror.rows.items()}
    assert heard == {"s1": 129.5, "s2": 129.5, "s3": 100.0}


def test_a_process_is_never_heard_later_than_now() -> None:
    stage = MirrorStage.live()
    stage.fed(130.0, 6, ["h", "proc", 131.0])
    (change,) = stage.changes()
    assert change.rows[0]["last_heartbeat"] == moment(WALL + 130.0)


def test_hearing_of_a_process_reaches_sessions_that_came_and_skips_those_that_went() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.fed(101.0, 6, ["+", row("s2", 2)], ["-", "s1", "closed", WALL, None])
    stage.fed(102.0, 7, ["h", "proc", 101.5], ["h", "unknown", 101.5])
    assert stage.mirror.rows == {"s2": row("s2", 2, heard=101.5)}
    stage.fed(103.0, 8, ["-", "s2", "closed", WALL, None], ["h", "proc", 103.0])
    assert (stage.mirror.state, stage.mirror.rows) == ("live", {})


def test_a_change_of_a_later_version_is_ignored() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.fed(101.0, 6, ["later", {"a": 1}], ["+", row("s2", 2)])
    assert (stage.mirror.state, stage.ids()) == ("live", ["s1", "s2"])


def test_health_is_the_newest_that_was_told() -> None:
    stage = MirrorStage.live()
    assert stage.mirror.health == {}
    stage.fed(101.0, 5, health={"store": "ok"})
    stage.fed(102.0, 5)
    assert stage.mirror.health == {"store": "ok"}
    stage.fed(103.0, 5, health={"store": "full"})
    assert stage.mirror.health == {"store": "full"}
    assert stage.changes() == []


# --- commands ------------------------------------------------------------------------------------


def test_a_command_is_kept_in_the_order_of_its_news() -> None:
    stage = MirrorStage.live(commands=[command("c2"), command("c1")])
    done = command("c1", WALL, failures=[["s1", "blocked"]])
    stage.fed(101.0, 6, ["k", done])
    assert stage.changes() == [Change("command", [present_command(done)])]
    assert list(stage.mirror.commands.items()) == [("c2", command("c2")), ("c1", done)]


def test_the_oldest_finished_command_is_forgotten_beyond_the_bound() -> None:
    stage = MirrorStage.live(commands=[command(f"c{i}", WALL) for i in range(MAX_COMMANDS, 1, -1)])
    stage.fed(101.0, 6, ["k", command("open")])
    assert len(stage.mirror.commands) == MAX_COMMANDS
    stage.fed(102.0, 7, ["k", command("new", WALL)])
    assert len(stage.mirror.commands) == MAX_COMMANDS
    assert "c2" not in stage.mirror.commands
    assert list(stage.mirror.commands)[-2:] == ["open", "new"]


def test_commands_under_way_are_never_forgotten() -> None:
    stage = MirrorStage.live(commands=[command(f"c{i}") for i in range(MAX_COMMANDS)])
    stage.fed(101.0, 6, ["k", command("one more")])
    assert len(stage.mirror.commands) == MAX_COMMANDS + 1
    stage.fed(102.0, 7, ["k", command("done", WALL)])
    assert len(stage.mirror.commands) == MAX_COMMANDS + 1
    assert "done" not in stage.mirror.commands


# --- reading -------------------------------------------------------------------------------------


def test_the_brokers_clocks_go_on_between_its_messages() -> None:
    stage = MirrorStage.live(row("s1"))
    assert stage.mirror.time(101.5) == BrokerTime(101.5, WALL + 101.5, 120.0)
    stage.fed(103.0, 5, t=500.0, w=WALL)
    assert stage.mirror.time(104.0) == BrokerTime(501.0, WALL + 1.0, 120.0)


def test_sessions_turn_stale_as_time_passes() -> None:
    stage = MirrorStage.live(row("s1"))
    assert stage.mirror.sessions(220.0)[0]["is_stale"] is False
    late = stage.mirror.sessions(220.5)[0]
    assert late["is_stale"] is True
    assert late["last_heartbeat"] == moment(WALL + 100.0)


def test_a_snapshot_can_be_read_at_any_time() -> None:
    stage = MirrorStage.live(row("s1"), commands=[command("c1")])
    assert stage.mirror.snapshot(103.0) == [
        Change("snapshot", [shown(row("s1"), 103.0)]),
        Change("commands", [present_command(command("c1"))]),
    ]


def test_what_was_known_stays_readable_when_the_connection_is_gone() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.mirror.disconnected(101.0)
    assert stage.changes() == [DOWN]
    assert (stage.mirror.state, stage.ids()) == ("down", ["s1"])
    stage.mirror.disconnected(102.0)
    assert stage.changes() == []


# --- what is no change ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        ["+"],
        ["+", None],
        ["+", {}],
        ["+", {**row("s2"), "start_time": "yesterday"}],
        ["+", {**row("s2"), "start_time": None}],
        ["+", {**row("s2"), "start_time": float("nan")}],
        ["+", {**row("s2"), "start_time": 1e12}],
        ["+", {**row("s2"), "heard": "now"}],
        ["+", {**row("s2"), "session_id": ["s2"]}],
        ["+", {key: value for key, value in row("s2").items() if key != "process"}],
        ["s"],
        ["s", "s1", "idle"],
        ["s", "s1", "running", "load", "now"],
        ["s", {}, "idle", None, None],
        ["-"],
        ["-", "s1"],
        ["-", [], "closed", WALL, None],
        ["h"],
        ["h", "proc"],
        ["h", [], 1.0],
        ["h", "unknown", "now"],
        ["k"],
        ["k", None],
        ["k", {}],
        ["k", command("c1", failures=7)],
        ["k", {"requested_at": WALL, "finished_at": None}],
        ["k", command("c1", requested_at="now")],
    ],
    ids=repr,
)
def test_what_is_no_change_starts_a_new_snapshot(change: list[Any]) -> None:
    stage = MirrorStage.live(row("s1"))
    stage.fed(101.0, 6, ["+", row("s3", 3)], change, ["-", "s1", "closed", WALL, None])
    assert stage.mirror.state == "resyncing"
    assert stage.mirror.next_deadline() == 101.1
    assert "s1" in stage.mirror.rows  # nothing after it was applied
    assert stage.changes()[-1] == RESYNCING
    stage.mirror.tick(101.1)
    stage.answer_all(101.2, row("s4", 4), n=6)
    assert (stage.mirror.state, stage.ids()) == ("live", ["s4"])
