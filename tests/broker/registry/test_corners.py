"""Bounds that are rarely met, races that are rarely lost, and guards against our own mistakes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from broker.registry import apps, commands
from broker.registry import validate as checks
from broker.registry.effects import FEED_BUDGET
from broker.registry.in_order import InOrder
from broker.registry.ledger import Ledger
from broker.registry.model import Greeting, Peer, Process, Settings
from broker.registry.validate import Violation, validate
from broker.store import Kept, Tombstone
from sessionclient.wire import MAX_ID_CHARS, MAX_TEXT_CHARS, encode
from tests.support.bench import WALL, Bench, session


def task(number: int) -> dict[str, Any]:
    return {"s": "s1", "no": number, "name": "t", "age": 5.0, "took": 4.0, "outcome": "ok"}


# --- what a store that fails for long may cost ---------------------------------------------------


def test_the_oldest_ends_go_first_when_the_store_fails_for_too_long() -> None:
    bench = Bench(settings=Settings(max_unsaved_ended=3))
    peer = bench.app(b"a", *(session(f"s{number}") for number in range(4)))
    peer.say("register", **session("live"))  # waits for the disk too, but is not history
    for number in range(4):
        peer.say("end", s=f"s{number}", reason="closed")
    assert bench.state.ledger.dropped == 2
    bench.commit()
    kept = [row.session_id for row in bench.rows.sessions.values() if row.ended_at is not None]
    assert kept == ["s2", "s3"]
    assert bench.rows.sessions["live"].ended_at is None
    assert peer.take() == [{"k": "ack", "n": 6}]


def test_dropping_when_there_is_nothing_to_drop_drops_nothing() -> None:
    ledger = Ledger(Settings())
    ledger._drop_oldest_ended()
    assert ledger.dropped == 0


def test_the_oldest_tasks_go_first_when_the_store_fails_for_too_long() -> None:
    bench = Bench(settings=Settings(max_unsaved_tasks=2))
    peer = bench.app(b"a", session("s1"))
    peer.say("status", s="s1", status="idle", done=[task(number) for number in (1, 2, 3)])
    assert bench.state.ledger.dropped == 1
    assert bench.state.processes["proc"].tasks_waiting == 2
    bench.sleep(2.0)
    bench.commit()
    assert [number for _, number in bench.rows.tasks] == [2, 3]
    assert peer.take() == [{"k": "ack", "n": 2}]


def test_tombstones_are_forgotten_beyond_a_bound() -> None:
    bench = Bench(settings=Settings(max_tombstones=2))
    peer = bench.app(b"a", *(session(f"s{number}") for number in range(3)))
    for number in range(3):
        peer.say("end", s=f"s{number}", reason="closed")
    assert list(bench.state.tombstones) == ["s1", "s2"]
    assert bench.state.missing("s0") == "there is no session 's0'"


def test_what_is_forgotten_costs_no_more_when_much_is_remembered() -> None:
    bench = Bench(settings=Settings(max_tombstones=50_000, max_gone=50_000))
    names = [f"s{number}" for number in range(120_000)]

    def cost(names: list[str]) -> float:
        """Processor seconds."""
        started = time.process_time()
        for name in names:
            bench.state.bury(Tombstone(name, 1, "closed", 1.0, None, "p"))
            bench.state.remember_secret(name, b"")
        return time.process_time() - started

    few = cost(names[:20_000])
    cost(names[20_000:100_000])
    assert cost(names[100_000:]) < 5 * few  # it was 30 times as much


def test_history_is_purged_now_and_then() -> None:
    bench = Bench(settings=Settings(retention=60.0, purge_interval=100.0))
    bench.app(b"a", session("s1"))
    bench.sleep(99.0)
    bench.commit()
    bench.mono, bench.wall = bench.mono + 1.0, bench.wall + 1.0
    batch = bench.begin()
    assert batch is not None
    assert batch.purge_before == WALL + 100.0 - 60.0
    bench.commit()
    due = bench.state.ledger.due(bench.now)
    assert due is not None
    assert due == bench.mono + 100.0
    assert bench.begin() is None


def test_a_full_piece_of_a_purge_is_followed_by_the_next_after_a_short_pause() -> None:
    bench = Bench(settings=Settings(purge_interval=100.0, purge_pause=0.2))
    bench.sleep(100.0)
    for _ in range(3):
        batch = bench.begin()
        assert batch is not None
        assert batch.purge_before is not None
        bench.batch = None
        bench.registry.committed(0.001, bench.now, Kept(more_to_purge=True))
        assert bench.state.ledger.due(bench.now) == bench.mono + 0.2
        bench.mono += 0.2
    bench.commit()
    assert bench.state.ledger.due(bench.now) == bench.mono + 100.0


def test_a_greeting_that_never_comes_to_its_end_is_refused() -> None:
    bench = Bench(settings=Settings(max_sessions_per_process=10))
    peer = bench.app(b"a")
    peer.hello(last=False)
    for _ in range(1_000):
        peer.say("hello_part", sessions=[], ended=[], done=[task(1)] * 10, last=False)
    assert [message["code"] for message in peer.take("error")] == ["too_many"]


# --- races ---------------------------------------------------------------------------------------


def test_a_rest_session_cleaned_up_before_its_commit_failed_is_refused_once() -> None:
    bench = Bench()
    bench.operator()
    bench.say(b"op", "create", r=1, app="web")
    assert bench.begin() is not None
    bench.mono += 1.0
    bench.say(b"op", "cleanup", r=2, older=0.5)
    assert bench.state.sessions == {}
    bench.fail()
    assert [(a["r"], a["code"]) for a in bench.take(b"op")] == [(1, "unavailable")]
    bench.jump(1.0)
    bench.commit()
    assert bench.take(b"op")[0]["result"] == {"count": 1}
    (row,) = bench.rows.sessions.values()
    assert row.end_reason == "stale"


def test_a_task_stated_again_keeps_its_start() -> None:
    bench = Bench()
    bench.operator()
    bench.say(b"op", "create", r=1, app="web")
    bench.commit()
    sid = bench.take(b"op")[0]["result"]["session_id"]
    bench.say(b"op", "set_status", r=2, s=sid, status="running", task="load")
    bench.jump(3.0)
    bench.say(b"op", "set_status", r=3, s=sid, status="nearly done", task="load")
    row = bench.state.sessions[sid].wire()
    assert (row["status"], row["task_start"]) == ("nearly done", WALL)
    bench.say(b"op", "set_status", r=4, s=sid, status="idle")
    assert bench.state.sessions[sid].wire()["task_start"] is None


def test_changes_of_the_longest_statuses_fit_a_message_of_the_feed() -> None:
    bench = Bench()
    sid, wide = "s" * MAX_ID_CHARS, "\N{GRINNING FACE}" * (MAX_TEXT_CHARS - 3)
    bench.app(b"a", session(sid))
    bench.published.clear()
    feed = bench.state.feed
    for number in range(300):  # more than come between two publications of the bench
        feed.change(["s", sid, f"{number:03}{wide}", f"{number:03}{wide}", WALL + number / 7])
    bench.settle()
    assert all(len(encode(message)) <= FEED_BUDGET for message in bench.published)
    told = [change[2][:3] for message in bench.published for change in message["changes"]]
    assert told == [f"{number:03}" for number in range(300)]


def test_changes_too_long_for_one_message_of_the_feed_go_in_several() -> None:
    bench = Bench()
    names = [f"s{number}" for number in range(115)]
    peer = bench.app(b"a", *map(session, names))
    bench.published.clear()
    wide = "\N{GRINNING FACE}" * 2000
    peer.hello(ended=[{"s": name, "reason": "killed", "error": wide} for name in names])
    assert len(bench.published) == 3
    assert all(len(encode(message)) <= FEED_BUDGET for message in bench.published)
    told = [change[1] for message in bench.published for change in message["changes"]]
    assert told == names


# --- a process that is not connected is told nothing ---------------------------------------------


def away() -> tuple[Bench, Process]:
    """A process that was greeted and is gone since."""
    bench = Bench(settings=Settings(max_sessions_per_process=2))
    bench.app(b"a", session("s1"))
    bench.app(b"b", session("s2"), instance="other")
    bench.registry.unreachable(b"a")
    return bench, bench.state.processes["proc"]


def part(*sessions: dict[str, Any]) -> dict[str, Any]:
    return {"n": 2, "sessions": list(sessions), "ended": [], "last": True}


def test_a_heartbeat_without_a_connection_is_not_acknowledged() -> None:
    bench, process = away()
    apps.heartbeat(bench.state, process, {"n": 2}, bench.now)
    assert bench.state.sends == []


def test_a_greeting_whose_connection_is_gone_counts_but_is_not_answered() -> None:
    bench, process = away()
    process.greeting = Greeting(2)
    apps.hello_part(bench.state, process, part(), bench.now)
    assert bench.state.sends == []
    assert set(bench.state.sessions) == {"s2"}
    process.greeting = Greeting(2)
    apps.hello_part(bench.state, process, part(*(session(f"x{n}") for n in range(5))), bench.now)
    assert bench.state.sends == []
    assert process.greeting is None
    assert set(bench.state.sessions) == {"s2"}


def test_a_refusal_or_a_kill_without_a_connection_is_not_sent() -> None:
    bench, process = away()
    apps.register(bench.state, process, session("s2"), bench.now)
    commands.kill_again(bench.state, process, Tombstone("s9", 9, "killed", WALL, "c", "proc"))
    assert bench.state.sends == []
    assert bench.state.sessions["s2"].process.instance == "other"


# --- guards against our own mistakes -------------------------------------------------------------


def test_a_part_without_a_greeting_is_a_mistake_of_ours() -> None:
    bench, process = away()
    with pytest.raises(RuntimeError, match="no greeting is under way"):
        apps._greeting_part(bench.state, process, part(), bench.now)


def test_an_app_without_its_process_is_a_mistake_of_ours() -> None:
    bench, _ = away()
    peer = Peer(b"x", "app", "nobody", 0.0)
    with pytest.raises(RuntimeError, match="an app's peer has a process"):
        apps.receive(bench.state, peer, {"k": "heartbeat", "n": 1}, bench.now)


def test_the_end_of_a_commit_that_never_began_is_a_mistake_of_ours() -> None:
    bench = Bench()
    with pytest.raises(RuntimeError, match="no batch is being committed"):
        bench.registry.committed(0.0, bench.now)


# --- the checks themselves -----------------------------------------------------------------------


def broken() -> Bench:
    """A state to be sabotaged: a live session under an open kill, and an operator."""
    bench = Bench()
    bench.app(b"a", session("s1"), session("s2"))
    bench.operator()
    bench.say(b"op", "kill", r=1, s="s1")
    bench.commit()
    return bench


def _misfile(state: Any) -> None:
    state.sessions["x"] = state.sessions.pop("s2")


def _shuffle(state: Any) -> None:
    state.sessions["s1"].seq = 99


def _bury(state: Any) -> None:
    state.bury(Tombstone("s1", 1, "closed", WALL, None, "proc"))


def _forget_app(state: Any) -> None:
    state.by_app["none"] = InOrder()


def _restate(state: Any) -> None:
    state.sessions["s1"].status = "elsewhere"


def _keep_in_order(state: Any) -> None:
    state.in_order.append(state.sessions["s2"])


def _forget_peer(state: Any) -> None:
    del state.peers[b"a"]


def _wait_for_nothing(state: Any) -> None:
    state.processes["proc"].undelivered["gone"] = 0.0


def _pend_on_nobody(state: Any) -> None:
    (command,) = state.commands.values()
    command.pending["gone"] = None


def _finish_early(state: Any) -> None:
    (command,) = state.commands.values()
    command.finished_at = WALL


def _lose_command(state: Any) -> None:
    state.open_commands.clear()


def _miscount(state: Any) -> None:
    state.waiter_count = 7


SABOTAGE: list[tuple[Callable[[Any], None], str]] = [
    (_misfile, "x is filed under another id"),
    (_shuffle, "s2 breaks the order of seq"),
    (_bury, "s1 lives and is buried"),
    (_forget_app, "an app without sessions is kept"),
    (_restate, "statuses are miscounted"),
    (_keep_in_order, "the order holds sessions that are gone"),
    (_forget_peer, "proc: a route of another"),
    (_wait_for_nothing, "proc waits for a forgotten command"),
    (_pend_on_nobody, "waits for gone, which is gone"),
    (_finish_early, "finished and pending, or neither"),
    (_lose_command, "is neither open nor finished, or both"),
    (_miscount, "waiters are miscounted"),
]


@pytest.mark.parametrize(("sabotage", "text"), SABOTAGE)
def test_a_state_that_contradicts_itself_is_noticed(
    sabotage: Callable[[Any], None], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = broken()
    validate(bench.registry)
    sabotage(bench.state)
    with pytest.raises(Violation):
        validate(bench.registry)
    found: list[str] = []
    monkeypatch.setattr(checks, "_must", lambda truth, what: None if truth else found.append(what))
    validate(bench.registry)
    assert any(text in what for what in found), found


def test_a_bound_that_is_broken_is_noticed() -> None:
    bench = broken()
    bench.state.settings = Settings(max_sessions=1)
    with pytest.raises(Violation, match="too many sessions"):
        validate(bench.registry)
