"""Sessions and processes that come back after the broker had given them up, or never knew them."""

from __future__ import annotations

from broker.registry import apps
from broker.registry.commands import GONE_TOO_EARLY
from tests.support.bench import AppPeer, Bench, session

TASK = {"s": "s1", "no": 1, "name": "load", "age": 5.0, "took": 4.0, "outcome": "ok"}


def killed(bench: Bench, sid: str = "s1") -> str:
    """An operator kills a session; returns the command's id."""
    bench.operator()
    bench.say(b"op", "kill", r=1, s=sid)
    bench.commit()
    return str(bench.take(b"op", "reply")[0]["result"]["command_id"])


def fails(peer: AppPeer, command_id: str) -> None:
    """The process can't end s1, and says so."""
    peer.say("delivered", c=command_id)
    peer.say("failed", s="s1", error="the page does not end")


def test_tasks_that_finished_before_the_first_hello_are_kept() -> None:
    bench = Bench()
    peer = AppPeer(bench, b"a", "proc")
    peer.hello(session("s1"), done=[TASK, {**TASK, "s": "nobody"}])
    bench.sleep(2.0)
    bench.commit()
    assert list(bench.rows.tasks) == [("s1", 1)]


def test_every_start_is_an_epoch_of_its_own() -> None:
    bench = Bench()
    before = bench.state.epoch
    bench.restart()
    AppPeer(bench, b"a", "proc").hello()
    (welcome,) = bench.take(b"a", "welcome")
    assert welcome["epoch"] == bench.state.epoch != before


def test_a_session_whose_kill_failed_comes_back_after_it_was_cleaned_up() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    first = killed(bench)
    fails(peer, first)
    bench.sleep(700.0)
    bench.commit()
    assert bench.state.sessions == {}
    peer.take()
    peer.hello(session("s1"))
    (again,) = peer.take("command")
    fails(peer, again["c"])
    assert [m["k"] for m in peer.take()] == ["say_hello"]
    peer.hello(session("s1"))
    bench.commit()
    assert list(bench.state.sessions) == ["s1"]
    assert peer.take("command") == []
    bench.restart()  # the store says the same
    assert [s.wire()["kill_requested"] for s in bench.state.sessions.values()] == [False]
    assert killed(bench) != first


def test_nobody_else_brings_a_session_back_nor_one_that_ended_for_good() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"), session("s2"))
    other = bench.app(b"b", session("s3"), instance="other")
    killed(bench)
    peer.say("end", s="s1", reason="killed")
    bench.commit()
    fails(peer, "c")
    other.say("failed", s="s1", error="no")
    peer.say("failed", s="s9", error="no")
    bench.commit()
    peer.take()
    peer.hello(session("s1"), session("s2"))
    assert [m["s"] for m in peer.take("command")] == [["s1"]]
    assert list(bench.state.sessions) == ["s2", "s3"]


def test_a_process_is_not_silent_while_its_messages_have_a_gap() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    for number in range(10, 15):
        bench.sleep(150.0)
        bench.say(b"a", "heartbeat", n=number)
    assert list(bench.state.sessions) == ["s1"]


def test_a_survivor_without_a_connection_is_not_asked_but_let_in_later() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    process = bench.state.processes["proc"]
    fails(peer, killed(bench))
    bench.sleep(700.0)  # cleaned up, and its connection forgotten
    apps.failed(bench.state, process, {"s": "s1", "error": "no"}, bench.now)
    bench.settle()
    assert peer.take("say_hello") == []
    peer.hello(session("s1"))
    assert list(bench.state.sessions) == ["s1"]


def cleaned_up_while_its_kill_is_written(bench: Bench) -> AppPeer:
    peer = bench.app(b"a", session("s1"))
    bench.sleep(590.0)
    bench.operator()
    bench.say(b"op", "kill", r=1, s="s1", reason="too long")
    bench.begin()  # the disk is slow
    bench.sleep(20.0)
    assert bench.state.sessions == {}
    bench.commit()
    return peer


def test_a_session_cleaned_up_while_its_kill_was_being_written_is_told_when_it_is_back() -> None:
    bench = Bench()
    peer = cleaned_up_while_its_kill_is_written(bench)
    (answer,) = bench.take(b"op", "reply")
    (command,) = bench.state.finished.values()
    assert answer["result"]["command_id"] == command.command_id
    assert command.failures == {"s1": GONE_TOO_EARLY}
    peer.take()
    peer.hello(session("s1"))
    (told,) = peer.take("command")
    assert (told["c"], told["s"], told["reason"]) == (command.command_id, ["s1"], "too long")
    assert bench.state.sessions == {}


def test_it_is_told_so_after_a_restart_too() -> None:
    bench = Bench()
    peer = cleaned_up_while_its_kill_is_written(bench)
    bench.commit()
    bench.restart()
    peer.hello(session("s1"))
    (told,) = peer.take("command")
    assert (told["s"], told["reason"]) == (["s1"], "too long")
    assert bench.state.sessions == {}
