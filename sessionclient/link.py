"""One connection to the broker, without I/O: greeting, numbering, heartbeats, silence.

The state machine takes what happened and the time (monotonic seconds) and collects what is to be
done in ``effects``. What the connection carries is the payload's business: an app's sessions
(`sessionclient.replica`) or an operator's requests (`sessionclient.requests`).
"""

from __future__ import annotations

import logging
import random
from typing import Any, Final, NamedTuple, Protocol

from sessionclient.wire import PROTOCOL_VERSION, Message

log = logging.getLogger("sessionclient")

HELLO_TIMEOUT: Final = 2.0  # seconds until an unanswered hello is said again
RECONNECT_JITTER: Final = 0.2  # seconds over which the clients of a broker that is back spread
SILENCE: Final = 10.0  # seconds without any answer after which the connection is given up
BEATS_BEFORE_STALE: Final = 3  # heartbeats that fit the broker's time for stale, at least
SHORTEST_PACE: Final = 0.1  # seconds between heartbeats, whatever the broker asks for
REJECTED_PAUSE: Final = 5.0  # seconds until a handshake that failed for good is tried anew
UNWELCOME_PAUSE: Final = 30.0  # seconds until a broker that refused us is asked again


class Send(NamedTuple):
    """Put this message on the connection, if there is one."""

    message: Message


class Reset(NamedTuple):
    """Close the connection and open a new one."""


class Subscribe(NamedTuple):
    """Listen to the feed at this address, and to no other."""

    address: str


class Unsubscribe(NamedTuple):
    """Stop listening to the feed."""


Effect = Send | Reset | Subscribe | Unsubscribe


class Identity(NamedTuple):
    """Who speaks: one life of one process. The secret proves it on a second connection."""

    role: str
    instance: str
    secret: bytes
    host: str
    pid: int


class Payload(Protocol):
    """What a connection carries."""

    def greetings(self, now: float) -> list[dict[str, Any]]:
        """The state to state in a hello: one dict for it and one for each part that follows."""

    def welcomed(self, welcome: Message, now: float) -> None:
        """The broker has accepted our hello."""

    def disconnected(self, now: float) -> None:
        """The connection is gone; what was sent may be lost."""

    def acknowledged(self, number: int) -> None:
        """Everything up to this number is durable at the broker."""

    def received(self, message: Message, now: float) -> None:
        """Any other message."""


