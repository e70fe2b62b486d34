"""What the store knows better: ends that memory forgot, failures of an earlier life, no space."""

from __future__ import annotations

from typing import Any

import pytest

from broker.registry.model import Settings
from broker.store import Kept, StoreUnavailable, StoreUnusable
from tests.support.bench import AppPeer, Bench, session

FULL = StoreUnavailable("no space left for sessions.db; free some", "full")


def forgetful(*names: str) -> tuple[Bench, AppPeer]:
    """A broker that remembers one ended session, and an app with these sessions."""
    bench = Bench(settings=Settings(max_tombstones=1))
    peer = bench.app(b"a", *(session(name) for name in names))
    bench.operator()
    bench.commit()
    return bench, peer


# --- ends that memory forgot (nothing that has ended reopens) ------------------------------------


def end_and_forget(bench: Bench, peer: AppPeer, name: str, reason: str = "closed") -> None:
    peer.say("end", s=name, reason=reason)
    peer.say("register", **session("other"))
    peer.say("end", s="other", reason="closed")
    bench.commit()
    peer.take()
    assert list(bench.state.tombstones) == ["other"]


def test_a_forgotten_session_that_is_stated_again_ends_again_and_is_refused() -> None:
    bench, peer = forgetful("s1", "s2")
    end_and_forget(bench, peer, "s1")
    ended = bench.rows.sessions["s1"]
    bench.published.clear()
    peer.say("register", **session("s1"))
    assert "s1" in bench.state.sessions  # until the store has said what it knows
    bench.commit()
    assert list(bench.state.sessions) == ["s2"]
    assert bench.rows.sessions["s1"] == ended
    told = peer.take()
    assert {"k": "refused", "s": "s1", "reason": "it has ended (closed)"} in told
    assert told[-1]["k"] == "ack"
    changes = [c for m in bench.published for c in m["changes"]]
    assert changes[-1][:3] == ["-", "s1", "refused"]
    peer.say("register", **session("s1"))  # now it is known again
    assert list(bench.state.sessions) == ["s2"]
    assert [m["reason"] for m in peer.take("refused")] == ["it has ended (closed)"]


def test_a_forgotten_session_that_was_killed_is_killed_again() -> None:
    bench, peer = forgetful("s1")
    bench.say(b"op", "kill", r=1, s="s1", reason="too big")
    bench.commit()
    (command,) = peer.take("command")
    end_and_forget(bench, peer, "s1", "killed")
    peer.say("register", **session("s1"))
    bench.commit()
    assert "s1" not in bench.state.sessions
    assert peer.take("command") == [{**command, "s": ["s1"]}]


def test_a_forgotten_session_can_not_be_taken_up_by_a_stranger() -> None:
    bench, peer = forgetful("s1")
    end_and_forget(bench, peer, "s1")
    stranger = AppPeer(bench, b"x", "another")
    stranger.hello(session("s1"))
    bench.commit()
    assert "s1" not in bench.state.sessions
    (refused,) = stranger.take("refused")
    assert refused["reason"] == "it belonged to another process"
    assert bench.state.stats.rejected["foreign_session"] == 1
    assert bench.rows.sessions["s1"].process == "proc"


def test_a_kill_in_the_batch_that_finds_out_is_completed_at_once() -> None:
    bench, peer = forgetful("s1")
    end_and_forget(bench, peer, "s1")
    peer.say("register", **session("s1"))
    bench.say(b"op", "kill", r=1, s="s1", wait=5.0)
    bench.commit()
    (answer,) = bench.take(b"op", "reply")
    assert answer["result"]["stage"] == "completed"
    assert peer.take("command") == []


def test_one_that_ended_while_the_store_was_asked_stays_as_the_store_has_it() -> None:
    bench, peer = forgetful("s1")
    end_and_forget(bench, peer, "s1", "stopped")
    peer.say("register", **session("s1"))
    batch = bench.begin()
    assert batch is not None
    peer.say("end", s="s1", reason="closed")
    bench.commit()
    assert bench.state.tombstones["s1"].reason == "stopped"
    assert bench.rows.sessions["s1"].end_reason == "stopped"


