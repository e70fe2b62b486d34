"""Kills: accepted when committed, pushed, followed to the end, and never done twice or lost."""

from __future__ import annotations

from typing import Any

import pytest

from broker.registry.model import Settings
from tests.support.bench import AppPeer, Bench, session


def started(*names: str, settings: Settings | None = None) -> tuple[Bench, AppPeer]:
    bench = Bench(settings=settings)
    peer = bench.app(b"a", *(session(name) for name in names))
    bench.operator()
    return bench, peer


def kill(bench: Bench, session_id: str, r: int = 1, **more: Any) -> None:
    bench.say(b"op", "kill", r=r, s=session_id, **more)


def test_nothing_is_said_before_the_commit_and_everything_after() -> None:
    bench, peer = started("s1")
    kill(bench, "s1", reason="too long")
    assert bench.sent == []
    bench.commit()
    (command,) = peer.take()
    assert command == {
        "k": "command",
        "c": command["c"],
        "command": "kill",
        "s": ["s1"],
        "reason": "too long",
    }
    result = {"command_id": command["c"], "stage": "requested"}
    assert bench.take(b"op") == [{"k": "reply", "r": 1, "result": result}]
    assert bench.rows.commands[command["c"]].targets == ("s1",)
    assert bench.state.sessions["s1"].wire()["kill_reason"] == "too long"


def test_the_push_leaves_before_the_answer() -> None:
    bench, _ = started("s1")
    kill(bench, "s1")
    bench.commit()
    assert [route for route, _ in bench.sent] == [b"a", b"op"]


def test_the_stages_follow_the_client() -> None:
    bench, peer = started("s1")
    kill(bench, "s1")
    bench.commit()
    command = bench.state.commands[peer.take()[0]["c"]]
    assert command.stage == "requested"
    peer.say("delivered", c=command.command_id)
    assert command.stage == bench.state.sessions["s1"].kill_stage == "delivered"
    peer.say("delivered", c=command.command_id)
    assert command.delivered == 1
    peer.say("end", s="s1", reason="killed")
    assert command.stage == "completed"
    bench.sleep(1.0)
    bench.commit()
    row = bench.rows.commands[command.command_id]
    assert (row.stage, row.completed, row.delivered) == ("completed", 1, 1)
    assert bench.rows.sessions["s1"].kill_command == command.command_id


def test_a_callback_that_failed_makes_the_kill_failed_though_the_session_is_gone() -> None:
    bench, peer = started("s1")
    kill(bench, "s1")
    bench.commit()
    command = bench.state.commands[peer.take()[0]["c"]]
    peer.say("end", s="s1", reason="killed", error="callback hung")
    assert command.stage == "failed"
    assert command.failures == {"s1": "callback hung"}
    assert bench.state.sessions == {}


def test_a_kill_that_could_not_be_carried_out_leaves_the_session_listed() -> None:
    bench, peer = started("s1")
    kill(bench, "s1")
    bench.commit()
    first = peer.take()[0]["c"]
    peer.say("delivered", c=first)
    peer.say("failed", s="s1", error="the event loop is blocked")
    row = bench.state.sessions["s1"].wire()
    assert (row["kill_stage"], row["kill_error"]) == ("failed", "the event loop is blocked")
    assert bench.state.commands[first].stage == "failed"
    bench.sleep(1.0)
    bench.commit()
    bench.restart()
    row = bench.state.sessions["s1"].wire()
    assert (row["kill_stage"], row["kill_requested"]) == ("failed", True)
    bench.operator()
    peer.hello(session("s1"))
    peer.take()
    kill(bench, "s1", r=2)
    bench.commit()
    assert peer.take("command")[0]["s"] == ["s1"]
    peer.say("end", s="s1", reason="killed")
    assert bench.state.commands[first].stage == "failed"


def test_failed_for_a_session_nobody_killed_is_ignored() -> None:
    bench, peer = started("s1")
    peer.say("failed", s="s1", error="what?")
    peer.say("failed", s="unknown", error="what?")
    peer.say("delivered", c="unknown")
    assert bench.state.sessions["s1"].kill_stage is None


