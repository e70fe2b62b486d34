"""The bus: one synchronous loop around the registry, with a ROUTER, a PUB and the writer thread.

Poll, drain what has arrived up to a bound, let the registry decide, carry out what it wants, then
the timers, so that a flood starves nothing. The loop never waits on the disk: commits run in the
writer's thread, which wakes the loop when one is done.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import zmq

from broker.registry.core import Registry
from broker.registry.effects import ReadTasks
from broker.registry.model import Now
from broker.store import Store, StoreError, StoreUnavailable, StoreUnusable, TaskRow
from broker.writer import Outcome, Writer
from sessionclient.errors import Misuse
from sessionclient.wire import MAX_FRAME_BYTES, TO_BROKER, WireError, decode, encode

log = logging.getLogger("panelbus.broker")

DRAIN_LIMIT: Final = 256  # messages read before anything else gets its turn
FEED_GATHER: Final = 0.005  # seconds changes are gathered before they are published
FEED_BURST: Final = 8  # messages published in one turn of the loop
STOP_TIMEOUT: Final = 3.0  # seconds an orderly stop may spend on the disk
LINGER_MS: Final = 500  # how long closing sockets may still send
REJECT_LOG_INTERVAL: Final = 10.0  # seconds between log lines about rejected input

# Socket bounds, each on purpose (an unset high-water mark of 0 would mean unbounded memory).
ROUTER_QUEUE: Final = 2_000  # messages held for one peer that does not read
FEED_QUEUE: Final = 2_000  # feed messages held for one subscriber that does not read
BACKLOG: Final = 4_096  # connections waiting to be accepted, as after a restart
MAX_SOCKETS: Final = 65_535
HANDSHAKE_MS: Final = 10_000  # a connection that says nothing is closed after this
PING_MS: Final = 5_000  # ZMTP pings, so that a network lost without a FIN is noticed
PING_TIMEOUT_MS: Final = 20_000


def clock() -> Now:
    """The time now, for the registry."""
    return Now(time.monotonic(), time.time())


class AddressInUse(Exception):
    """A bus or feed address can't be bound; the message says which and why."""


class Sockets:
    """The broker's two sockets with their bounds; binding is separate so that it can fail well."""

    def __init__(self) -> None:
        self.context = zmq.Context(io_threads=1)
        self.context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        self.router = self.context.socket(zmq.ROUTER)
        self.feed = self.context.socket(zmq.PUB)
        for socket in (self.router, self.feed):
            socket.set(zmq.LINGER, LINGER_MS)
            socket.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
            socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
            socket.set(zmq.HEARTBEAT_IVL, PING_MS)
            socket.set(zmq.HEARTBEAT_TIMEOUT, PING_TIMEOUT_MS)
            socket.set(zmq.BACKLOG, BACKLOG)
        # without MANDATORY a message for a vanished peer disappears and nobody is told
        self.router.set(zmq.ROUTER_MANDATORY, 1)
        self.router.set(zmq.SNDHWM, ROUTER_QUEUE)
        self.router.set(zmq.RCVHWM, ROUTER_QUEUE)
        self.feed.set(zmq.SNDHWM, FEED_QUEUE)

    def bind(self, bus: str, feed: str) -> None:
        """Raises AddressInUse when an address is taken or can't be used on this machine."""
        for socket, address, option in (
            (self.router, bus, "--bus"),
            (self.feed, feed, "--feed"),
        ):
            try:
                socket.bind(address)
            except zmq.ZMQError as error:
                self.close()
                raise AddressInUse(
                    f"can't listen on {address}: {error.strerror or error}; choose another"
                    f" address with {option}, or stop what holds it"
                ) from error

    def close(self) -> None:
        self.router.close()
        self.feed.close()
        self.context.term()


