"""The shell of a connection: one daemon thread that owns the sockets and runs a state machine.

It runs no user code. Other threads hand things over through the machine's own inbox and `wake` the
thread, which costs them one byte on a socket pair at most.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from struct import Struct
from typing import Any, Final, Protocol

import msgpack
import zmq

from sessionclient.keys import ClientKey
from sessionclient.link import Effect, Reset, Send, Subscribe, Unsubscribe
from sessionclient.wire import (
    FEED,
    FROM_BROKER,
    MAX_FRAME_BYTES,
    Message,
    WireError,
    decode,
    encode,
)

log = logging.getLogger("sessionclient")

DRAIN_LIMIT: Final = 256  # messages read from one socket before anything else gets its turn
LINGER: Final = 0.005  # seconds after a change within which the thread looks for more by itself
LONGEST_POLL: Final = 60.0  # seconds
JOIN_MARGIN: Final = 1.0  # seconds beyond its own time limit that closing waits for the thread

# Socket bounds, each on purpose. The queues hold what the broker or we can't take at once; what
# does not fit is lost, noticed by its number, and stated anew by the next hello.
QUEUE: Final = 10_000  # messages, each way
FEED_QUEUE: Final = 10_000  # feed messages while we are busy; a gap means a new snapshot
RECONNECT_MS: Final = 100  # first pause before connecting again; libzmq adds jitter of its own
RECONNECT_MAX_MS: Final = 1_000  # so that a broker that is back is found within 2 s
HANDSHAKE_MS: Final = 5_000
PING_MS: Final = 5_000  # ZMTP pings notice a network that went without a FIN
PING_TIMEOUT_MS: Final = 15_000

HANG_UPS: Final = 5  # handshakes in a row that fail without a word, until they tell something

_EVENTS: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)
# the first frame of an event: its kind and a value, as zmq_socket_monitor(3) has it; pyzmq's own
# reader of it imports asyncio, which an app would wait for at its start
_EVENT: Final = Struct("=HI")
# what nobody answers in a handshake that fails; the events are all that is told
_UNKNOWN_KEY: Final = "it does not know this client's key; add it to the broker's keys"
_NO_KEY: Final = (
    "it asks for a key, and this client has none; name one with PANELBUS_KEY (the broker's owner"
    " makes one with: panelbus keygen)"
)
_NOT_SECURE: Final = (
    "it does not speak CURVE, but this client has a key; start the broker with --keys, or unset"
    " PANELBUS_KEY"
)
# all that is told when the broker hangs up before libzmq has read what it is
_OTHER_BROKER: Final = (
    "the handshake failed; the key file's line \"server\" may be another broker's key, or "
    + _NOT_SECURE
)


class Machine(Protocol):
    """What the thread runs. Every method is called in the thread only; times are monotonic."""

    def connected(self, now: float) -> None: ...
    def disconnected(self, now: float) -> None: ...
    def rejected(self, why: str, dead: bool, now: float) -> None:
        """The handshake failed; ``dead``: nothing more will come of this socket."""

    def received(self, message: Message, now: float) -> None: ...
    def fed(self, message: Message, now: float) -> None:
        """A message of the feed."""

    def wake(self, now: float) -> bool:
        """Other threads may have put something into the inbox; whether more is likely to follow."""

    def tick(self, now: float) -> None: ...
    def next_deadline(self) -> float: ...
    def take_effects(self) -> list[Effect]: ...
    def closing(self, now: float) -> None:
        """Say goodbye; afterwards `settled` tells when nothing is left to wait for."""

    def settled(self) -> bool: ...
    def closed(self) -> None:
        """The thread is about to end; nothing will be answered any more."""


class IoThread:
    """Runs a machine on a DEALER to ``address`` until closed. Not usable in a forked child."""

    def __init__(
        self,
        address: str,
        machine: Machine,
        name: str = "panelbus-io",
        key: ClientKey | None = None,
    ) -> None:
        self.pid = os.getpid()
        self.malformed = 0  # messages from the broker that were none
        self._address = address
        self._machine = machine
        self._key = key
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._woken = False
        self._lingers = False  # it will look at the inbox soon, unasked
        self._hang_ups = 0  # in a row
        self._close_by: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether this process may use it: a forked child has no such thread."""
        return self.pid == os.getpid() and self._thread.is_alive()

    def wake(self) -> None:
        """Make the thread look at its inbox; callable from any thread, never blocks."""
        if not self._woken:
            self._woken = True
            try:
                self._wake_out.send(b"\0")
            except OSError:
                return  # a full buffer holds wake-ups enough; after closing there is nobody to wake

    def wake_soon(self) -> None:
        """The same for what can wait for `LINGER`; costs nothing while one change follows another,
        since to wake a thread takes longer than all else that a task does."""
        if not self._lingers:
            self.wake()

    def close(self, timeout: float) -> None:
        """Say goodbye for at most ``timeout`` seconds and end; from any thread, any number of
        times."""
        if self.pid != os.getpid():
            return
        if self._close_by is None:
            self._close_by = time.monotonic() + timeout
            self._woken = False
            self.wake()
        if self._thread.ident is None:  # never started, so it will not do it itself
            self._close_wakes()
        elif self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout + JOIN_MARGIN)

    def _close_wakes(self) -> None:
        self._wake_in.close()
        self._wake_out.close()

    # --- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        context = zmq.Context(io_threads=1)
        sockets = _Sockets(context, self._address, self._key, self._wake_in.fileno())
        try:
            self._loop(sockets)
        finally:
            self._machine.closed()
            sockets.close()
            context.term()
            self._close_wakes()

    def _loop(self, sockets: _Sockets) -> None:
        machine = self._machine
        goodbye_said = False
        while True:
            sockets.poll(self._timeout(goodbye_said))
            now = time.monotonic()
            for event in sockets.events():
                self._happened(event, now)
            self._drain(sockets, now)
            if sockets.woken():
                self._swallow_wakes()
            self._lingers = False  # before the look, so that what comes after it wakes the thread
            self._lingers = machine.wake(now)
            self._perform(sockets)  # before the timers: somebody may wait for what this sends
            machine.tick(now)
            if self._close_by is not None and not goodbye_said:
                goodbye_said = True
                machine.closing(now)
            self._perform(sockets)
            close_by = self._close_by
            if goodbye_said and close_by is not None and (machine.settled() or now >= close_by):
                return

    def _perform(self, sockets: _Sockets) -> None:
        for effect in self._machine.take_effects():
            sockets.perform(effect)

    def _happened(self, event: int, now: float) -> None:
        machine = self._machine
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._hang_ups = 0
            machine.connected(now)
        elif event == zmq.EVENT_DISCONNECTED:
            machine.disconnected(now)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            machine.rejected(_UNKNOWN_KEY, True, now)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            machine.rejected(_NO_KEY if self._key is None else _NOT_SECURE, True, now)
        elif self._key is not None:
            machine.rejected(_OTHER_BROKER, False, now)
        else:
            # One is but a broker that went away. One that wants a key may hang up before libzmq has
            # read so, and then this is all that is told, each time.
            self._hang_ups += 1
            if self._hang_ups == HANG_UPS:
                machine.rejected(_NO_KEY, False, now)

    def _timeout(self, closing: bool) -> float:
        deadline = min(self._machine.next_deadline(), time.monotonic() + LONGEST_POLL)
        if closing and self._close_by is not None:
            deadline = min(deadline, self._close_by)
        left = max(0.0, deadline - time.monotonic())
        return min(left, LINGER) if self._lingers else left

    def _swallow_wakes(self) -> None:
        # The flag last: else a wake-up between the two would have its byte swallowed, and the flag
        # would keep all later ones from sending any. What is there by now is found all the same.
        with suppress(BlockingIOError):  # nothing to swallow
            self._wake_in.recv(4096)
        self._woken = False

    def _drain(self, sockets: _Sockets, now: float) -> None:
        for payload in sockets.messages():
            try:
                message = decode(payload, FROM_BROKER)
            except WireError as error:
                self._count_malformed(error)
            else:
                self._machine.received(message, now)
        for payload in sockets.feed_messages():
            try:
                message = decode(payload, FEED)
            except WireError as error:
                self._count_malformed(error)
            else:
                self._machine.fed(message, now)

    def _count_malformed(self, error: WireError) -> None:
        self.malformed += 1
        if self.malformed == 1:  # once: a peer that goes on like this would fill the log
            log.warning("%s sends what is not this protocol: %s", self._address, error)