def test_a_failed_commit_refuses_the_kill_and_nothing_is_pushed() -> None:
    bench, peer = started("s1")
    kill(bench, "s1")
    bench.fail()
    (answer,) = bench.take(b"op")
    assert answer["code"] == "unavailable"
    assert "nothing was killed" in answer["message"]
    assert peer.take() == []
    assert bench.state.sessions["s1"].wire()["kill_requested"] is False


def test_a_commit_that_failed_but_reached_the_disk_never_comes_to_life() -> None:
    bench, peer = started("s1")
    kill(bench, "s1", key="k")
    bench.fail(kept=True)
    bench.sleep(2.0)
    bench.commit()
    bench.restart()
    peer.hello(session("s1"))
    assert peer.take("command") == []


def test_a_retry_under_the_same_key_after_a_failed_commit_is_accepted() -> None:
    bench, peer = started("s1")
    kill(bench, "s1", key="k")
    bench.fail()
    bench.take(b"op")
    bench.jump(1.0)
    kill(bench, "s1", r=2, key="k")
    bench.commit()
    assert bench.take(b"op")[0]["result"]["stage"] == "requested"
    assert len(peer.take("command")) == 1


def test_one_key_one_kill_and_the_first_answer_again() -> None:
    bench, peer = started("s1")
    kill(bench, "s1", r=1, key="k")
    kill(bench, "s1", r=2, key="k")
    bench.commit()
    kill(bench, "s1", r=3, key="k")
    peer.say("end", s="s1", reason="killed")
    kill(bench, "s1", r=4, key="k")
    bench.commit()
    answers = bench.take(b"op")
    assert [answer["r"] for answer in answers] == [1, 2, 3, 4]
    assert len({answer["result"]["command_id"] for answer in answers}) == 1
    assert {answer["result"]["stage"] for answer in answers} == {"requested"}
    assert len(peer.take("command")) == 1
    assert len(bench.rows.commands) == 1


def test_both_are_refused_when_the_commit_of_the_first_fails() -> None:
    bench, peer = started("s1")
    kill(bench, "s1", r=1, key="k")
    assert bench.begin() is not None
    kill(bench, "s1", r=2, key="k")
    bench.fail()
    bench.jump(1.0)
    bench.commit()
    answers = bench.take(b"op")
    assert [(a["r"], a["code"]) for a in answers] == [(1, "unavailable"), (2, "unavailable")]
    assert peer.take("command") == []


def test_a_key_for_another_request_is_refused() -> None:
    bench, _ = started("s1", "s2")
    kill(bench, "s1", key="k")
    bench.commit()
    bench.take(b"op")
    kill(bench, "s2", r=2, key="k")
    assert bench.take(b"op")[0]["code"] == "key_reused"
    bench.say(b"op", "kill_all", r=3, app="sales", key="k")
    assert bench.take(b"op")[0]["code"] == "key_reused"


def test_a_key_is_remembered_over_a_restart() -> None:
    bench, peer = started("s1")
    kill(bench, "s1", key="k")
    bench.commit()
    first = bench.take(b"op")[0]["result"]
    bench.restart()
    bench.operator()
    kill(bench, "s1", r=9, key="k")
    assert bench.take(b"op")[0]["result"] == first
    peer.take()
    peer.hello(session("s1"))
    assert len(peer.take("command")) == 1


@pytest.mark.parametrize("delivered", [False, True])
def test_an_accepted_kill_survives_a_restart(delivered: bool) -> None:
    bench, peer = started("s1")
    kill(bench, "s1", reason="why")
    bench.commit()
    command = peer.take()[0]["c"]
    if delivered:
        peer.say("delivered", c=command)
    bench.restart()
    assert bench.state.sessions["s1"].kill_stage == "requested"
    peer.hello(session("s1"))
    pushed = peer.take("command")
    assert [(m["c"], m["s"], m["reason"]) for m in pushed] == [(command, ["s1"], "why")]
    peer.say("delivered", c=command)
    peer.say("end", s="s1", reason="killed")
    assert bench.state.commands[command].stage == "completed"


