"""Peers that ask for more than they take: what the bus holds for them is bounded, in bytes too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from threading import Event
from typing import Any

import pytest
import zmq

from broker import server
from broker.registry.effects import FEED_BUDGET
from broker.sockets import FEED_QUEUE, ROUTER_QUEUE, Sockets
from broker.unread import LARGE, MAX_UNREAD_PEER, Unread
from sessionclient.wire import encode
from tests.broker.raw import RawPeer
from tests.broker.running import RunningBus
from tests.support.bench import greeting, session
from tests.support.processes import eventually, free_port

SESSIONS = 1_000
PAGE_BYTES = 200_000  # less than a page of so many sessions
KERNEL_BYTES = 16 << 20  # more than the sockets of one connection hold on both sides


@pytest.fixture
def greedy(running: RunningBus) -> Iterator[RawPeer]:
    """A connection whose own end holds next to nothing unread."""
    with RawPeer(running.address, queue=1) as peer:
        yield peer


def fill(bus: RunningBus) -> None:
    with RawPeer(bus.address) as app:
        app.greet("app", *(session(f"s{number:04d}") for number in range(SESSIONS)))


def all_answers(peer: RawPeer) -> list[dict[str, Any]]:
    """What has come, until the answer to a last question."""
    found: list[dict[str, Any]] = []
    peer.say("get", r=1 << 40, s="s0000")
    while not found or found[-1].get("r") != 1 << 40:
        found.append(peer.answer())
    return found[:-1]


def test_large_answers_that_nobody_reads_are_bounded_and_told(
    running: RunningBus, greedy: RawPeer
) -> None:
    fill(running)
    greedy.greet("v", role="viewer")
    asked = 400  # 80 MB and more
    for number in range(asked):
        greedy.say("list", r=number)
    with RawPeer(running.address) as other:
        other.greet("w", role="viewer")
        other.say("list", r=1)
        assert other.answer()["result"]["total"] == SESSIONS  # it has nothing unread
        eventually(
            lambda: running.registry.state.stats.messages["list"] == asked + 1, "all are handled"
        )
    answers = all_answers(greedy)
    assert [answer["r"] for answer in answers] == list(range(asked))
    kinds = Counter(answer["k"] for answer in answers)
    assert 0 < kinds["reply"] < (MAX_UNREAD_PEER + KERNEL_BYTES) / PAGE_BYTES + 2
    errors = [answer for answer in answers if answer["k"] == "error"]
    assert {error["code"] for error in errors} == {"too_many"}
    assert {error["message"] for error in errors} == {
        "too many of your answers wait to be read; read them, then ask again"
    }
    greedy.say("list", r=7)  # all are read
    assert len(greedy.answer()["result"]["rows"]) == SESSIONS


def test_what_is_unread_goes_with_its_connection(running: RunningBus) -> None:
    fill(running)
    with RawPeer(running.address, queue=1) as peer:
        peer.greet("v", role="viewer")
        for number in range(300):
            peer.say("list", r=number)
        eventually(lambda: running.bus._outbox.unread.total > MAX_UNREAD_PEER / 2, "much is unread")
    eventually(lambda: running.bus._outbox.unread.total == 0, "nothing is held any more")


def test_a_command_too_large_for_a_peer_that_reads_nothing_comes_when_it_reads(
    running: RunningBus, greedy: RawPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:064d}" for number in range(1_500)]  # a command of 90 kB
    greedy.greet_in_parts("app", [session(name) for name in names])
    greedy.tell("hello_part", sessions=[], ended=[], last=True)
    while greedy.answer() != {"k": "ack", "n": 2}:
        pass
    mine, unread = running.registry.state.processes["app"].route, running.bus._outbox.unread
    monkeypatch.setattr(unread, "has_room", lambda route: route != mine)
    with RawPeer(running.address) as operator:
        operator.greet("op", role="operator")
        operator.say("kill_all", r=1, app="sales")
        command_id = operator.answer()["result"]["command_id"]
        assert greedy.silent(200)  # pushed again and again, each time without room
        operator.say("command_state", r=2, c=command_id)
        assert operator.answer()["result"]["stage"] == "requested"
    monkeypatch.undo()
    command = greedy.answer()
    assert (command["k"], command["c"], command["s"]) == ("command", command_id, names)


def test_a_kill_of_a_peer_that_reads_nothing_stays_pending_until_it_reads(
    running: RunningBus, greedy: RawPeer
) -> None:
    greedy.greet("app", session("s1"))
    assert greedy.answer()["k"] == "ack"
    asked = 120_000  # each is answered with 120 bytes, and more than the kernel holds
    for number in range(asked):
        greedy.say("list", r=number)
    rejected = running.registry.state.stats.rejected
    eventually(lambda: rejected["forbidden"] == asked, "all are handled", 60.0)
    with RawPeer(running.address) as operator:
        operator.greet("op", role="operator")
        operator.say("kill", r=1, s="s1", reason="enough")
        command_id = operator.answer()["result"]["command_id"]
        operator.say("command_state", r=2, c=command_id)
        assert operator.answer()["result"]["stage"] == "requested"
        heard: Counter[str] = Counter()
        while True:
            message = greedy.answer()
            heard[message["k"]] += 1
            if message["k"] == "command":
                break
        assert message == {"k": "command", "c": command_id, "command": "kill", "s": ["s1"],
                           "reason": "enough"}  # fmt: skip
        assert heard["error"] < asked  # what did not fit was dropped, not kept
        greedy.tell("delivered", c=command_id)
        operator.say("command_state", r=3, c=command_id, wait=20.0)
        greedy.tell("end", s="s1", reason="killed")
        assert operator.answer()["result"]["stage"] == "completed"


def test_what_a_peer_that_does_not_read_is_owed_is_bounded_in_number() -> None:
    """The queue itself, without a broker around it."""
    sockets, bus = Sockets(), f"tcp://127.0.0.1:{free_port()}"
    sockets.bind(bus, f"tcp://127.0.0.1:{free_port()}")
    try:
        with RawPeer(bus, queue=1) as peer:
            peer.send(b"hello")
            route = sockets.router.recv_multipart()[0]
            sent = 0
            with suppress(zmq.Again):
                while sent < 20_000:
                    sockets.router.send_multipart([route, bytes(LARGE)], zmq.NOBLOCK)
                    sent += 1
            assert ROUTER_QUEUE <= sent < ROUTER_QUEUE + KERNEL_BYTES / LARGE
    finally:
        sockets.close()


def test_a_subscriber_that_does_not_read_has_a_bounded_number_of_messages_waiting() -> None:
    sockets, feed = Sockets(), f"tcp://127.0.0.1:{free_port()}"
    sockets.bind(f"tcp://127.0.0.1:{free_port()}", feed)
    published, size = 4 * FEED_QUEUE, 64 * 1024
    try:
        with RawPeer(feed, zmq.SUB, queue=1) as slow:
            slow.socket.set(zmq.SUBSCRIBE, b"")

            def subscribed() -> bool:
                sockets.feed.send(b"first", zmq.NOBLOCK)
                return not slow.silent(20)

            eventually(subscribed, "it hears")
            for number in range(published):
                sockets.feed.send(number.to_bytes(4, "big") + bytes(size), zmq.NOBLOCK)
            heard = []
            while not slow.silent(500):
                heard.append(slow.socket.recv())
        numbers = [int.from_bytes(data[:4], "big") for data in heard if data != b"first"]
        assert FEED_QUEUE / 2 < len(numbers) < FEED_QUEUE + KERNEL_BYTES / size
        assert numbers == sorted(numbers)
    finally:
        sockets.close()


def test_changes_that_can_not_be_published_as_fast_as_they_come_are_not_read_so_fast(
    running: RunningBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"s{number}" for number in range(100)]
    monkeypatch.setattr(server, "FEED_BACKLOG", 150)
    handle, feed = running.registry.handle, running.registry.state.feed
    waiting: list[int] = []

    def watched(*arguments: Any) -> None:
        waiting.append(len(feed.changes))
        handle(*arguments)

    monkeypatch.setattr(running.registry, "handle", watched)
    with RawPeer(running.address) as app:
        for number in range(200):
            status = "idle" if number % 2 else "running"
            entries = [session(name, status=status) for name in names]
            app.number += 1
            app.say("hello", **greeting("app", "app", app.number, sessions=entries))
        eventually(lambda: len(waiting) == 200, "all are handled")
    assert max(waiting) < 150


def test_messages_that_cost_much_leave_a_turn_to_the_rest_of_the_loop(
    running: RunningBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without time for a second message, each has a turn of its own."""
    fill(running)
    handle, turn, turns = running.registry.handle, running.bus._turn, Counter[str]()
    all_sent = Event()

    def held(*arguments: Any) -> None:
        assert all_sent.wait(20.0)  # so that all the others are there already
        handle(*arguments)

    def counted() -> None:
        turns["turns"] += 1
        turn()

    asked = 200
    with RawPeer(running.address) as viewer:
        viewer.greet("v", role="viewer")
        monkeypatch.setattr(server, "DRAIN_SECONDS", 0.0)
        monkeypatch.setattr(running.registry, "handle", held)
        monkeypatch.setattr(running.bus, "_turn", counted)
        for number in range(asked):
            viewer.say("get", r=number, s="s0000")
        all_sent.set()
        assert [viewer.answer()["r"] for _ in range(asked)] == list(range(asked))
    assert turns["turns"] >= asked


