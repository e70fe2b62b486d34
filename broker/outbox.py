"""What the registry wants said, on its way out: encoded, bounded, and never waited for."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

import msgpack
import zmq

from broker.registry.effects import Send
from broker.registry.model import Route
from broker.unread import LARGE, Unread
from sessionclient.errors import Misuse
from sessionclient.wire import encode

log = logging.getLogger("panelbus.broker")

# plain numbers: to combine pyzmq's own flags takes longer than to send a message
NOBLOCK: Final = int(zmq.NOBLOCK)
MORE_NOBLOCK: Final = int(zmq.NOBLOCK | zmq.SNDMORE)


class Outbox:
    """Sends on one ROUTER, in the loop's own thread."""

    def __init__(self, router: zmq.Socket[bytes]) -> None:
        self._router = router
        # below pyzmq's conveniences for other kinds of sockets, which take as long as the send
        self._push = super(zmq.Socket, router).send
        self.pack = msgpack.Packer().pack  # for everything this thread encodes
        self.unread = Unread()

    def send(self, messages: Iterable[Send]) -> list[Route]:
        """Send them in order; the connections among theirs that are gone."""
        gone = []
        for route, message in messages:
            payload = self.payload(message)
            if payload is not None and len(payload) >= LARGE and not self.unread.has_room(route):
                payload = _too_much_unread(message)
            if payload is None:
                continue
            try:
                self._send_one(route, payload)
            except zmq.Again:
                pass  # its queue is full: commands are pushed again, requests time out
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                gone.append(route)
        return gone

    def _send_one(self, route: Route, payload: bytes) -> None:
        push = self._push
        # NOBLOCK, or a peer that does not read would stop the whole bus
        push(route, MORE_NOBLOCK)
        if len(payload) < LARGE:
            push(payload, NOBLOCK)
            return
        frame = zmq.Frame(payload, track=True, copy=False)
        tracker = self._router.send(frame, NOBLOCK, copy=False, track=True)
        self.unread.add(route, len(payload), tracker)

    def payload(self, message: dict[str, Any]) -> bytes | None:
        """The bytes of a message, or of an error instead; None for what can't be answered."""
        try:
            return encode(message, self.pack)
        except Misuse as error:  # our own bound was wrong: the peer learns that, the bus goes on
            log.error("an answer could not be sent: %s", error)
            if "r" not in message:
                return None
            text = "the answer is too long for one message; ask for less"
            return _error(message, "bad_request", text)


def _too_much_unread(message: dict[str, Any]) -> bytes | None:
    """Instead of an answer; None for what is no answer: a command is pushed again later."""
    if "r" not in message:
        return None
    text = "too many of your answers wait to be read; read them, then ask again"
    return _error(message, "too_many", text)


def _error(message: dict[str, Any], code: str, text: str) -> bytes:
    return encode({"k": "error", "r": message["r"], "code": code, "message": text})
