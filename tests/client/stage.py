"""A link to speak through, with a clock of numbers: its messages cross the codec both ways."""

from __future__ import annotations

import random
from typing import Any, Final

from sessionclient.link import RECONNECT_JITTER, Identity, Link, Payload, Send
from sessionclient.wire import FROM_BROKER, TO_BROKER, Message, decode, encode

IDENTITY: Final = Identity("app", "proc", b"0123456789abcdef", "host1", 42)
INTERVAL: Final = 30.0  # seconds between heartbeats
# what a hello says besides its number and its state
INTRODUCTION: Final[dict[str, Any]] = {
    "v": 1,
    "role": "app",
    "instance": "proc",
    "secret": b"0123456789abcdef",
    "host": "host1",
    "pid": 42,
    "interval": INTERVAL,
}
EMPTY: Final[dict[str, Any]] = {"sessions": [], "ended": [], "done": [], "last": True}


class FixedRandom(random.Random):
    """Always the same fraction of a span; remembers the spans it was asked for."""

    def __init__(self, fraction: float = 0.5) -> None:
        super().__init__(0)
        self.fraction = fraction
        self.spans: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.spans.append((a, b))
        return a + (b - a) * self.fraction


def new_link(payload: Payload, rng: random.Random | None = None) -> Link:
    return Link(IDENTITY, payload, INTERVAL, rng or FixedRandom())


def said(link: Link) -> list[Message]:
    """What the link has sent since the last look; nothing else may be due."""
    messages = []
    for effect in link.take_effects():
        assert isinstance(effect, Send)
        messages.append(decode(encode(effect.message), TO_BROKER))
    return messages


def hear(link: Link, now: float, kind: str, **fields: Any) -> None:
    """The broker says this."""
    link.received(decode(encode({"k": kind, **fields}), FROM_BROKER), now)


def welcome(number: int, **changes: Any) -> dict[str, Any]:
    """The fields of a welcome."""
    return {
        "n": number,
        "v": 1,
        "epoch": "e1",
        "feed": "tcp://127.0.0.1:5761",
        "stale_after": 120.0,
        "version": "1.0",
        **changes,
    }


def go_online(link: Link, now: float) -> None:
    """Connect and be welcome; what was said on the way is dropped."""
    link.connected(now)
    link.tick(now + RECONNECT_JITTER)
    hear(link, now, "welcome", **welcome(link.number))
    assert link.state == "online"
    link.take_effects()
