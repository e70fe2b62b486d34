"""All sessions of this process at one broker: one link, one I/O thread, however many there are."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from sessionclient.io_thread import IoThread
from sessionclient.keys import ClientKey, key_from_environment
from sessionclient.link import Effect, Identity, Link
from sessionclient.replica import MAX_SESSIONS_PER_PROCESS, Replica, SessionState, TaskDone
from sessionclient.wire import MAX_TEXT_CHARS, Message

log = logging.getLogger("sessionclient")

SECRET_BYTES: Final = 16
DEFAULT_HEARTBEAT: Final = 30.0  # seconds
COMPLAINT_INTERVAL: Final = 10.0  # seconds between log lines about sessions that are not taken


class Source(Protocol):
    """A session as the hub sees it. Its methods are called in the I/O thread and return at once."""

    session_id: str
    queued: bool  # the hub's mark that a change is waiting to be looked at

    def snapshot(self) -> SessionState:
        """Its present state."""

    def take_done(self) -> list[TaskDone]:
        """The tasks that finished since the last call."""

    def on_command(self, command_id: str, reason: str | None) -> None:
        """A kill has arrived; called once."""


def new_identity(role: str) -> Identity:
    """Who this process is, for one connection's life."""
    host = socket.gethostname()[:MAX_TEXT_CHARS] or "unknown"
    secret = os.urandom(SECRET_BYTES)
    return Identity(role, uuid.uuid4().hex, secret, host, os.getpid())


class Hub:
    """The process's sessions at one broker, and the machine its I/O thread runs."""

    def __init__(
        self, address: str, key: ClientKey | None = None, rng: random.Random | None = None
    ) -> None:
        self.address = address
        self.pid = os.getpid()
        self._replica = Replica(self._kill, self._refused)
        rng = rng or random.Random()
        self._link = Link(new_identity("app"), self._replica, DEFAULT_HEARTBEAT, rng)
        self._replica.attach(self._link)
        self._sources: dict[str, Source] = {}
        # Bounded by the sessions: a change waits at most once for each (`queued`), and a session
        # is added, ended and declared failed only once.
        self._inbox: deque[Callable[[float], None]] = deque()
        self._changes: deque[Source] = deque()
        self._next_complaint, self._left_out = 0.0, 0
        self._interval = float("inf")  # the shortest any session asked for
        self._io = IoThread(address, self, key=key)
        self._io.start()

    # --- from any thread, never blocking -----------------------------------------------------

    def add(self, source: Source, heartbeat_interval: float) -> None:
        """Register a session; beat at least every ``heartbeat_interval`` seconds from now on."""
        self._put(lambda now: self._add(source, heartbeat_interval, now))

    def changed(self, source: Source) -> None:
        """A session's state has changed; the newest state is what will be told."""
        if not source.queued:
            source.queued = True
            self._changes.append(source)
            self._io.wake_soon()

    def end(self, source: Source, reason: str, error: str | None = None) -> None:
        """A session is gone."""
        self._put(lambda now: self._end(source, reason, error, now))

    def failed(self, source: Source, error: str) -> None:
        """A session's kill can't be carried out; it lives on."""
        self._put(lambda now: self._replica.failed(source.session_id, error, now))

    def online(self, session_id: str) -> bool:
        """Whether the broker is connected and has this session durably."""
        online = self._io.alive and self._link.state == "online"
        return online and session_id in self._replica.confirmed

    def close(self, timeout: float) -> None:
        """End all sessions (reason "exit") and the thread, waiting at most ``timeout`` seconds."""
        self._io.close(timeout)

    def _put(self, action: Callable[[float], None]) -> None:
        self._inbox.append(action)
        self._io.wake()

    # --- in the I/O thread -------------------------------------------------------------------

    def _add(self, source: Source, interval: float, now: float) -> None:
        if not self._replica.add(source.snapshot(), now):
            most = MAX_SESSIONS_PER_PROCESS
            self._complain(
                f"session {source.session_id} is not registered: this process has {most} sessions"
                " already"
            )
            return
        self._sources[source.session_id] = source
        if interval < self._interval:
            self._interval = interval
            self._link.beat_within(interval, now)

    def _changed(self, source: Source, now: float) -> None:
        # the mark first: a change that comes after it is looked at again
        source.queued = False
        self._replica.update(source.snapshot(), source.take_done(), now)

    def _end(self, source: Source, reason: str, error: str | None, now: float) -> None:
        self._sources.pop(source.session_id, None)
        self._replica.end(source.session_id, reason, error, source.take_done(), now)

    def _kill(self, session_id: str, command_id: str, reason: str | None) -> None:
        source = self._sources.get(session_id)
        if source is not None:
            source.on_command(command_id, reason)

    def _refused(self, session_id: str, why: str) -> None:
        self._sources.pop(session_id, None)
        self._complain(f"the broker does not take session {session_id}: {why}")

    def _complain(self, text: str) -> None:
        """Log a session that is not taken, but not every one of thousands."""
        now = time.monotonic()
        if now < self._next_complaint:
            self._left_out += 1
            return
        more = f" ({self._left_out} more since the last such line)" if self._left_out else ""
        self._next_complaint, self._left_out = now + COMPLAINT_INTERVAL, 0
        log.warning("%s%s", text, more)

    # --- the machine -------------------------------------------------------------------------

    def connected(self, now: float) -> None:
        self._link.connected(now)

    def disconnected(self, now: float) -> None:
        self._link.disconnected(now)

    def rejected(self, why: str, dead: bool, now: float) -> None:
        before = self._link.trouble
        self._link.rejected(why, dead, now)
        self._tell_trouble(before)

    def received(self, message: Message, now: float) -> None:
        before = self._link.trouble
        self._link.received(message, now)
        self._tell_trouble(before)

    def _tell_trouble(self, before: str | None) -> None:
        if self._link.trouble is not None and self._link.trouble != before:
            log.warning("the broker at %s refuses us: %s", self.address, self._link.trouble)

    def fed(self, _message: Message, _now: float) -> None:
        """Sessions do not listen to the feed."""

    def wake(self, now: float) -> bool:
        # those that wait now: their sessions were added before, so that stands in the inbox. One
        # that comes meanwhile may be of a session which does not, and wakes the thread again
        changes = len(self._changes)
        while self._inbox:
            self._inbox.popleft()(now)
        for _ in range(changes):
            self._changed(self._changes.popleft(), now)
        return changes > 0

    def tick(self, now: float) -> None:
        self._link.tick(now)

    def next_deadline(self) -> float:
        return self._link.next_deadline()

    def take_effects(self) -> list[Effect]:
        return self._link.take_effects()

    def closing(self, now: float) -> None:
        self._replica.bye(now)

    def settled(self) -> bool:
        return self._replica.settled or self._link.state == "down"

    def closed(self) -> None:
        self._sources.clear()


class HubTable:
    """The hubs of this process, by broker. A forked child starts with a table of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hubs: dict[str, Hub] = {}

    def get(self, address: str) -> Hub:
        """The hub of a broker, which is greeted with the key that PANELBUS_KEY names.

        Raises:
            Misuse: there is no usable key in that file.
        """
        with self._lock:
            hub = self._hubs.get(address)
            if hub is None:
                hub = self._hubs[address] = Hub(address, key_from_environment())
            return hub

    def close(self, timeout: float) -> None:
        """Close all hubs within ``timeout`` seconds altogether."""
        deadline = time.monotonic() + timeout
        with self._lock:
            hubs, self._hubs = list(self._hubs.values()), {}
        for hub in hubs:
            hub.close(max(0.0, deadline - time.monotonic()))
