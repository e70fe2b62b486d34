"""The bus on real sockets, over a store that fails, hangs and recovers as the test wants."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
import zmq

from broker.server import COMMAND_GATHER, DRAIN_LIMIT
from broker.store import (
    Batch,
    StoreUnavailable,
    StoreUnusable,
)
from broker.writer import MAX_READS
from sessionclient.wire import FEED, decode
from tests.broker.raw import RawPeer
from tests.broker.running import SOON, RunningBus, ask
from tests.support.bench import session
from tests.support.processes import eventually


def test_a_failing_store_degrades_the_bus_and_a_later_commit_mends_it(
    running: RunningBus, operator: RawPeer, caplog: pytest.LogCaptureFixture
) -> None:
    running.store.error = running.store.read_error = StoreUnavailable("the disk is ill", "io")
    answer = ask(operator, "create", app="web")
    assert (answer["code"], answer["message"]) == (
        "unavailable",
        "not registered: the disk is ill",
    )
    eventually(lambda: running.store.attempts > 3, "it tries again and again")
    assert ask(operator, "stats")["health"]["cause"] == "io"
    assert ask(operator, "list")["total"] == 0
    assert ask(operator, "tasks", s="id1")["code"] == "unavailable"
    running.store.error = running.store.read_error = None
    eventually(lambda: ask(operator, "stats")["health"]["status"] == "ok", "it is mended")
    ask(operator, "create", app="web")
    assert running.store.apps() == ["web"]
    told = [(r.levelno, r.getMessage()) for r in caplog.records if "database" in r.getMessage()]
    assert told == [
        (logging.ERROR, "the database took nothing: the disk is ill"),
        (logging.WARNING, "the database takes writes again"),
    ]


def test_a_full_disk_refuses_what_is_new_at_once_and_goes_on_with_what_was_accepted(
    running: RunningBus, operator: RawPeer
) -> None:
    with RawPeer(running.address) as app:
        app.greet("app", session("s1"), session("s2"))
        accepted = ask(operator, "kill", s="s1")
        assert accepted["stage"] == "requested"
        running.store.error = StoreUnavailable("no space left", "full")
        eventually(lambda: ask(operator, "stats")["health"]["cause"] == "full", "it is noticed")
        running.store.gate.clear()  # the disk need not even be asked
        for kind, fields in (("kill", {"s": "s2"}), ("kill_all", {"app": "sales"})):
            answer = ask(operator, kind, **fields)
            assert (answer["code"], answer["message"]) == (
                "unavailable",
                "not accepted, nothing was killed: no space left",
            )
        assert ask(operator, "create", app="w")["message"] == "not registered: no space left"
        running.store.gate.set()
        while app.answer()["k"] != "command":
            pass  # the acknowledgement of the hello
        app.tell("delivered", c=accepted["command_id"])
        app.tell("end", s="s1", reason="killed")
        wanted = {"c": accepted["command_id"], "wait": 10.0}
        assert ask(operator, "command_state", **wanted)["stage"] == "completed"
        assert [row["session_id"] for row in ask(operator, "list")["rows"]] == ["s2"]
        running.store.error = None
        eventually(lambda: ask(operator, "stats")["health"]["cause"] is None, "there is space")
        assert ask(operator, "kill", s="s2")["stage"] == "requested"


def test_an_idle_broker_looks_at_its_store_every_second(running: RunningBus) -> None:
    eventually(lambda: len(running.store.probes) >= 2, "two looks")
    assert running.store.attempts == 0
    running.store.error = StoreUnusable("sessions.db was removed")
    running.join()
    assert running.bus.failure == "sessions.db was removed"
    assert running.store.closed


@pytest.mark.parametrize(("cause", "probes"), [("full", True), ("io", False)])
def test_what_waits_for_the_disk_is_its_probe_unless_that_is_full(
    running: RunningBus, cause: str, probes: bool
) -> None:
    """A full disk takes what was accepted from the reserve, so it proves nothing."""
    running.store.error = StoreUnavailable("ill", cause)
    with RawPeer(running.address) as app:
        app.greet("app", session("s1"))  # whose row waits from now on
        eventually(lambda: running.store.attempts > 1, "it was tried")
        looks = len(running.store.probes)
        eventually(lambda: len(running.store.probes) >= looks + 2, "two more looks")
    assert running.store.probes[-1] is probes


def test_a_look_waits_for_the_disk_and_no_second_one_is_put_behind_it(
    running: RunningBus, operator: RawPeer
) -> None:
    eventually(lambda: running.store.probes, "a first look")
    running.store.gate.clear()
    seconds: list[float] = []
    running.bus.every_second = seconds.append
    eventually(lambda: len(seconds) >= 3, "three seconds")
    looks = len(running.store.probes)
    assert ask(operator, "list")["total"] == 0
    running.store.gate.set()
    eventually(lambda: len(running.store.probes) > looks, "the look")
    assert len(running.store.probes) <= looks + 2


def test_damage_met_by_reading_ends_the_bus_with_its_reason(
    running: RunningBus, operator: RawPeer
) -> None:
    ask(operator, "create", app="web")
    running.store.read_error = StoreUnusable("sessions.db is damaged")
    answer = ask(operator, "tasks", s="id1")
    assert answer["message"] == "can't read tasks: sessions.db is damaged"
    running.join()
    assert running.bus.failure == "sessions.db is damaged"


def test_a_backup_is_answered_when_it_is_done_and_holds_up_nothing(
    running: RunningBus, operator: RawPeer
) -> None:
    operator.say("backup", r=5, file="a.db")
    assert running.store.copying.wait(SOON)
    ask(operator, "create", app="web")
    assert running.store.apps() == ["web"]
    second = ask(operator, "backup", file="b.db")
    assert (second["code"], second["message"]) == (
        "conflict",
        "no backup was made: another one is under way",
    )
    running.store.copy_gate.set()
    answer = operator.answer()
    assert answer == {"k": "reply", "r": 5, "result": {"file": "/data/a.db", "bytes": 4096}}
    eventually(lambda: not running.bus._backups.busy, "its thread has ended")
    refused = ask(operator, "backup", file="taken.db")
    assert refused["code"] == "conflict"
    assert refused["message"] == "no backup was made: taken.db exists already"


def test_stopping_gives_up_a_backup(running: RunningBus, operator: RawPeer) -> None:
    operator.say("backup", r=5, file="a.db")
    assert running.store.copying.wait(SOON)
    running.bus.stop()
    running.join()
    assert not running.bus._backups.busy


def test_an_unusable_store_ends_the_bus_with_its_reason(
    running: RunningBus, operator: RawPeer
) -> None:
    running.store.error = StoreUnusable("sessions.db was replaced")
    operator.say("create", r=1, app="web")
    running.join()
    assert running.bus.failure == "sessions.db was replaced"
    assert running.store.closed


def test_nothing_waits_for_the_disk_but_what_needs_it(
    running: RunningBus, operator: RawPeer
) -> None:
    running.store.gate.clear()
    operator.say("create", r=7, app="web")
    for _ in range(20):
        assert ask(operator, "list")["total"] == 1
    assert operator.silent()
    running.store.gate.set()
    assert operator.answer()["r"] == 7


def test_a_command_goes_to_the_disk_before_the_messages_behind_it_are_handled(
    running: RunningBus, operator: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(operator, "create", app="web")
    eventually(lambda: not running.registry.unsaved(), "nothing else waits for the disk")
    happened: list[str] = []
    held = threading.Event()
    handle, submit = running.registry.handle, running.bus._writer.submit

    def handled(route: bytes, message: dict[str, Any], *more: Any) -> None:
        if message["k"] == "stats":
            assert held.wait(SOON)  # until everything else is there
        happened.append(message["k"])
        handle(route, message, *more)

    def submitted(batch: Batch) -> None:
        happened.append("commit" if batch.commands else "other commit")
        submit(batch)

    monkeypatch.setattr(running.registry, "handle", handled)
    monkeypatch.setattr(running.bus._writer, "submit", submitted)
    operator.say("stats", r=1)
    for number in range(100):
        operator.say("get", r=2 + number, s="nobody")
    operator.say("kill", r=0, s="nobody", key="k1")
    operator.say("kill_all", r=0, app="web")
    for number in range(100):
        operator.say("get", r=200 + number, s="nobody")
    held.set()
    eventually(lambda: happened.count("get") == 200 and "commit" in happened, "all is handled")
    assert happened.index("commit") - happened.index("kill_all") <= COMMAND_GATHER


def test_a_slow_disk_holds_up_neither_heartbeats_nor_pushes(
    running: RunningBus, operator: RawPeer
) -> None:
    with RawPeer(running.address) as app:
        app.greet("app", session("s1"))
        command = ask(operator, "kill", s="s1")["command_id"]
        running.store.gate.clear()
        operator.say("create", r=7, app="web")
        pushed = beaten = 0
        while pushed < 3 or beaten < 20:  # pushed again and again until it is acknowledged
            app.tell("heartbeat")
            beaten += 1
            while app.socket.poll(10):
                answer = app.answer()
                pushed += answer["k"] == "command" and answer["c"] == command
        before = ask(operator, "get", s="s1")["row"]["heard"]
        app.tell("heartbeat")
        eventually(lambda: ask(operator, "get", s="s1")["row"]["heard"] > before, "it is heard")
        assert operator.silent()
        running.store.gate.set()
        assert operator.answer()["r"] == 7


def test_questions_beyond_a_bound_are_told_that_the_disk_is_busy(
    running: RunningBus, operator: RawPeer
) -> None:
    ask(operator, "create", app="web")
    running.store.gate.clear()
    operator.say("create", r=1, app="web")
    ask(operator, "stats")  # the batch is with the writer now
    for number in range(MAX_READS + 3):
        operator.say("tasks", r=100 + number, s="id1")
    early = [operator.answer() for _ in range(3)]
    assert [answer["code"] for answer in early] == ["unavailable"] * 3
    assert "too many questions wait for the disk already" in early[0]["message"]
    running.store.gate.set()
    rest = [operator.answer() for _ in range(MAX_READS + 1)]
    # the look at the disk, once a second, may have taken one of the places
    assert sum(answer["k"] == "reply" for answer in rest) >= MAX_READS


def test_a_peer_that_has_gone_is_noticed_when_something_is_sent_to_it(
    running: RunningBus, operator: RawPeer
) -> None:
    with RawPeer(running.address) as app:
        app.greet("app", session("s1"))
    assert ask(operator, "kill", s="s1")["stage"] == "requested"
    # pushed until the sending fails; which it does once the connection's end has arrived
    eventually(lambda: ask(operator, "stats")["peers"] == 1, "the route is forgotten")
    assert ask(operator, "get", s="s1")["row"]["kill_stage"] == "requested"


def test_the_feed_tells_changes_and_beats_when_there_are_none(
    running: RunningBus, operator: RawPeer
) -> None:
    context = zmq.Context()
    with context, context.socket(zmq.SUB) as feed:
        feed.set(zmq.LINGER, 0)
        feed.set(zmq.RCVTIMEO, int(SOON * 1000))
        feed.set(zmq.SUBSCRIBE, b"")
        feed.connect(running.feed)
        beat = decode(feed.recv(), FEED)
        assert beat["changes"] == []
        assert beat["health"]["status"] == "ok"
        ask(operator, "create", app="web")
        while not (message := decode(feed.recv(), FEED))["changes"]:
            pass  # another beat
        assert message["n"] == beat["n"] + 1
        assert [change[0] for change in message["changes"]] == ["+"]
        while decode(feed.recv(), FEED)["n"] != message["n"]:
            pass  # what followed the session's row; then it beats again


def test_a_long_burst_of_changes_goes_out_in_turns_and_in_order(running: RunningBus) -> None:
    context = zmq.Context()
    names = [f"s{number}" for number in range(6_000)]
    with context, context.socket(zmq.SUB) as feed, RawPeer(running.address) as app:
        feed.set(zmq.LINGER, 0)
        feed.set(zmq.RCVTIMEO, int(SOON * 1000))
        feed.set(zmq.SUBSCRIBE, b"")
        feed.connect(running.feed)
        feed.recv()
        for start in range(0, len(names), 1_000):
            part = [session(name) for name in names[start : start + 1_000]]
            last = start + 1_000 == len(names)
            if start == 0:
                app.greet_in_parts("app", part)
            else:
                app.tell("hello_part", sessions=part, ended=[], last=last)
        seen: list[str] = []
        while len(seen) < len(names):
            changes = decode(feed.recv(), FEED)["changes"]
            seen += [change[1]["session_id"] for change in changes if change[0] == "+"]
        assert seen == names


def test_stopping_keeps_what_was_accepted_and_lets_others_end_first(running: RunningBus) -> None:
    with RawPeer(running.address) as app:
        app.greet("app", session("s1"))
        running.bus.stop()
        running.join()
    assert running.store.apps() == ["sales"]
    assert running.asked_before_finish == 1
    assert running.store.closed
    assert running.bus.failure is None


def test_stopping_waits_for_the_disk(operator: RawPeer, running: RunningBus) -> None:
    running.store.gate.clear()
    operator.say("create", r=1, app="web")
    assert ask(operator, "list", app="none")["total"] == 0
    running.bus.stop()
    eventually(lambda: running.asked_before_finish, "it is about to end")
    assert running.store.apps() == []
    running.store.gate.set()
    assert operator.answer()["r"] == 1
    running.join()
    assert running.store.apps() == ["web"]


def test_stopping_again_and_again_before_it_runs_is_stopping() -> None:
    running = RunningBus(alone=True)
    for _ in range(100_000):  # more wake-ups than a pipe holds
        running.bus.stop()
    with running:
        running.join()
    assert running.store.closed


def test_a_signal_that_comes_after_the_end_does_nothing(running: RunningBus) -> None:
    running.bus.stop()
    running.join()
    running.bus.stop()


def test_every_second_it_calls_whoever_watches() -> None:
    running = RunningBus()
    times: list[float] = []
    running.bus.every_second = times.append
    with running:
        eventually(lambda: len(times) >= 3, "three calls")
    assert times[1] - times[0] >= 1.0
    assert times[2] - times[1] >= 1.0


def test_a_flood_of_what_is_no_message_is_answered_in_full_and_logged_once(
    running: RunningBus, operator: RawPeer, caplog: pytest.LogCaptureFixture
) -> None:
    count = 4 * DRAIN_LIMIT
    for number in range(count):
        operator.send(*[b"\xc1"] * (1 + number % 2 * 2))
    texts = {operator.answer()["message"] for _ in range(count)}
    assert len(texts) == 2
    assert ask(operator, "stats")["rejected"] == {
        "malformed": count // 2,
        "extra_frames": count // 2,
    }
    logged = [text for text in caplog.messages if text.startswith("refused")]
    assert len(logged) == 1
    assert "refused 1 malformed messages, last: " in logged[0]
