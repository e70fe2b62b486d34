"""A child process that subscribes, counts what arrives and notices what is missing.

It speaks lines of JSON: ``begin`` starts counting anew, ``end`` answers once everything there is
has arrived.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import msgpack
import zmq

from scripts.measures import stage

QUEUE: Final = 10_000  # messages that may wait for it, as for `sessionclient`
DRAIN: Final = 64  # messages read before it looks at its orders again
RAW_EVENTS: Final = 100  # in one raw message
RAW_BYTES: Final = 200  # of one raw event
RAW_NUMBER: Final = 8  # bytes at the beginning of a raw message: its number; a beat has no more


class Got(NamedTuple):
    """What one message holds."""

    number: int
    changes: int  # as they are counted; others move the number only
    beat: bool  # it repeats the newest number


def read_feed(payload: bytes) -> Got:
    """A message of the broker's feed; changes of status are counted."""
    message = msgpack.unpackb(payload)
    changes = message["changes"]
    return Got(message["n"], sum(change[0] == "s" for change in changes), not changes)


def read_raw(payload: bytes) -> Got:
    """A message of `scripts.measures.changes`, which is looked at no further."""
    beat = len(payload) == RAW_NUMBER
    return Got(int.from_bytes(payload[:RAW_NUMBER]), 0 if beat else RAW_EVENTS, beat)


class Count:
    """Counts changes and gaps; pure."""

    def __init__(self, number: int | None = None) -> None:
        """``number`` is that of the newest message so far."""
        self.number = number
        self.changes = self.gaps = 0
        self.quiet = 0  # beats since the last change
        self.first = self.last = 0.0  # when changes came (monotonic seconds)

    def take(self, got: Got, at: float) -> None:
        if self.number is not None:
            self.gaps += got.number != (self.number if got.beat else self.number + 1)
        self.number = got.number
        if got.beat:
            self.quiet += 1
            return
        self.quiet = 0
        if got.changes:
            self.first = self.first or at
            self.last = at
            self.changes += got.changes

    def ended(self, changes: int) -> bool:
        """Whether so many have come, or nothing more will: two beats brought none."""
        return self.changes >= changes or self.quiet >= 2

    def answer(self) -> dict[str, Any]:
        seconds = self.last - self.first
        return {"changes": self.changes, "gaps": self.gaps, "seconds": seconds}


def be_the_subscriber(address: str, read: Callable[[bytes], Got]) -> None:
    context: zmq.Context[Any] = zmq.Context()
    socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.RCVHWM, QUEUE)
    socket.set(zmq.SUBSCRIBE, b"")
    socket.connect(address)
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    count, awaited = Count(), None
    while True:
        ready = dict(poller.poll())
        if socket in ready:
            count = _drain(socket, read, count)
        if sys.stdin.fileno() in ready:
            line = sys.stdin.readline()
            if not line:
                break
            order = json.loads(line)
            if order["do"] == "begin":
                count = Count(count.number)
                _say({})
            else:
                awaited, count.quiet = order["changes"], 0
        if awaited is not None and count.ended(awaited):
            awaited = None
            _say(count.answer())
    context.destroy(linger=0)


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _drain(socket: zmq.Socket[bytes], read: Callable[[bytes], Got], count: Count) -> Count:
    try:
        for _ in range(DRAIN):
            got = read(socket.recv(zmq.NOBLOCK))
            if count.number is None:
                _say({})  # the first message of all: it is subscribed
            count.take(got, time.monotonic())
    except zmq.Again:
        pass
    return count


@contextmanager
def subscriber(address: str, *, raw: bool = False) -> Iterator[stage.Running]:
    """A child that is subscribed; to the broker's feed, or to raw messages."""
    kind = "raw" if raw else "feed"
    with stage.process(__name__, kind, address, name=f"the subscriber ({kind})") as running:
        running.hear()
        yield running


if __name__ == "__main__":
    be_the_subscriber(sys.argv[2], read_raw if sys.argv[1] == "raw" else read_feed)