def test_a_kill_waits_for_a_client_that_is_away() -> None:
    bench, peer = started("s1")
    bench.registry.unreachable(b"a")
    kill(bench, "s1")
    bench.commit()
    assert peer.take() == []
    peer.route = b"b"
    peer.hello(session("s1"))
    assert len(peer.take("command")) == 1


def test_an_unacknowledged_push_is_repeated() -> None:
    bench, peer = started("s1")
    kill(bench, "s1")
    bench.commit()
    assert len(peer.take("command")) == 1
    bench.sleep(4.0)
    assert peer.take("command") == []
    bench.sleep(2.0)
    (again,) = peer.take("command")
    peer.say("delivered", c=again["c"])
    bench.sleep(20.0)
    assert peer.take("command") == []


def test_two_kills_of_one_session_are_both_answered_by_its_end() -> None:
    bench, peer = started("s1")
    kill(bench, "s1", r=1, wait=10.0)
    bench.commit()
    kill(bench, "s1", r=2, wait=10.0)
    bench.commit()
    first, second = (m["c"] for m in peer.take("command"))
    assert first != second
    peer.say("delivered", c=first)
    peer.say("delivered", c=second)
    peer.say("end", s="s1", reason="killed")
    answers = bench.take(b"op")
    assert [(a["r"], a["result"]["stage"]) for a in answers] == [(1, "completed"), (2, "completed")]


def test_an_end_that_races_the_kill_completes_it() -> None:
    bench, peer = started("s1")
    kill(bench, "s1", wait=10.0)
    peer.say("end", s="s1", reason="closed")
    bench.commit()
    assert bench.take(b"op")[0]["result"]["stage"] == "completed"


def test_waiting_ends_with_the_stage_reached() -> None:
    bench, peer = started("s1")
    kill(bench, "s1", wait=2.0)
    bench.commit()
    peer.say("delivered", c=peer.take()[0]["c"])
    bench.sleep(1.5, step=0.5)
    assert bench.take(b"op") == []
    assert bench.registry.next_deadline(bench.now) <= bench.mono + 0.5
    bench.sleep(0.5)
    assert bench.take(b"op")[0]["result"]["stage"] == "delivered"


def test_a_session_killed_while_away_is_killed_when_it_returns_from_silence() -> None:
    bench, peer = started("s1")
    bench.registry.unreachable(b"a")
    kill(bench, "s1", reason="why", wait=700.0)
    bench.commit()
    for number in range(2, 15):
        bench.sleep(50.0)
        bench.say(b"op", "heartbeat", n=number)
    bench.commit()
    (answer,) = bench.take(b"op", "reply")
    assert answer["result"]["stage"] == "failed"
    assert bench.state.sessions == {}
    peer.hello(session("s1"))
    (again,) = peer.take("command")
    assert (again["s"], again["reason"]) == (["s1"], "why")
    assert bench.state.sessions == {}
    peer.say("delivered", c=again["c"])
    peer.say("end", s="s1", reason="killed")
    assert bench.state.sessions == {}


def test_a_killed_session_does_not_come_back() -> None:
    bench, peer = started("s1")
    kill(bench, "s1")
    bench.commit()
    peer.say("end", s="s1", reason="killed")
    bench.commit()
    bench.restart()
    peer.hello(session("s1"))
    assert peer.take("command")[0]["s"] == ["s1"]
    assert bench.state.sessions == {}


def test_killing_what_is_not_there_says_so() -> None:
    bench, peer = started("s1")
    kill(bench, "nobody")
    assert bench.take(b"op") == [
        {"k": "error", "r": 1, "code": "not_found", "message": "there is no session 'nobody'"}
    ]
    peer.say("end", s="s1", reason="closed")
    kill(bench, "s1", r=2)
    assert bench.take(b"op")[0]["message"] == "session 's1' has ended (closed)"


def test_kill_all_is_one_message_per_process_and_one_row() -> None:
    bench, peer = started("s1", "s2", "x")
    bench.app(b"b", session("s3"), session("y", app="other"), instance="second")
    kill(bench, "x")
    bench.commit()
    peer.take()
    bench.take(b"op")
    bench.say(b"op", "kill_all", r=5, app="sales", reason="deploy")
    bench.commit()
    (answer,) = bench.take(b"op")
    assert answer["result"]["killed_count"] == 3
    (one,) = peer.take("command")
    (two,) = bench.take(b"b", "command")
    assert set(one["s"]) == {"s1", "s2"}
    assert two["s"] == ["s3"]
    assert len(bench.rows.commands) == 2
    assert bench.state.sessions["y"].commands == ()