class Link:
    """The state of one connection: down, greeting (connected, not welcome yet) or online."""

    def __init__(
        self, identity: Identity, payload: Payload, interval: float, rng: random.Random
    ) -> None:
        """``interval`` is the heartbeat's, in seconds; ``rng`` spreads reconnects."""
        self.identity = identity
        self.payload = payload
        self.interval = interval
        self.effects: list[Effect] = []
        self.state = "down"
        self.trouble: str | None = None  # why the broker does not want us
        self.misunderstood = 0  # messages of ours that the broker called bad
        self.number = 0  # of the last message sent; never starts over in this instance's life
        self.greeted = False  # a hello went out on this connection, so state may follow it
        self._pace = float("inf")  # seconds; the broker's own idea of silence asks for this
        self._rng = rng
        self._reconnecting = False
        self._hello_at = 0.0
        self._heartbeat_at = 0.0
        self._unanswered_since: float | None = None
        self._reset_at: float | None = None  # when to try a socket anew that can't connect

    # --- what happened ---------------------------------------------------------------------

    def connected(self, now: float) -> None:
        """The connection is open, handshake included."""
        self.state, self.greeted = "greeting", False
        self._unanswered_since = self._reset_at = None
        jitter = self._rng.uniform(0.0, RECONNECT_JITTER) if self._reconnecting else 0.0
        self._reconnecting = True
        self._hello_at = now + jitter
        self.tick(now)

    def disconnected(self, now: float) -> None:
        """The connection is gone."""
        self.state, self.greeted = "down", False
        self._unanswered_since = None
        self.payload.disconnected(now)

    def rejected(self, why: str, dead: bool, now: float) -> None:
        """The handshake failed, and why; a socket that is ``dead`` is replaced after a while."""
        self.trouble = why
        if dead:
            self._reset_at = now + REJECTED_PAUSE

    def received(self, message: Message, now: float) -> None:
        """One checked message of the broker."""
        self._unanswered_since = None
        kind = message["k"]
        if kind == "welcome":
            if self.state == "greeting" and message["n"] <= self.number:
                self.state, self.trouble = "online", None
                self._pace = max(message["stale_after"] / BEATS_BEFORE_STALE, SHORTEST_PACE)
                self._heartbeat_at = min(self._heartbeat_at, now + self._pace)
                self.payload.welcomed(message, now)
        elif kind == "say_hello":
            # one that crossed a hello on its way is answered by that hello already
            if self.state == "online":
                self.state = "greeting"
                self._say_hello(now)
        elif kind == "ack":
            if message["n"] <= self.number:
                self.payload.acknowledged(message["n"])
        elif kind == "error" and message.get("r") is None:
            self._refused(message, now)
        else:
            self.payload.received(message, now)

    def _refused(self, message: Message, now: float) -> None:
        if message["code"] == "bad_request":
            self.misunderstood += 1
            if self.misunderstood == 1:  # once: a peer that goes on like this would fill the log
                log.warning("the broker did not understand a message: %s", message["message"])
        elif self.state != "down":
            self.trouble = f"{message['code']}: {message['message']}"
            self.state, self.greeted = "greeting", False
            self._hello_at = now + UNWELCOME_PAUSE

    def tick(self, now: float) -> None:
        """Do what is due by now."""
        if self.state == "down":
            if self._reset_at is not None and now >= self._reset_at:
                self._reset_at = None
                self.effects.append(Reset())
            return
        if self._unanswered_since is not None and now - self._unanswered_since >= SILENCE:
            self.effects.append(Reset())
            self.disconnected(now)
        elif self.state == "greeting":
            if now >= self._hello_at:
                self._say_hello(now)
        elif now >= self._heartbeat_at:
            self.send(now, "heartbeat")
            self._expect_answer(now)

    def next_deadline(self) -> float:
        """When `tick` has something to do next (monotonic seconds)."""
        if self.state == "down":
            return float("inf") if self._reset_at is None else self._reset_at
        due = self._hello_at if self.state == "greeting" else self._heartbeat_at
        if self._unanswered_since is not None:
            due = min(due, self._unanswered_since + SILENCE)
        return due

    # --- saying ----------------------------------------------------------------------------

    def send(self, now: float, kind: str, **fields: Any) -> int:
        """Send a numbered message; returns its number. Fields that are None are left out."""
        self.number += 1
        message = {key: value for key, value in fields.items() if value is not None}
        self.effects.append(Send({"k": kind, "n": self.number, **message}))
        self._heartbeat_at = now + min(self.interval, self._pace)
        return self.number

    def request(self, message: Message) -> None:
        """Send a message that is not numbered."""
        self.effects.append(Send(message))

    def beat_within(self, interval: float, now: float) -> None:
        """Shorten the heartbeat's interval (seconds)."""
        self.interval = interval
        self._heartbeat_at = min(self._heartbeat_at, now + interval)

    def take_effects(self) -> list[Effect]:
        effects, self.effects = self.effects, []
        return effects

    def _say_hello(self, now: float) -> None:
        self._hello_at = now + HELLO_TIMEOUT
        who = self.identity
        kind, introduction = (
            "hello",
            {
                "v": PROTOCOL_VERSION,
                "role": who.role,
                "instance": who.instance,
                "secret": who.secret,
                "host": who.host,
                "pid": who.pid,
                "interval": self.interval,
            },
        )
        for part in self.payload.greetings(now):
            self.send(now, kind, **introduction, **part)
            kind, introduction = "hello_part", {}
        self.greeted = True
        self._expect_answer(now)

    def _expect_answer(self, now: float) -> None:
        if self._unanswered_since is None:
            self._unanswered_since = now
