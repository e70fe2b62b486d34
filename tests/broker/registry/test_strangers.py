"""What one app may do to the sessions of another: nothing, not even once they have ended."""

from __future__ import annotations

from broker.registry.model import Settings
from tests.support.bench import AppPeer, Bench, greeting, session

WELCOME = {
    "v": 1,
    "epoch": "id0001",
    "feed": "tcp://127.0.0.1:5761",
    "stale_after": 120.0,
    "version": "test",
}


def owner_and_stranger() -> tuple[Bench, AppPeer, AppPeer]:
    bench = Bench()
    owner = bench.app(b"a", session("s1"), instance="owner")
    stranger = bench.app(b"x", instance="stranger")
    return bench, owner, stranger


def test_a_session_that_fell_silent_comes_back_with_its_own_process_only() -> None:
    bench, owner, stranger = owner_and_stranger()
    bench.registry.unreachable(b"a")
    for _ in range(61):
        bench.sleep(10.0)
        stranger.say("heartbeat")
    bench.commit()
    assert bench.rows.sessions["s1"].end_reason == "stale"
    stranger.take()
    stranger.say("register", **session("s1"))
    assert [message["s"] for message in stranger.take("refused")] == ["s1"]
    owner.hello(session("s1"))
    assert bench.state.sessions["s1"].process.instance == "owner"


def test_the_tasks_of_an_ended_session_are_told_by_its_own_process_only() -> None:
    bench, owner, stranger = owner_and_stranger()
    done = {"s": "s1", "no": 1, "name": "load", "age": 3.0, "took": 2.0, "outcome": "ok"}
    owner.say("end", s="s1", reason="closed", done=[done])
    bench.sleep(2.0)
    bench.commit()
    forged = {**done, "name": "forged"}
    stranger.hello(done=[forged])
    bench.sleep(2.0)
    bench.commit()
    assert bench.rows.tasks["s1", 1].name == "load"


def test_a_live_session_takes_no_word_from_another_process() -> None:
    bench, _, stranger = owner_and_stranger()
    done = {"s": "s1", "no": 1, "name": "forged", "age": 3.0, "took": 2.0, "outcome": "ok"}
    stranger.say("status", s="s1", status="forged", done=[done])
    stranger.say("failed", s="s1", error="forged")
    stranger.say("end", s="s1", reason="forged", done=[done])
    stranger.hello(ended=[{"s": "s1", "reason": "forged"}], done=[done])
    bench.sleep(2.0)
    bench.commit()
    assert bench.rows.sessions["s1"].status == "idle"
    assert bench.rows.sessions["s1"].ended_at is None
    assert bench.rows.tasks == {}


def test_a_kill_is_acknowledged_by_its_own_process_only() -> None:
    bench, owner, stranger = owner_and_stranger()
    bench.operator()
    bench.say(b"op", "kill", r=1, s="s1")
    bench.commit()
    command_id = owner.take("command")[0]["c"]
    stranger.say("delivered", c=command_id)
    assert bench.state.commands[command_id].stage == "requested"
    stranger.say("bye")
    assert bench.state.commands[command_id].stage == "requested"
    owner.say("delivered", c=command_id)
    assert bench.state.commands[command_id].stage == "delivered"


# --- a process is who it was, also after it was forgotten ----------------------------------------


def forgotten() -> Bench:
    """A process that fell silent for so long that it was cleaned up, its session with it."""
    bench = Bench()
    bench.app(b"a", session("s1"), instance="owner")
    bench.sleep(601.0)
    bench.commit()
    assert bench.state.processes == {}
    return bench


def pose_as_the_owner(bench: Bench) -> dict[str, object]:
    fields = greeting(instance="owner", sessions=[session("s1")]) | {"secret": b"another one....."}
    bench.say(b"x", "hello", **fields)
    (answer,) = bench.take(b"x")
    return answer


def test_nobody_poses_as_a_process_that_was_cleaned_up() -> None:
    bench = forgotten()
    assert pose_as_the_owner(bench)["code"] == "forbidden"
    owner = bench.app(b"b", session("s1"), instance="owner")
    assert set(bench.state.sessions) == {"s1"}
    assert bench.state.gone == {}
    assert owner.take() == []


def test_nobody_poses_as_it_after_a_restart_either() -> None:
    bench = forgotten()
    bench.restart()
    assert pose_as_the_owner(bench)["code"] == "forbidden"


def test_the_secrets_of_processes_that_are_gone_are_bounded() -> None:
    bench = Bench(settings=Settings(max_gone=2))
    for number in range(3):
        bench.app(b"%d" % number, session(f"s{number}"), instance=f"p{number}")
        bench.sleep(1.0)
    bench.sleep(600.0)
    assert list(bench.state.gone) == ["p1", "p2"]


def test_an_apps_connection_does_not_turn_into_an_operators() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.operator(b"a")
    bench.say(b"a", "kill", r=1, s="s1")
    assert [message["code"] for message in bench.take(b"a")] == ["forbidden"]
    bench.operator()
    bench.say(b"op", "kill", r=1, s="s1")
    bench.commit()
    assert [(message["k"], message["s"]) for message in bench.take(b"a")] == [("command", ["s1"])]


def test_a_greeting_in_parts_is_applied_as_it_comes_and_ends_what_it_does_not_name() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"), session("s2"))
    peer.hello(session("s3"), last=False, ended=[{"s": "s1", "reason": "closed"}])
    assert set(bench.state.sessions) == {"s2", "s3"}
    assert peer.take() == []
    peer.say("hello_part", sessions=[session("s4")], ended=[], last=True)
    assert set(bench.state.sessions) == {"s3", "s4"}
    assert peer.take() == [{"k": "welcome", "n": 2, **WELCOME}]
    bench.commit()
    assert bench.rows.sessions["s1"].end_reason == "closed"
    assert bench.rows.sessions["s2"].end_reason == "gone"
    assert peer.take() == [{"k": "ack", "n": 3}]
