"""The client's sockets: the monitor is read in any state (unread, it stalls libzmq after some 770
connections, and with it everything else on that context), and nothing waits for a connection."""

from __future__ import annotations

import gc
import socket
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest
import zmq

from sessionclient import io_thread
from sessionclient.io_thread import HANG_UPS, LINGER, IoThread
from sessionclient.link import Effect, Reset, Send
from sessionclient.wire import TO_BROKER, Message, decode, encode
from tests.support.processes import eventually, free_port

CONNECTIONS = 1_500
AT_ONCE = 25  # messages in one turn
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32)
_READY = b"\x05READY\x0bSocket-Type" + (6).to_bytes(4, "big") + b"ROUTER"
READY = b"\x04" + bytes([len(_READY)]) + _READY


class Fickle:
    """A broker that shakes hands and hangs up, for as long as it is let."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            with peer, suppress(ConnectionError):  # the client may hang up first, as at its end
                peer.settimeout(20.0)
                peer.sendall(GREETING + READY)
                received = b""
                while b"DEALER" not in received and (data := peer.recv(4096)):
                    received += data

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(20.0)
        assert not self._thread.is_alive()


class Machine:
    """Counts what it is told, and may want a new socket for each connection."""

    def __init__(self, resets: bool) -> None:
        self.connections = 0
        self.ends = 0
        self.gone = threading.Event()
        self.received_kinds: list[str] = []
        self._resets = resets
        self._effects: list[Effect] = []

    def connected(self, now: float) -> None:
        self.connections += 1

    def disconnected(self, now: float) -> None:
        self.ends += 1
        if self._resets and self.ends % 50 == 0:
            self._effects.append(Reset())

    def rejected(self, why: str, dead: bool, now: float) -> None:
        raise AssertionError(f"there are no keys here: {why}, {dead}, {now}")

    def received(self, message: Message, now: float) -> None:
        self.received_kinds.append(str(message["k"]))

    def fed(self, message: Message, now: float) -> None: ...
    def wake(self, now: float) -> bool:
        return False

    def tick(self, now: float) -> None: ...
    def next_deadline(self) -> float:
        return float("inf")

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def closing(self, now: float) -> None: ...
    def settled(self) -> bool:
        return True

    def closed(self) -> None:
        self.gone.set()


@pytest.fixture
def fickle() -> Iterator[Fickle]:
    broker = Fickle()
    yield broker
    broker.close()


@pytest.mark.parametrize("resets", [False, True], ids=["one socket", "new sockets"])
def test_a_broker_that_hangs_up_again_and_again_stalls_nothing(
    fickle: Fickle, resets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_thread, "RECONNECT_MS", 1)
    monkeypatch.setattr(io_thread, "RECONNECT_MAX_MS", 1)
    machine = Machine(resets)
    thread = IoThread(fickle.address, machine)
    thread.start()
    try:
        eventually(lambda: machine.connections >= CONNECTIONS, "it connects again each time", 60.0)
        eventually(lambda: machine.ends >= CONNECTIONS - 50, "and hears of each end", 60.0)
    finally:
        thread.close(0.0)
    assert machine.gone.wait(20.0)


class Talkative(Machine):
    """Says a few things at once, and more of one in each turn when it is asked to."""

    def __init__(self, *said: Message) -> None:
        super().__init__(resets=False)
        self.more: Message | None = None
        self.turns = 0
        self._effects = [Send(message) for message in said]

    def tick(self, now: float) -> None:
        self.turns += 1
        if self.more is not None:
            self._effects += [Send(self.more)] * AT_ONCE


def beat(number: int, size: int = 0) -> Message:
    return {"k": "heartbeat", "n": number, "filling": bytes(size)}


def turns(thread: IoThread, machine: Talkative, count: int) -> None:
    """Let the thread go round so often."""

    def gone_round() -> bool:
        thread.wake()
        return machine.turns >= count

    eventually(gone_round, "the thread goes round")


@contextmanager
def deaf_broker(address: str) -> Iterator[zmq.Socket[bytes]]:
    """One that reads nothing by itself."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set(zmq.RCVHWM, 1)
        router.set(zmq.LINGER, 0)
        router.bind(address)
        yield router


def numbers(thread: IoThread, router: zmq.Socket[bytes], last: int) -> list[int]:
    """What arrives while the thread goes round, up to the last."""
    found: list[int] = []

    def arrived() -> bool:
        thread.wake()
        while router.poll(0):
            _, payload = router.recv_multipart()
            found.append(int(decode(payload, TO_BROKER)["n"]))
        return last in found

    eventually(arrived, "the last one arrives")
    return found


def test_what_is_said_without_a_connection_is_not_kept_for_the_next_one() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    machine = Talkative(beat(1))
    thread = IoThread(address, machine)
    thread.start()
    try:
        turns(thread, machine, 3)
        machine.more = beat(2)
        with deaf_broker(address) as router:
            turns(thread, machine, 4)
            assert set(numbers(thread, router, 2)) == {2}
    finally:
        thread.close(0.0)
    assert machine.gone.wait(20.0)


def test_what_a_broker_does_not_read_is_bounded_and_holds_up_no_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(io_thread, "QUEUE", 10)
    monkeypatch.setattr(io_thread, "PING_MS", 600_000)  # it is not taken for gone
    address = f"tcp://127.0.0.1:{free_port()}"
    machine = Talkative()
    thread = IoThread(address, machine)
    with deaf_broker(address) as router:
        thread.start()
        eventually(lambda: machine.connections, "it is connected")
        machine.more = beat(1, 100_000)
        turns(thread, machine, machine.turns + 20)
        machine.more = beat(2)
        kept = numbers(thread, router, 2)
        assert kept.count(1) < 250  # the queue, and what the kernel holds
        # so much that the kernel can't hold it, however slow libzmq's own thread is
        machine.more = beat(3, 500_000)
        turns(thread, machine, machine.turns + 100)
        thread.close(0.0)
        eventually(lambda: not thread.alive, "it has ended, read or not")


