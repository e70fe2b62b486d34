"""The bus: one synchronous loop around the registry, with a ROUTER, a PUB and the writer thread.

Poll, drain what has arrived up to a bound, let the registry decide, carry out what it wants, then
the timers, so that a flood starves nothing. The loop never waits on the disk: commits run in the
writer's thread, which wakes the loop when one is done.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import zmq

from broker.backups import Backups
from broker.outbox import NOBLOCK, Outbox
from broker.quick import quick_decoder
from broker.registry.access import Access
from broker.registry.core import Registry
from broker.registry.effects import Found, Read
from broker.registry.model import Now
from broker.sockets import Sockets
from broker.store import Batch, Store, StoreError, StoreUnavailable, StoreUnusable
from broker.writer import Checked, Outcome, Writer
from sessionclient.wire import TO_BROKER, WireError, encode

log = logging.getLogger("panelbus.broker")

DRAIN_LIMIT: Final = 256  # messages read before anything else gets its turn
DRAIN_SECONDS: Final = 0.02  # the same for messages that cost much, such as lists
FEED_BACKLOG: Final = 20_000  # changes that wait to be published; beyond it nothing is read
FEED_GATHER: Final = 0.005  # seconds changes are gathered before they are published
FEED_BURST: Final = 8  # messages published in one turn of the loop
COMMAND_GATHER: Final = 16  # messages handled with a command that waits for a commit under way
COMMAND_PATIENCE: Final = 0.005  # seconds the loop keeps still while a command goes to the disk
STOP_TIMEOUT: Final = 3.0  # seconds an orderly stop may spend on the disk
REBIND_PAUSE: Final = 0.02  # seconds between two tries
REBIND_TIMEOUT: Final = 5.0  # seconds a feed may be without its address when it was reopened
REJECT_LOG_INTERVAL: Final = 10.0  # seconds between log lines about rejected input

# An id that a client chose can be chosen again by another, which would then speak in its name.
CHOSEN_ID: Final = "let the broker give this connection its routing id; do not set one"


def clock() -> Now:
    """The time now, for the registry."""
    return Now(time.monotonic(), time.time())


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
        self._decode = quick_decoder(TO_BROKER)
        self.every_second: Callable[[float], None] | None = None  # called with monotonic time
        self._next_second = 0.0
        # at most one of each: only one batch and one look at the store are ever away
        self._outcomes: deque[Outcome | Checked] = deque()
        # bounded by the writer's MAX_READS
        self._answers: deque[tuple[Read, Found]] = deque()
        self._backups = Backups(store, self._wake)
        self._checking = False
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._woken = select.poll()
        self._woken.register(self._wake_read, select.POLLIN)
        self._kept_still_for: Batch | None = None
        self._stopping = False
        self._feed_due: float | None = None
        self._outbox = Outbox(sockets.router)
        self._recv: Callable[..., Any] = sockets.router.recv
        self._rejections = 0
        self._next_reject_log = 0.0
        self._strangers: Counter[str] = Counter()  # turned away since the last line about them
        self._next_stranger_log = 0.0
        self._feed_unbound_since: float | None = None
        self.failure: str | None = None  # why the broker had to stop by itself

    # --- from other threads and signal handlers --------------------------------------------

    def stop(self) -> None:
        """Ask for an orderly stop; safe from anywhere, a signal handler included."""
        self._stopping = True
        self._wake()

    def set_access(self, access: Access) -> None:
        """Another list of keys; in the loop's own thread, as from `every_second`."""
        gatekeeper = self._sockets.gatekeeper
        if gatekeeper is None:
            raise RuntimeError("this bus asks for no keys")
        gatekeeper.allow(access)
        if self._registry.set_access(access, clock()):
            self._sockets.reopen_feed()
            self._feed_unbound_since = time.monotonic()

    def _committed(self, outcome: Outcome | Checked) -> None:
        self._outcomes.append(outcome)
        self._wake()

    def _read(self, read: Read, store: Store) -> None:
        """In the writer's thread."""
        try:
            found: Found = read.fetch(store)
        except StoreError as error:
            found = error
        self._answers.append((read, found))
        self._wake()

    def _wake(self) -> None:
        try:
            self._wake_write.send(b"\0")
        except OSError:
            return  # full of wake-ups already, or closed since, as for a signal at the very end

    # --- the loop --------------------------------------------------------------------------

    def run(self, before_finish: Callable[[], None] | None = None) -> None:
        """Serve until `stop`, then commit what was accepted and close everything.

        ``before_finish`` is called between the two: to end whoever may still be asking.
        """
        self._writer.start()
        poller = zmq.Poller()
        poller.register(self._sockets.router, zmq.POLLIN)
        poller.register(self._wake_read.fileno(), zmq.POLLIN)
        full = False
        try:
            while not self._stopping:
                ready = dict(poller.poll(0 if full else self._timeout_ms()))
                if self._wake_read.fileno() in ready:
                    self._swallow_wakes()
                full = self._drain()
                self._turn()
                while self._keep_still():
                    self._turn()
                self._each_second()
            if before_finish is not None:
                before_finish()
            self._finish()
        finally:
            self._backups.close()
            self._writer.close(STOP_TIMEOUT)
            self._sockets.close()
            self._wake_read.close()
            self._wake_write.close()

    def _timeout_ms(self) -> int:
        now = clock()
        deadline = min(self._registry.next_deadline(now), self._next_second)
        if self._feed_due is not None:
            deadline = min(deadline, self._feed_due)
        if self._feed_unbound_since is not None:
            deadline = min(deadline, now.mono + REBIND_PAUSE)
        return max(0, math.ceil((deadline - now.mono) * 1000))

    def _swallow_wakes(self) -> None:
        with suppress(BlockingIOError):  # nothing to swallow
            self._wake_read.recv(4096)

    def _keep_still(self) -> bool:
        """Leave the interpreter to the writer for a moment while an operator's command waits for
        the disk, once for each batch; True when there may be something to do.

        One thread runs at a time: as long as this one handles messages, the writer waits for it
        after each statement, and a kill with it. A disk that is slow holds nothing up for longer.
        """
        batch = self._registry.awaited()
        if batch is None or batch is self._kept_still_for:
            return False
        self._kept_still_for = batch
        until = time.monotonic() + COMMAND_PATIENCE
        while not self._outcomes and (left := until - time.monotonic()) > 0:
            self._woken.poll(math.ceil(left * 1000))
            self._swallow_wakes()  # perhaps one of something else, or of what was done already
        return True

    def _drain(self) -> bool:
        """Handle what has arrived; True when there may be more than the bounds allowed."""
        state, now = self._registry.state, clock()
        changes, ledger, outcomes = state.feed.changes, state.ledger, self._outcomes
        until, waited = now.mono + DRAIN_SECONDS, bool(ledger.after)
        gather = 1 if ledger.flight is None else COMMAND_GATHER
        for _ in range(DRAIN_LIMIT):
            if outcomes:
                return True  # what became of a commit goes before all else
            if len(changes) >= FEED_BACKLOG:
                return True  # senders wait, in their own queues, until it is published
            if not self._receive(now):
                return False
            if ledger.after and not waited:
                gather -= 1
                if gather <= 0:
                    return True  # and a batch's first commands
            if time.monotonic() >= until:
                return True
        return True

    def _receive(self, now: Now) -> bool:
        """Handle one message; False when there is none."""
        recv = self._recv
        try:
            route = recv(NOBLOCK)
        except zmq.Again:
            return False
        # not copied, because only a Frame tells whether more follow: an extra frame left unread
        # would shift every later message and let a peer pose as another
        frame = recv(NOBLOCK, False)
        if frame.more or route[0] != 0:  # the ROUTER's own ids begin with a zero, no other may
            self._misshapen(route, frame.more)
            return True
        try:
            message = self._decode(frame.bytes)
        except WireError as error:
            self._reject(route, error)
            return True
        user = self._sockets.user_of(frame) if message["k"] == "hello" else None
        self._registry.handle(route, message, now, user)
        return True

    def _misshapen(self, route: bytes, more: bool) -> None:
        while more:
            more = self._recv(NOBLOCK, False).more
        if route[0] != 0:
            self._reject(route, WireError("chosen_routing_id", CHOSEN_ID))
        else:
            self._reject(route, WireError("extra_frames", "one frame a message"))

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
            outcome = self._outcomes.popleft()
            if isinstance(outcome, Outcome):
                self._settle(outcome, now)
            else:
                self._checked(outcome.trouble)
        self._send()  # kills first: they were waited for already
        while self._answers:
            read, found = self._answers.popleft()
            self._registry.read_done(read, found)
            if isinstance(found, StoreUnusable):
                self._fail(found)
        while self._backups.done:
            self._registry.backed_up(*self._backups.done.popleft(), now)
        self._registry.tick(now)
        self._commit(now)
        if self._registry.asks():
            self._ask_the_disk()
        self._send()
        self._publish(now)

    def _ask_the_disk(self) -> None:
        for asked in self._registry.take_backups():
            self._backups.start(asked)
        for read in self._registry.take_reads():
            if not self._writer.read(partial(self._read, read)):
                busy = StoreUnavailable("too many questions wait for the disk already", "busy")
                self._registry.read_done(read, busy)

    def _each_second(self) -> None:
        now = time.monotonic()
        if self._feed_unbound_since is not None:
            self._rebind_feed(now)
        if now >= self._next_second:
            self._next_second = now + 1.0
            self._note_strangers()
            self._outbox.unread.sweep()
            if not self._checking:
                # what waits to be committed is a probe too; a full disk takes it from its reserve
                full = self._registry.state.stats.health.cause == "full"
                self._checking = self._writer.check(probe=full or not self._registry.unsaved())
            if self.every_second is not None:
                self.every_second(now)

    def _rebind_feed(self, now: float) -> None:
        since = self._feed_unbound_since
        if since is None or self._sockets.bind_feed():
            self._feed_unbound_since = None
        elif now - since > REBIND_TIMEOUT:
            self.failure = "the feed's address was taken by another program; stop that one"
            self._stopping = True

    def _note_strangers(self) -> None:
        gatekeeper = self._sockets.gatekeeper
        if gatekeeper is None:
            return
        if not gatekeeper.alive:
            self.failure = "the thread that judges keys has ended, so that nobody new could get in"
            self._stopping = True
        now = clock()
        for who, count in gatekeeper.take_turned_away().items():
            self._registry.denied(who, "not on the list of keys", count, now)
            self._strangers[who] += count
        if self._strangers and now.mono >= self._next_stranger_log:
            self._next_stranger_log = now.mono + REJECT_LOG_INTERVAL
            total, last = self._strangers.total(), next(reversed(self._strangers))
            log.warning("turned away %d connections without a known key, last: %s", total, last)
            self._strangers.clear()

    def _settle(self, outcome: Outcome, now: Now) -> None:
        error = outcome.error
        if error is None:
            self._tell_health(outcome.kept.trouble)
            self._registry.committed(outcome.seconds, now, outcome.kept)
            return
        self._tell_health(error)
        self._registry.commit_failed(error, now)
        if isinstance(error, StoreUnusable):
            self._fail(error)

    def _checked(self, trouble: StoreError | None) -> None:
        self._checking = False
        self._tell_health(trouble)
        self._registry.checked(trouble)
        if isinstance(trouble, StoreUnusable):
            self._fail(trouble)

    def _tell_health(self, trouble: StoreError | None) -> None:
        """Log what is about to change."""
        was_well = self._registry.state.stats.health.cause is None
        if was_well and trouble is not None:
            log.error("the database took nothing: %s", trouble)
        elif not was_well and trouble is None:
            log.warning("the database takes writes again")

    def _fail(self, error: StoreUnusable) -> None:
        self.failure = str(error)
        self._stopping = True

    def _commit(self, now: Now) -> None:
        if self._writer.idle:
            batch = self._registry.begin(now)
            if batch is not None:
                self._writer.submit(batch)

    def _send(self) -> None:
        if self._registry.state.sends:
            for route in self._outbox.send(self._registry.take_sends()):
                self._registry.unreachable(route)

    def _publish(self, now: Now) -> None:
        feed = self._registry.state.feed
        beat = self._registry.beat(now)
        if beat is not None:
            self._sockets.feed.send(encode(beat, self._outbox.pack), NOBLOCK)
            if feed.changes:  # at least who was heard of, for which nobody wakes up by itself
                self._feed_due = now.mono
        if self._feed_due is None and feed.changes:
            self._feed_due = now.mono + FEED_GATHER
        if self._feed_due is not None and now.mono >= self._feed_due:
            self._feed_due = None
            for _ in range(FEED_BURST):
                message = self._registry.take_feed(now)
                if message is None:
                    break
                self._sockets.feed.send(encode(message, self._outbox.pack), NOBLOCK)
            else:
                self._feed_due = now.mono

    def _finish(self) -> None:
        """Commit everything that was accepted, answer it, and publish it."""
        deadline = time.monotonic() + STOP_TIMEOUT
        poller = zmq.Poller()
        poller.register(self._wake_read.fileno(), zmq.POLLIN)
        while self.failure is None and time.monotonic() < deadline:
            self._registry.flush_now()
            self._turn()
            if self._writer.idle and not self._outcomes and not self._registry.unsaved():
                break
            poller.poll(100)
            self._swallow_wakes()
        self._feed_due = 0.0
        self._publish(clock())