def test_one_that_ended_for_silence_only_comes_back_although_it_was_forgotten() -> None:
    bench, peer = forgetful("s1")
    bench.say(b"op", "cleanup", r=1, older=0.0)
    bench.sleep(1.0)
    bench.say(b"op", "cleanup", r=2, older=0.5)
    bench.commit()
    assert bench.state.sessions == {}
    bench.state.tombstones.clear()
    peer.hello(session("s1"))
    bench.commit()
    assert list(bench.state.sessions) == ["s1"]
    assert bench.rows.sessions["s1"].ended_at is None


# --- failures of an earlier life -----------------------------------------------------------------


def killed_with_trouble() -> tuple[Bench, str]:
    """A kill-all of three: one could not be ended, one ended badly, one is not done yet."""
    bench = Bench()
    peer = bench.app(b"a", *(session(name) for name in ("lives", "ended", "pending")))
    bench.operator()
    bench.say(b"op", "kill_all", r=1, app="sales")
    bench.commit()
    (command,) = peer.take("command")
    peer.say("delivered", c=command["c"])
    peer.say("failed", s="lives", error="its loop hangs")
    peer.say("end", s="ended", reason="killed", error="a callback broke")
    bench.sleep(2.0)
    bench.commit()
    bench.take(b"op")
    return bench, command["c"]


def state_of(bench: Bench, command_id: str) -> dict[str, Any]:
    bench.operator()
    bench.say(b"op", "command_state", r=9, c=command_id)
    (reply,) = bench.take(b"op", "reply")
    result: dict[str, Any] = reply["result"]
    return result


def test_why_targets_of_an_unfinished_kill_failed_is_known_after_a_restart() -> None:
    bench, command_id = killed_with_trouble()
    bench.restart()
    found = state_of(bench, command_id)
    assert found["failures"] == [["ended", "a callback broke"]]
    # the one that lives on is asked again, so it counts as not done and is no failure yet
    assert found["pending"] == ["lives", "pending"]
    assert (found["completed"], found["failed"]) == (0, 1)


def test_an_unfinished_kill_comes_to_its_end_after_a_restart_with_the_right_counts() -> None:
    bench, command_id = killed_with_trouble()
    bench.restart()
    peer = bench.app(b"b", session("lives"), session("pending"))
    peer.say("delivered", c=command_id)
    peer.say("failed", s="lives", error="its loop hangs")
    peer.say("end", s="pending", reason="killed")
    found = state_of(bench, command_id)
    assert (found["stage"], found["completed"], found["failed"]) == ("failed", 1, 2)
    assert found["failures"] == [["ended", "a callback broke"], ["lives", "its loop hangs"]]


def test_why_targets_of_a_finished_kill_failed_is_known_after_a_restart() -> None:
    bench, command_id = killed_with_trouble()
    peer = AppPeer(bench, b"a", "proc")
    peer.n = bench.state.processes["proc"].number
    peer.say("end", s="pending", reason="killed")
    bench.sleep(2.0)
    bench.commit()
    before = state_of(bench, command_id)
    assert before["stage"] == "failed"
    bench.restart()
    after = state_of(bench, command_id)
    assert sorted(after.pop("failures")) == sorted(before.pop("failures"))
    assert after == before


def test_a_failure_of_one_kill_is_not_that_of_another() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    bench.operator()
    ids = []
    for reason in ("first", "second"):
        bench.say(b"op", "kill", r=1, s="s1", reason=reason)
        bench.commit()
        (answer,) = bench.take(b"op", "reply")
        ids.append(answer["result"]["command_id"])
        if reason == "first":
            peer.say("failed", s="s1", error="not now")
    peer.say("end", s="s1", reason="killed")
    bench.sleep(2.0)
    bench.commit()
    bench.restart()
    first, second = (state_of(bench, command_id) for command_id in ids)
    assert (first["stage"], first["failures"]) == ("failed", [["s1", "not now"]])
    assert (second["stage"], second["failures"]) == ("completed", [])