def test_what_is_no_message_is_counted_and_the_next_one_is_heard() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    machine = Talkative()
    thread = IoThread(address, machine)
    with deaf_broker(address) as router:
        thread.start()
        eventually(lambda: machine.connections, "it is connected")
        machine.more = beat(1)
        thread.wake()
        route, _ = router.recv_multipart()
        for nonsense in ([b"\xc1"], [b""], [encode({"k": "welcome"})], [b"two", b"frames"]):
            router.send_multipart([route, *nonsense])
        router.send_multipart([route, encode({"k": "say_hello"})])
        eventually(lambda: machine.received_kinds == ["say_hello"], "it is heard")
        assert thread.malformed == 4
        thread.close(0.0)
    assert machine.gone.wait(20.0)


class Busy(Machine):
    """Finds changes in its inbox for as long as somebody puts some into it."""

    def __init__(self) -> None:
        super().__init__(resets=False)
        self.inbox: deque[int] = deque()
        self.found: list[int] = []
        self.looks = 0
        self.goes_on = False

    def wake(self, now: float) -> bool:
        self.looks += 1
        before = len(self.found)
        while self.inbox:
            self.found.append(self.inbox.popleft())
        return self.goes_on or len(self.found) > before


@pytest.fixture
def busy() -> Iterator[tuple[IoThread, Busy]]:
    machine = Busy()
    thread = IoThread(f"tcp://127.0.0.1:{free_port()}", machine)
    thread.start()
    yield thread, machine
    thread.close(0.0)
    assert machine.gone.wait(20.0)


def test_a_thread_looks_for_more_by_itself_while_changes_follow_each_other(
    busy: tuple[IoThread, Busy], monkeypatch: pytest.MonkeyPatch
) -> None:
    thread, machine = busy
    machine.goes_on = True
    thread.wake()
    eventually(lambda: machine.looks > 3, "it looks again and again")
    woken: list[bool] = []
    monkeypatch.setattr(thread, "wake", lambda: woken.append(True))
    for number in range(100):
        machine.inbox.append(number)
        thread.wake_soon()
    eventually(lambda: machine.found == list(range(100)), "it finds them")
    assert len(woken) < 50  # none but for a moment's look


def test_no_change_is_overlooked_however_late_it_comes(busy: tuple[IoThread, Busy]) -> None:
    thread, machine = busy
    for number in range(300):
        machine.inbox.append(number)
        thread.wake_soon()
        # at once, while it lingers, and when it has just gone to sleep
        threading.Event().wait((0.0, LINGER / 2, LINGER, 1.5 * LINGER)[number % 4])
    eventually(lambda: machine.found == list(range(300)), "it finds them all")


def test_a_thread_that_found_nothing_more_sleeps(busy: tuple[IoThread, Busy]) -> None:
    thread, machine = busy
    machine.inbox.append(1)
    thread.wake_soon()
    eventually(lambda: machine.found == [1] and not thread._lingers, "it goes to sleep")
    looks = machine.looks
    assert not machine.gone.wait(10 * LINGER)
    assert machine.looks <= looks + 1


class Overtaken:
    """The end of the wake-up's socket pair that the thread reads; the first time, another thread
    wakes it just before."""

    def __init__(self, thread: IoThread, machine: Busy) -> None:
        self._thread, self._machine, self._real = thread, machine, thread._wake_in
        self.first = True

    def fileno(self) -> int:
        return self._real.fileno()

    def recv(self, size: int) -> bytes:
        if self.first:
            self.first = False
            self._machine.inbox.append(2)
            self._thread.wake()
        return self._real.recv(size)

    def close(self) -> None:
        self._real.close()


def test_a_wake_up_that_comes_as_the_last_is_swallowed_is_not_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Busy()
    thread = IoThread(f"tcp://127.0.0.1:{free_port()}", machine)
    monkeypatch.setattr(thread, "_wake_in", Overtaken(thread, machine))
    thread.start()
    try:
        for number in (1, 3, 4):
            machine.inbox.append(number)
            thread.wake()
            eventually(partial(machine.found.__contains__, number), f"{number} is found")
            eventually(lambda: not thread._lingers, "it sleeps again")
    finally:
        thread.close(0.0)
    assert machine.found == [1, 2, 3, 4]


class Told(Machine):
    def __init__(self) -> None:
        super().__init__(resets=False)
        self.told: list[tuple[str, bool]] = []

    def rejected(self, why: str, dead: bool, now: float) -> None:
        self.told.append((why, dead))


def test_a_broker_that_hangs_up_in_each_handshake_is_taken_for_one_that_wants_a_key() -> None:
    machine = Told()
    thread = IoThread("tcp://127.0.0.1:1", machine)
    silent = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    for _ in range(HANG_UPS - 1):  # so often does one that only restarts not
        thread._happened(silent, 1.0)
    thread._happened(zmq.EVENT_HANDSHAKE_SUCCEEDED, 1.0)
    assert machine.told == []
    for _ in range(3 * HANG_UPS):
        thread._happened(silent, 1.0)
    ((why, dead),) = machine.told
    assert why.startswith("it asks for a key, and this client has none")
    assert not dead
    thread.close(0.0)


def test_one_that_was_never_started_leaves_nothing_open() -> None:
    gc.collect()  # what others left is not meant here
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        IoThread("tcp://127.0.0.1:1", Told()).close(0.0)
        gc.collect()
    assert [str(warning.message) for warning in told] == []
