"""Large answers that libzmq still holds for peers that do not read them, counted in bytes.

A queue bounded by messages alone would hold 2,000 pages of the list for a peer that only asks. So
a large message is sent with a tracker, which tells when its bytes have left this process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import zmq

LARGE: Final = 16 * 1024  # bytes; smaller messages are bounded by their number well enough
MAX_UNREAD_PEER: Final = 16 << 20  # bytes of large messages held for one peer
MAX_UNREAD: Final = 128 << 20  # for all peers; beyond it each may have one message waiting


class _Held(NamedTuple):
    size: int  # bytes
    tracker: zmq.MessageTracker


class Unread:
    """Who has how much to read."""

    def __init__(self, peer_limit: int = MAX_UNREAD_PEER, limit: int = MAX_UNREAD) -> None:
        self._peer_limit = peer_limit
        self._limit = limit
        self._held: dict[bytes, deque[_Held]] = {}
        self.total = 0  # bytes

    def has_room(self, route: bytes) -> bool:
        """Whether this peer may be sent one more large message."""
        self._forget_sent(route)
        mine = self._held.get(route)
        if mine is None:
            return True
        if self.total >= self._limit:
            self.sweep()
        return self.total < self._limit and sum(held.size for held in mine) < self._peer_limit

    def add(self, route: bytes, size: int, tracker: zmq.MessageTracker) -> None:
        """A message of ``size`` bytes is on its way."""
        self._held.setdefault(route, deque()).append(_Held(size, tracker))
        self.total += size

    def sweep(self) -> None:
        """Forget what has been sent, or has gone with its connection; about once a second."""
        for route in list(self._held):
            self._forget_sent(route)

    def _forget_sent(self, route: bytes) -> None:
        mine = self._held.get(route, deque())
        for held in _sent(mine):
            self.total -= held.size
        if not mine:
            self._held.pop(route, None)


def _sent(waiting: deque[_Held]) -> Iterator[_Held]:
    """Takes out those at the front that are done: a connection's messages are sent in order."""
    while waiting and waiting[0].tracker.done:
        yield waiting.popleft()
