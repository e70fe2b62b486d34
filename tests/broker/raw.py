"""A bare ZeroMQ socket towards a broker: it says what a test tells it to, protocol or not."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import zmq

from sessionclient.wire import FROM_BROKER, decode, encode
from tests.support.bench import greeting

SOON_MS = 40_000  # generous, for a busy machine
GONE = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


class RawPeer:
    """One connection; each number of `greet` and `say` is one more than the last."""

    def __init__(
        self,
        address: str,
        kind: int = zmq.DEALER,
        routing_id: bytes | None = None,
        queue: int = 10_000,
    ) -> None:
        """``queue``: messages held at this end before they are read."""
        self._context = zmq.Context()
        self.socket = self._context.socket(kind)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.SNDTIMEO, SOON_MS)
        self.socket.set(zmq.RCVTIMEO, SOON_MS)
        self.socket.set(zmq.SNDHWM, 10_000)
        self.socket.set(zmq.RCVHWM, queue)
        if routing_id is not None:
            self.socket.set(zmq.ROUTING_ID, routing_id)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | GONE)
        self.socket.connect(address)
        self.number = 0

    # --- saying ------------------------------------------------------------------------------

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def say(self, kind: str, **fields: Any) -> None:
        """A message of the protocol, as it is."""
        self.send(encode({"k": kind, **fields}))

    def tell(self, kind: str, **fields: Any) -> None:
        """A numbered message of an app's process."""
        self.number += 1
        self.say(kind, n=self.number, **fields)

    def greet(self, instance: str, *sessions: dict[str, Any], role: str = "app") -> dict[str, Any]:
        """Say hello, as an app with these sessions; returns the welcome."""
        self.number += 1
        fields = greeting(role, instance, self.number, sessions=list(sessions))
        self.say("hello", **fields)
        welcome = self.answer()
        assert welcome["k"] == "welcome", welcome
        return welcome

    def greet_in_parts(self, instance: str, first: list[dict[str, Any]]) -> None:
        """The first part of a hello; the others follow, and then the welcome."""
        self.number += 1
        self.say("hello", **greeting("app", instance, self.number, sessions=first, last=False))

    # --- hearing -----------------------------------------------------------------------------

    def answer(self) -> dict[str, Any]:
        """The next message from the broker."""
        return decode(self.socket.recv(), FROM_BROKER)

    def silent(self, milliseconds: int = 0) -> bool:
        """Whether nothing arrives within this time."""
        return self.socket.poll(milliseconds) == 0

    def wait_until_gone(self) -> None:
        """Wait until the broker has closed the connection or never let it come about."""
        assert self.monitor.poll(SOON_MS), "the connection is as it was"
        while True:
            event = int.from_bytes(self.monitor.recv_multipart()[0][:2], "little")
            if event & GONE:
                return
            assert self.monitor.poll(SOON_MS), "the connection stays"

    # --- closing -----------------------------------------------------------------------------

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)
        self._context.term()

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()
