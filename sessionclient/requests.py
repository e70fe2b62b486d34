"""An operator's requests that wait for their answers, without I/O.

A request is sent when the broker has greeted us, and sent again after a reconnect: all kinds can
be repeated (a kill carries a key), except those that make something new each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sessionclient.errors import LinkDown, PanelbusError, Refused, RequestTimeout, refusal
from sessionclient.link import Link
from sessionclient.wire import Message

MAX_PENDING: Final = 10_000  # requests that wait at the same time
ONCE_ONLY: Final = frozenset({"create", "backup"})  # kinds that must not be sent twice

Resolve = Callable[[Any, PanelbusError | None], None]


@dataclass(slots=True)
class _Pending:
    kind: str
    fields: dict[str, Any]
    deadline: float  # monotonic seconds
    resolve: Resolve
    sent: bool = False


class Requests:
    """The requests of one connection. A `Payload` of `Link`."""

    def __init__(
        self,
        address: str,
        on_welcome: Callable[[Message, float], None],
        on_lost: Callable[[float], None],
    ) -> None:
        """``on_welcome`` and ``on_lost`` are called after the requests have been seen to."""
        self._address = address
        self._on_welcome, self._on_lost = on_welcome, on_lost
        self._pending: dict[int, _Pending] = {}
        self._last = 0
        self._link: Link | None = None

    def attach(self, link: Link) -> None:
        """Name the link that carries these; once, right after both exist."""
        self._link = link

    @property
    def link(self) -> Link:
        if self._link is None:
            raise RuntimeError("the requests have no link yet")
        return self._link

    # --- asking ------------------------------------------------------------------------------

    def ask(
        self, kind: str, fields: dict[str, Any], deadline: float, resolve: Resolve
    ) -> int | None:
        """Put a question; ``resolve`` is called once, with the result or the error.

        Returns its number for `cancel`, or None when it was refused at once.
        """
        if len(self._pending) >= MAX_PENDING:
            error = Refused(f"{MAX_PENDING} requests are waiting already", "too_many")
            resolve(None, error)
            return None
        self._last += 1
        pending = self._pending[self._last] = _Pending(kind, fields, deadline, resolve)
        if self.link.state == "online":
            self._send(self._last, pending)
        return self._last

    def cancel(self, number: int) -> None:
        """Nobody waits for this one any more."""
        self._pending.pop(number, None)

    def _send(self, number: int, pending: _Pending) -> None:
        pending.sent = True
        fields = {key: value for key, value in pending.fields.items() if value is not None}
        self.link.request({"k": pending.kind, "r": number, **fields})

    # --- what the link tells -----------------------------------------------------------------

    def greetings(self, _now: float) -> list[dict[str, Any]]:
        return [{"sessions": [], "ended": [], "last": True}]

    def welcomed(self, welcome: Message, now: float) -> None:
        for number, pending in list(self._pending.items()):
            if pending.sent and pending.kind in ONCE_ONLY:
                self._lose(number)
            else:
                self._send(number, pending)
        self._on_welcome(welcome, now)

    def disconnected(self, now: float) -> None:
        for number, pending in list(self._pending.items()):
            if pending.sent and pending.kind in ONCE_ONLY:
                self._lose(number)
        self._on_lost(now)

    def _lose(self, number: int) -> None:
        text = f"the connection to {self._address} was lost; whether it was done is unknown"
        self._resolve(number, None, LinkDown(text))

    def acknowledged(self, number: int) -> None:
        """Heartbeats are acknowledged; nothing waits for that."""

    def received(self, message: Message, _now: float) -> None:
        number = message.get("r")
        if message["k"] == "reply":
            self._resolve(number, message.get("result"), None)
        elif message["k"] == "error":
            self._resolve(number, None, refusal(message["code"], message["message"]))

    def tick(self, now: float) -> None:
        """Give up on what is overdue."""
        overdue = [number for number, p in self._pending.items() if p.deadline <= now]
        for number in overdue:
            if number in self._pending:  # an answer before may have cancelled it
                self._resolve(number, None, self._too_late(self._pending[number]))

    def _too_late(self, pending: _Pending) -> LinkDown:
        if self.link.trouble is not None:
            return LinkDown(f"the broker at {self._address} refuses us: {self.link.trouble}")
        if self.link.state == "online":
            return RequestTimeout(f"the broker at {self._address} did not answer {pending.kind!r}")
        return LinkDown(
            f"cannot reach the broker at {self._address}; is it running there? (start one with:"
            " panelbus broker)"
        )

    def next_deadline(self) -> float:
        return min((p.deadline for p in self._pending.values()), default=float("inf"))

    def give_up(self, why: str) -> None:
        """The connection is being closed."""
        for number in list(self._pending):
            self._resolve(number, None, LinkDown(why))

    def _resolve(self, number: int | None, result: Any, error: PanelbusError | None) -> None:
        pending = self._pending.pop(number, None) if number is not None else None
        if pending is not None:
            pending.resolve(result, error)
