"""Many app processes on one thread: bare DEALERs that say what `sessionclient` would say.

A real client would cost more than the broker that is measured; these send frames that were encoded
before, or encode small ones, and read with plain receives.
"""

from __future__ import annotations

import resource
import secrets
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import Any, Final

import msgpack
import zmq

from scripts.measures.stage import TIMEOUT
from sessionclient.wire import MAX_BATCH_ITEMS, PROTOCOL_VERSION, encode

APPS: Final = 20  # names of apps the sessions are spread over
INTERVAL: Final = 30.0  # seconds between two heartbeats of a process
GREETING_WINDOW: Final = 50  # processes that greet at the same time
GREETING_SESSIONS: Final = 50_000  # the same in sessions: those of all at once would fill memory


class Peer:
    """One connection; ``sessions`` are the ids it holds, none for an operator."""

    def __init__(self, context: zmq.Context[Any], bus: str, role: str = "app") -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.SNDTIMEO, int(TIMEOUT * 1000))
        self.socket.set(zmq.RCVTIMEO, int(TIMEOUT * 1000))
        self.socket.connect(bus)
        self.role, self.instance, self.secret = role, secrets.token_hex(16), secrets.token_bytes(16)
        self.number = 0
        self.sessions: list[str] = []

    def next(self) -> int:
        """The number of its next message."""
        self.number += 1
        return self.number

    def say(self, kind: str, **fields: Any) -> None:
        """A numbered message."""
        self.socket.send(encode({"k": kind, "n": self.next(), **fields}))

    def hello(self, states: list[dict[str, Any]]) -> None:
        """Greet with the whole state, in as many parts as it takes."""
        parts = [
            states[at : at + MAX_BATCH_ITEMS] for at in range(0, len(states), MAX_BATCH_ITEMS)
        ] or [[]]
        who = {"v": PROTOCOL_VERSION, "role": self.role, "instance": self.instance}
        who |= {"secret": self.secret, "host": "bench", "pid": 1, "interval": INTERVAL}
        for index, part in enumerate(parts):
            state = {"sessions": part, "ended": [], "last": index == len(parts) - 1}
            if index == 0:
                self.say("hello", **who, **state)
            else:
                self.say("hello_part", **state)
        self.sessions = [state["s"] for state in states]

    def receive(self, flags: int = 0) -> dict[str, Any]:
        """The next message; raises zmq.Again after `TIMEOUT`, or at once with zmq.NOBLOCK."""
        message: dict[str, Any] = msgpack.unpackb(self.socket.recv(flags))
        return message

    def receive_kind(self, kind: str) -> dict[str, Any]:
        """The next message of that kind; others before it are dropped."""
        while (message := self.receive())["k"] != kind:
            if message["k"] == "error":
                raise RuntimeError(f"the broker refused: {message}")
        return message

    def await_ack(self) -> None:
        """Until everything it said is on the broker's disk."""
        while self.receive_kind("ack")["n"] < self.number:
            pass


class Fleet:
    """``processes`` app processes with ``sessions`` sessions in all, evenly spread.

    The sessions are of many apps, or all of ``app``.
    """

    def __init__(
        self, bus: str, processes: int, sessions: int, prefix: str = "b", app: str | None = None
    ) -> None:
        allow_files(4 * processes + 100)
        self.context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self.context.set(zmq.MAX_SOCKETS, processes + 100)
        self.peers = [Peer(self.context, bus) for _ in range(processes)]
        self._of = (sessions, prefix, app)
        self.greet(min(GREETING_WINDOW, max(1, GREETING_SESSIONS * processes // max(1, sessions))))

    def greet(self, window: int) -> None:
        """All say hello with their whole state, ``window`` of them at the same time, and are
        answered once it is on the broker's disk."""
        sessions, prefix, app = self._of
        shares = _shares(sessions, len(self.peers), prefix, app)
        stated = zip(self.peers, shares, strict=True)
        while some := list(islice(stated, window)):
            for peer, states in some:
                peer.hello(states)
            for peer, states in some:
                peer.receive_kind("welcome")
                if states:
                    peer.await_ack()

    def heartbeat(self) -> None:
        """One heartbeat of each process."""
        for peer in self.peers:
            peer.say("heartbeat")

    def keep_alive(self) -> None:
        """The same, until the broker has answered all; no other answer may be under way."""
        self.heartbeat()
        for peer in self.peers:
            peer.receive_kind("ack")

    def close(self) -> None:
        self.context.destroy(linger=0)


def _shares(
    sessions: int, processes: int, prefix: str, app: str | None
) -> Iterator[list[dict[str, Any]]]:
    share, more = divmod(sessions, processes)
    number = 0
    for index in range(processes):
        size = share + (index < more)
        yield [state(f"{prefix}{number + at}", app) for at in range(size)]
        number += size


def state(name: str, app: str | None = None) -> dict[str, Any]:
    """A session as a hello states it, with names of usual length; ``name`` tells it from others.

    Its id is as long as a uuid's hex and begins as unpredictably, so that the broker and its
    database find neighbours in the list at distant places, as they do with real ones.
    """
    number = int("".join(filter(str.isdigit, name)) or 0)
    return {
        "s": f"{sha256(name.encode()).hexdigest()[: max(8, 31 - len(name))]}-{name}",
        "app": app or f"app-{number % APPS}",
        "user": f"user-{number % 5_000}@example.org",
        "age": 0.0,
        "status": "idle",
    }


def allow_files(count: int) -> None:
    """Raise the limit on open files as far as it is needed and may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def pace(rate: float) -> Iterator[int]:
    """Numbers 0, 1, 2 ... at ``rate`` a second, in bursts of about a millisecond, for ever."""
    began, sent = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * rate)
        if due <= sent:
            time.sleep(0.001)
            continue
        yield from range(sent, due)
        sent = due