def test_kill_all_of_nothing_is_zero_and_its_key_is_remembered() -> None:
    bench, peer = started()
    bench.say(b"op", "kill_all", r=1, app="sales", key="k")
    bench.commit()
    assert bench.take(b"op")[0]["result"]["killed_count"] == 0
    peer.say("register", **session("s1"))
    bench.say(b"op", "kill_all", r=2, app="sales", key="k")
    bench.commit()
    assert bench.take(b"op")[0]["result"]["killed_count"] == 0
    assert bench.state.sessions["s1"].commands == ()


def test_progress_of_a_kill_all_is_answered_as_it_comes() -> None:
    bench, peer = started("s1", "s2")
    bench.say(b"op", "kill_all", r=1, app="sales")
    bench.commit()
    command = bench.take(b"op")[0]["result"]["command_id"]
    bench.say(b"op", "command_state", r=2, c=command, wait=60.0, seen=0)
    peer.say("end", s="s1", reason="killed")
    (answer,) = bench.take(b"op")
    assert (answer["result"]["completed"], answer["result"]["pending"]) == (1, ["s2"])
    bench.say(b"op", "command_state", r=3, c=command, wait=60.0)
    peer.say("end", s="s2", reason="killed", error="hung")
    (answer,) = bench.take(b"op")
    assert answer["result"]["stage"] == "failed"
    assert answer["result"]["failures"] == [["s2", "hung"]]
    bench.say(b"op", "command_state", r=4, c="nothing")
    assert bench.take(b"op")[0]["code"] == "not_found"


def test_a_partly_done_kill_all_goes_on_after_a_restart() -> None:
    bench, peer = started("s1", "s2")
    bench.say(b"op", "kill_all", r=1, app="sales")
    bench.commit()
    peer.take()
    peer.say("end", s="s1", reason="killed")
    bench.commit()
    bench.restart()
    peer.hello(session("s2"))
    (again,) = peer.take("command")
    assert again["s"] == ["s2"]
    command = bench.state.commands[again["c"]]
    assert (command.completed, command.stage) == (1, "requested")
    peer.say("end", s="s2", reason="killed")
    assert command.stage == "completed"


def test_too_many_open_commands_and_waiters_are_refused_or_answered_at_once() -> None:
    bench, _ = started("s1", settings=Settings(max_open_commands=2, max_waiters=1))
    kill(bench, "s1", r=1, wait=60.0)
    bench.commit()
    kill(bench, "s1", r=2, wait=60.0)
    bench.commit()
    kill(bench, "s1", r=3)
    answers = {answer["r"]: answer for answer in bench.take(b"op")}
    assert answers[2]["result"]["stage"] == "requested"
    assert answers[3]["code"] == "too_many"
    assert 1 not in answers


def test_too_many_waiters_on_one_connection_are_answered_at_once() -> None:
    bench, _ = started("s1", settings=Settings(max_waiters_per_peer=1))
    bench.operator(b"other")
    kill(bench, "s1", r=1, wait=60.0)
    bench.commit()
    kill(bench, "s1", r=2, wait=60.0)
    bench.say(b"other", "kill", r=3, s="s1", wait=60.0)
    bench.commit()
    assert [answer["r"] for answer in bench.take(b"op", "reply")] == [2]
    assert bench.take(b"other", "reply") == []


def test_finished_commands_are_forgotten_beyond_a_bound() -> None:
    bench, peer = started(*(f"s{i}" for i in range(5)), settings=Settings(max_commands_kept=2))
    for number in range(5):
        kill(bench, f"s{number}", r=number, key=f"k{number}")
        bench.commit()
        peer.say("end", s=f"s{number}", reason="killed")
    assert len(bench.state.commands) == 2
    assert set(bench.state.keys) == {"k3", "k4"}