class _Sockets:
    """The DEALER, its monitor, the feed's SUB while there is one, and the poller over them."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        key: ClientKey | None,
        wake: int,
    ) -> None:
        self._context = context
        self._address = address
        self._key = key
        self._poller = zmq.Poller()
        self._poller.register(wake, zmq.POLLIN)
        self._wake = wake
        self._pack = msgpack.Packer().pack
        self._ready: set[Any] = set()
        self._feed: zmq.Socket[bytes] | None = None
        self._feed_address = ""
        self._open()

    def _open(self) -> None:
        self._dealer = self._context.socket(zmq.DEALER)
        self._bound(self._dealer, QUEUE)
        # a message waits for a finished connection only; one that is gone takes its queue along,
        # and the hello on the next one states everything
        self._dealer.set(zmq.IMMEDIATE, 1)
        self._monitor = self._dealer.get_monitor_socket(_EVENTS)
        self._dealer.connect(self._address)
        self._poller.register(self._dealer, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def _bound(self, sock: zmq.Socket[bytes], queue: int) -> None:
        sock.set(zmq.LINGER, 0)
        sock.set(zmq.SNDHWM, queue)
        sock.set(zmq.RCVHWM, queue)
        sock.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        sock.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        sock.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        sock.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        sock.set(zmq.HEARTBEAT_IVL, PING_MS)
        sock.set(zmq.HEARTBEAT_TIMEOUT, PING_TIMEOUT_MS)
        if self._key is not None:
            sock.set(zmq.CURVE_SERVERKEY, self._key.server.encode())
            sock.set(zmq.CURVE_PUBLICKEY, self._key.public.encode())
            sock.set(zmq.CURVE_SECRETKEY, self._key.secret.encode())

    def _close_dealer(self) -> None:
        self._poller.unregister(self._dealer)
        self._poller.unregister(self._monitor)
        self._dealer.disable_monitor()
        self._monitor.close()
        self._dealer.close()

    def poll(self, seconds: float) -> None:
        """Wait for anything; the readers below read nothing that this has not found ready."""
        self._ready = {ready for ready, _ in self._poller.poll(math.ceil(seconds * 1000))}

    def woken(self) -> bool:
        return self._wake in self._ready

    def events(self) -> list[int]:
        """What happened to the connection, in order."""
        found = []
        while self._monitor in self._ready:
            try:
                event, _address = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            found.append(_EVENT.unpack(event)[0])
        return found

    def messages(self) -> Iterable[bytes]:
        return _read(self._dealer) if self._dealer in self._ready else ()

    def feed_messages(self) -> Iterable[bytes]:
        feed = self._feed
        return _read(feed) if feed is not None and feed in self._ready else ()

    def perform(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            # not connected, or its queue is full: lost, which its number will show
            with suppress(zmq.Again):
                self._dealer.send(encode(effect.message, self._pack), zmq.NOBLOCK)
        elif isinstance(effect, Reset):
            self._close_dealer()
            self._open()
        elif isinstance(effect, Subscribe):
            self._subscribe(effect.address)
        elif isinstance(effect, Unsubscribe):
            self._unsubscribe()

    def _subscribe(self, address: str) -> None:
        if self._feed is not None and self._feed_address == address:
            return
        self._unsubscribe()
        self._feed = self._context.socket(zmq.SUB)
        self._bound(self._feed, FEED_QUEUE)
        self._feed.set(zmq.SUBSCRIBE, b"")
        self._feed_address = address
        self._feed.connect(address)
        self._poller.register(self._feed, zmq.POLLIN)

    def _unsubscribe(self) -> None:
        if self._feed is not None:
            self._poller.unregister(self._feed)
            self._feed.close()
            self._feed = None

    def close(self) -> None:
        self._unsubscribe()
        self._close_dealer()


def _read(sock: zmq.Socket[bytes]) -> Iterator[bytes]:
    """Messages that have arrived, up to a bound; one of several frames is none of ours.

    One by one, because to learn that there are no more takes longer than to handle a kill.
    """
    for _ in range(DRAIN_LIMIT):
        try:
            frame = sock.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        if frame.more:
            while sock.recv(zmq.NOBLOCK, copy=False).more:
                pass
            yield b""  # which is malformed, and counted as such
        else:
            yield frame.bytes
