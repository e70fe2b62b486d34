"""Who gets through the handshake: a ZAP handler (ZeroMQ RFC 27) over the allow-list.

It answers in a thread of its own, so that a crowd of strangers, each of whom tries again for ever,
holds up nobody who is in already.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Final

import zmq
from zmq.auth.thread import ThreadAuthenticator

from broker.registry.access import FEED_ROLES, Access
from sessionclient.address import neighbourhood

BUS_DOMAIN: Final = "bus"
FEED_DOMAIN: Final = "feed"
MAX_STRANGERS: Final = 1_000  # different keys counted between two looks; the rest is one
OTHERS: Final = "other keys"


class _Zap(ThreadAuthenticator):
    """Remembers where the handshake comes from that is being judged: one at a time is."""

    address = ""

    async def handle_zap_message(self, msg: list[bytes]) -> None:
        self.address = msg[3].decode("ascii", "replace") if len(msg) > 3 else ""
        await super().handle_zap_message(msg)


class _Door:
    """The keys that one of the sockets takes, as `zmq.auth` asks for them."""

    def __init__(self, gatekeeper: Gatekeeper, roles: tuple[str, ...] | None) -> None:
        self._gatekeeper, self._roles = gatekeeper, roles

    def callback(self, domain: str, key: bytes) -> bool:
        return self._gatekeeper.judge(domain, key.decode("ascii"), self._roles)


class Gatekeeper:
    """Keeps strangers out of a context's sockets from `start` to `stop`."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], access: Access) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._turned_away: Counter[str] = Counter()
        self._zap = _Zap(context, log=logging.getLogger("panelbus.zap"))

    def start(self) -> None:
        """Before any socket is bound."""
        self._zap.start()
        # each domain by name: "*" does not cover a socket that has one
        self._zap.configure_curve_callback(BUS_DOMAIN, _Door(self, None))
        self._zap.configure_curve_callback(FEED_DOMAIN, _Door(self, FEED_ROLES))

    def stop(self) -> None:
        """After the sockets are closed, before their context ends. Idempotent."""
        if self._zap.is_alive():
            self._zap.stop()

    @property
    def alive(self) -> bool:
        """Without it nobody new gets in."""
        return self._zap.is_alive()

    def allow(self, access: Access) -> None:
        """Another list, for handshakes from now on."""
        self._access = access

    def judge(self, domain: str, public: str, roles: tuple[str, ...] | None) -> bool:
        """In the handler's thread."""
        credential = self._access.get(public)
        if credential is not None and (roles is None or credential.role in roles):
            return True
        if credential is None:
            # not the key itself: a stranger can make as many as it likes
            who = f"unknown keys from {neighbourhood(self._zap.address)}"
        else:
            who = f"key {credential.name} ({credential.role}) at the {domain}"
        with self._lock:
            full = len(self._turned_away) >= MAX_STRANGERS and who not in self._turned_away
            self._turned_away[OTHERS if full else who] += 1
        return False

    def take_turned_away(self) -> Counter[str]:
        """Who was kept out since the last look, and how often."""
        with self._lock:
            found, self._turned_away = self._turned_away, Counter()
        return found