class Bus:
    """Runs the registry on the sockets until `stop` is called."""

    def __init__(
        self,
        sockets: Sockets,
        registry: Registry,
        store: Store,
    ) -> None:
        self._sockets = sockets
        self._registry = registry
        self._writer = Writer(store, self._committed)
        self.every_second: Callable[[float], None] | None = None  # called with monotonic time
        self._next_second = 0.0
        self._outcomes: deque[Outcome] = deque()  # at most one: only one batch is ever away
        # bounded by the writer's MAX_READS
        self._answers: deque[tuple[ReadTasks, list[TaskRow] | StoreError]] = deque()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._stopping = False
        self._feed_due: float | None = None
        self._rejections = 0
        self._next_reject_log = 0.0
        self.failure: str | None = None  # why the broker had to stop by itself

    # --- from other threads and signal handlers --------------------------------------------

    def stop(self) -> None:
        """Ask for an orderly stop; safe from anywhere, a signal handler included."""
        self._stopping = True
        self._wake()

    def _committed(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._wake()

    def _read(self, read: ReadTasks, store: Store) -> None:
        """In the writer's thread."""
        try:
            found: list[TaskRow] | StoreError = store.tasks(read.session_id, read.limit)
        except StoreError as error:
            found = error
        self._answers.append((read, found))
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # the pipe is full of wake-ups already
            os.write(self._wake_write, b"\0")

    # --- the loop --------------------------------------------------------------------------

    def run(self, before_finish: Callable[[], None] | None = None) -> None:
        """Serve until `stop`, then commit what was accepted and close everything.

        ``before_finish`` is called between the two: to end whoever may still be asking.
        """
        self._writer.start()
        poller = zmq.Poller()
        poller.register(self._sockets.router, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        full = False
        try:
            while not self._stopping:
                poller.poll(0 if full else self._timeout_ms())
                self._swallow_wakes()
                full = self._drain()
                self._turn()
                self._each_second()
            if before_finish is not None:
                before_finish()
            self._finish()
        finally:
            self._writer.close(STOP_TIMEOUT)
            self._sockets.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _timeout_ms(self) -> int:
        now = clock()
        deadline = min(self._registry.next_deadline(now), self._next_second)
        if self._feed_due is not None:
            deadline = min(deadline, self._feed_due)
        return max(0, math.ceil((deadline - now.mono) * 1000))

    def _swallow_wakes(self) -> None:
        with suppress(BlockingIOError):  # nothing to swallow
            os.read(self._wake_read, 4096)

    def _drain(self) -> bool:
        """Handle what has arrived; True when there may be more than the bound allowed."""
        router, registry = self._sockets.router, self._registry
        now = clock()
        for _ in range(DRAIN_LIMIT):
            try:
                route = router.recv(zmq.NOBLOCK)
            except zmq.Again:
                return False
            # copy=False, because only a Frame tells whether more follow: an extra frame left
            # unread would shift every later message and let a peer pose as another
            frame = router.recv(zmq.NOBLOCK, copy=False)
            if frame.more:
                self._skip_frames()
                self._reject(route, WireError("extra_frames", "one frame a message"))
                continue
            try:
                message = decode(frame.buffer, TO_BROKER)
            except WireError as error:
                self._reject(route, error)
                continue
            registry.handle(route, message, now)
        return True

    def _skip_frames(self) -> None:
        while self._sockets.router.recv(zmq.NOBLOCK, copy=False).more:
            pass

    def _reject(self, route: bytes, error: WireError) -> None:
        self._registry.rejected(route, error)
        self._rejections += 1
        now = time.monotonic()
        if now >= self._next_reject_log:
            self._next_reject_log = now + REJECT_LOG_INTERVAL
            log.warning("refused %d malformed messages, last: %s", self._rejections, error)
            self._rejections = 0

    def _turn(self) -> None:
        """Everything but receiving: finished commits, timers, the next commit, what to send."""
        now = clock()
        while self._outcomes:
            self._settle(self._outcomes.popleft(), now)
        while self._answers:
            self._registry.tasks_read(*self._answers.popleft())
        self._registry.tick(now)
        self._commit(now)
        for read in self._registry.take_reads():
            if not self._writer.read(partial(self._read, read)):
                busy = StoreUnavailable("too many questions wait for the disk already", "busy")
                self._registry.tasks_read(read, busy)
        self._send()
        self._publish(now)

    def _each_second(self) -> None:
        now = time.monotonic()
        if now >= self._next_second:
            self._next_second = now + 1.0
            if self.every_second is not None:
                self.every_second(now)

    def _settle(self, outcome: Outcome, now: Now) -> None:
        error = outcome.error
        if error is None:
            if self._registry.state.stats.health.cause is not None:
                log.warning("the database takes writes again")
            self._registry.committed(outcome.seconds, now)
            return
        if self._registry.state.stats.health.cause is None:
            log.error("the database took nothing: %s", error)
        self._registry.commit_failed(error, now)
        if isinstance(error, StoreUnusable):
            self.failure = str(error)
            self._stopping = True

    def _commit(self, now: Now) -> None:
        if self._writer.idle:
            batch = self._registry.begin(now)
            if batch is not None:
                self._writer.submit(batch)

    def _send(self) -> None:
        router = self._sockets.router
        for route, message in self._registry.take_sends():
            payload = _payload(message)
            if payload is None:
                continue
            try:
                # NOBLOCK, or a peer that does not read would stop the whole bus
                router.send(route, zmq.NOBLOCK | zmq.SNDMORE)
                router.send(payload, zmq.NOBLOCK)
            except zmq.Again:
                pass  # its queue is full: commands are pushed again, requests time out
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                self._registry.unreachable(route)

    def _publish(self, now: Now) -> None:
        if self._feed_due is None and len(self._registry.state.feed):
            self._feed_due = now.mono + FEED_GATHER
        if self._feed_due is not None and now.mono >= self._feed_due:
            self._feed_due = None
            for _ in range(FEED_BURST):
                message = self._registry.take_feed(now)
                if message is None:
                    break
                self._sockets.feed.send(encode(message), zmq.NOBLOCK)
            else:
                self._feed_due = now.mono
        beat = self._registry.beat(now)
        if beat is not None:
            self._sockets.feed.send(encode(beat), zmq.NOBLOCK)

    def _finish(self) -> None:
        """Commit everything that was accepted, answer it, and publish it."""
        deadline = time.monotonic() + STOP_TIMEOUT
        poller = zmq.Poller()
        poller.register(self._wake_read, zmq.POLLIN)
        while self.failure is None and time.monotonic() < deadline:
            self._registry.flush_now()
            self._turn()
            if self._writer.idle and not self._outcomes and not self._registry.unsaved():
                break
            poller.poll(100)
            self._swallow_wakes()
        self._feed_due = 0.0
        self._publish(clock())


def _payload(message: dict[str, Any]) -> bytes | None:
    try:
        return encode(message)
    except Misuse as error:  # our own bound was wrong: the peer learns that, the bus goes on
        log.error("an answer could not be sent: %s", error)
        if "r" not in message:
            return None
        text = "the answer is too long for one message; ask for less"
        return encode({"k": "error", "r": message["r"], "code": "bad_request", "message": text})