def test_a_failure_whose_cause_is_not_remembered_is_counted_all_the_same() -> None:
    bench, command_id = killed_with_trouble()
    row = bench.rows.sessions["ended"]
    bench.rows.sessions["ended"] = row._replace(end_error=None)
    bench.restart()
    found = state_of(bench, command_id)
    assert (found["completed"], found["failed"], found["failures"]) == (0, 1, [])


# --- a full disk ---------------------------------------------------------------------------------


def test_a_full_disk_takes_nothing_new_and_no_commit_is_tried_for_it() -> None:
    bench, _ = forgetful("s1")
    bench.registry.checked(FULL)
    wanted = {"kill": {"s": "s1"}, "kill_all": {"app": "sales"}, "create": {"app": "web"}}
    for number, (kind, fields) in enumerate(wanted.items()):
        bench.say(b"op", kind, r=number, **fields)
    answers = bench.take(b"op")
    assert [(a["r"], a["code"]) for a in answers] == [(n, "unavailable") for n in range(3)]
    assert answers[0]["message"] == f"not accepted, nothing was killed: {FULL}"
    assert answers[2]["message"] == f"not registered: {FULL}"
    assert bench.begin() is None
    bench.say(b"op", "kill", r=4, s="nobody")
    assert bench.take(b"op")[0]["code"] == "not_found"
    bench.registry.checked(None)
    bench.say(b"op", "kill", r=5, s="s1")
    bench.commit()
    assert bench.take(b"op")[0]["result"]["stage"] == "requested"


def test_the_answer_of_an_accepted_kill_is_repeated_on_a_full_disk() -> None:
    bench, _ = forgetful("s1")
    bench.say(b"op", "kill", r=1, s="s1", key="k")
    bench.commit()
    (first,) = bench.take(b"op")
    bench.registry.checked(FULL)
    bench.say(b"op", "kill", r=2, s="s1", key="k")
    assert bench.take(b"op") == [{**first, "r": 2}]


@pytest.mark.parametrize("cause", ["io", "busy", "readonly"])
def test_for_other_troubles_a_commit_is_tried(cause: str) -> None:
    bench, _ = forgetful("s1")
    bench.registry.checked(StoreUnavailable("ill", cause))
    bench.say(b"op", "kill", r=1, s="s1")
    bench.commit()
    assert bench.take(b"op")[0]["result"]["stage"] == "requested"
    assert bench.state.stats.health.cause is None


def test_a_commit_from_the_reserve_leaves_it_degraded() -> None:
    bench, peer = forgetful("s1")
    peer.say("end", s="s1", reason="closed")
    assert bench.begin() is not None
    bench.registry.committed(0.001, bench.now, Kept((), FULL))
    assert bench.state.stats.health.wire() == {
        "status": "degraded",
        "cause": "full",
        "message": str(FULL),
    }
    bench.registry.checked(StoreUnusable("gone"))
    assert bench.state.stats.health.cause == "unusable"


# --- backups -------------------------------------------------------------------------------------


def test_a_backup_is_asked_of_the_store_and_answered() -> None:
    bench, _ = forgetful()
    bench.say(b"op", "backup", r=1, file="a.db")
    (asked,) = bench.registry.take_backups()
    assert (asked.route, asked.request, asked.file) == (b"op", 1, "a.db")
    assert bench.registry.take_backups() == []
    bench.registry.backed_up(asked, ("/data/a.db", 4096), bench.now)
    bench.settle()
    (answer,) = bench.take(b"op")
    assert answer == {"k": "reply", "r": 1, "result": {"file": "/data/a.db", "bytes": 4096}}
    bench.registry.backed_up(asked, StoreUnusable("x" * 5_000), bench.now)
    bench.settle()
    (answer,) = bench.take(b"op")
    assert (answer["code"], len(answer["message"])) == ("unavailable", 2_000)


def test_neither_apps_nor_viewers_may_ask_for_a_backup() -> None:
    bench, peer = forgetful()
    bench.operator(b"v", role="viewer")
    for route in (b"v", peer.route):
        bench.say(route, "backup", r=1, file="a.db")
        assert bench.take(route)[-1]["code"] == "forbidden"
    assert bench.registry.take_backups() == []