def test_a_message_of_the_feed_keeps_to_its_budget(running: RunningBus) -> None:
    wide = "\N{GRINNING FACE}" * 255
    context = zmq.Context()
    with context, context.socket(zmq.SUB) as feed, RawPeer(running.address) as app:
        feed.set(zmq.LINGER, 0)
        feed.set(zmq.RCVTIMEO, 20_000)
        feed.set(zmq.SUBSCRIBE, b"")
        feed.connect(running.feed)
        feed.recv()  # a beat: it has subscribed
        entries = [session(f"s{number}", app=wide, status=wide) for number in range(400)]
        app.say("hello", **greeting("app", "wide", 1, sessions=entries) | {"host": wide})
        sizes = [len(feed.recv()) for _ in range(4)]
    assert max(sizes) <= FEED_BUDGET


# --- the count of what is unread -----------------------------------------------------------------


class Tracker:
    """Of a message that is sent when the test says so."""

    def __init__(self) -> None:
        self.done = False


def test_a_peers_share_and_that_of_all_are_counted_by_bytes() -> None:
    unread = Unread(peer_limit=100, limit=250)
    trackers: dict[bytes, list[Any]] = {}

    def add(route: bytes, size: int) -> None:
        tracker: Any = Tracker()
        trackers.setdefault(route, []).append(tracker)
        unread.add(route, size, tracker)

    assert unread.has_room(b"a")
    add(b"a", 99)
    assert unread.has_room(b"a")
    add(b"a", 1)
    assert not unread.has_room(b"a")
    assert unread.has_room(b"b")
    trackers[b"a"][1].done = True  # out of order, which is not possible: it waits for the first
    assert not unread.has_room(b"a")
    trackers[b"a"][0].done = True
    assert unread.has_room(b"a")
    assert unread.total == 0
    for route in (b"b", b"c", b"d", b"e"):
        add(route, 70)
    assert not unread.has_room(b"e")  # below its own share, but together they have too much
    assert unread.has_room(b"f")  # which has nothing yet
    trackers[b"b"][0].done = True
    assert unread.has_room(b"e")  # the sum is looked at again
    assert unread.total == 210
    for sent in trackers.values():
        for tracker in sent:
            tracker.done = True
    unread.sweep()
    assert (unread.total, unread._held) == (0, {})


def test_an_error_fits_below_what_is_counted() -> None:
    assert (
        len(encode({"k": "error", "r": 1 << 62, "code": "too_many", "message": "x" * 2000})) < LARGE
    )
