"""The broker's two sockets, every bound of them set on purpose."""

from __future__ import annotations

import errno
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

import zmq

from broker.gatekeeper import BUS_DOMAIN, FEED_DOMAIN, Gatekeeper
from broker.keyring import BrokerKey
from broker.registry.access import Access
from sessionclient.wire import MAX_FRAME_BYTES

LINGER_MS: Final = 500  # how long closing sockets may still send
# Socket bounds, each on purpose (an unset high-water mark of 0 would mean unbounded memory).
ROUTER_QUEUE: Final = 2_000  # messages held for one peer that does not read
FEED_QUEUE: Final = 500  # feed messages held for one subscriber that does not read
BACKLOG: Final = 4_096  # connections waiting to be accepted, as after a restart
MAX_SOCKETS: Final = 65_535
HANDSHAKE_MS: Final = 10_000  # a connection that says nothing is closed after this
# A network lost without a FIN is noticed by the kernel. ZMTP pings would cost libzmq time by the
# number of connections: with 10,000 idle ones its thread did nothing else, and none could be added.
KEEPALIVE_IDLE: Final = 20  # seconds without traffic until the kernel asks
KEEPALIVE_INTERVAL: Final = 5  # seconds between its questions
KEEPALIVE_COUNT: Final = 3  # of them without an answer end the connection


class AddressInUse(Exception):
    """A bus or feed address can't be bound; the message says which and why."""


class Sockets:
    """The broker's two sockets with their bounds; binding is separate so that it can fail well."""

    def __init__(self, key: BrokerKey | None = None, access: Access | None = None) -> None:
        """With a key, clients must have one too, and be on the list ``access``."""
        self.context = zmq.Context(io_threads=1)
        self.context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        self._key = key
        self._feed_address = ""
        self.gatekeeper = Gatekeeper(self.context, access or {}) if key is not None else None
        if self.gatekeeper is not None:
            self.gatekeeper.start()
        self.router = self.context.socket(zmq.ROUTER)
        self._bound(self.router, BUS_DOMAIN)
        # without MANDATORY a message for a vanished peer disappears and nobody is told
        self.router.set(zmq.ROUTER_MANDATORY, 1)
        self.router.set(zmq.SNDHWM, ROUTER_QUEUE)
        self.router.set(zmq.RCVHWM, ROUTER_QUEUE)
        self.feed = self._new_feed()

    def _bound(self, end: zmq.Socket[bytes], domain: str) -> None:
        end.set(zmq.LINGER, LINGER_MS)
        end.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        end.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        end.set(zmq.TCP_KEEPALIVE, 1)
        end.set(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE)
        end.set(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL)
        end.set(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT)
        end.set(zmq.BACKLOG, BACKLOG)
        if self._key is not None:
            end.set(zmq.CURVE_SERVER, 1)
            end.set(zmq.CURVE_SECRETKEY, self._key.secret.encode())
            end.set(zmq.ZAP_DOMAIN, domain.encode())

    def _new_feed(self) -> zmq.Socket[bytes]:
        feed = self.context.socket(zmq.PUB)
        self._bound(feed, FEED_DOMAIN)
        feed.set(zmq.SNDHWM, FEED_QUEUE)
        return feed

    def reopen_feed(self) -> None:
        """Part with all subscribers: a PUB can't part with one of them. They come back by
        themselves, through the handshake; `bind_feed` is to be called until it has succeeded."""
        self.feed.close(0)
        self.feed = self._new_feed()

    def bind_feed(self) -> bool:
        """Listen again at the feed's address; False while the closed socket still holds it."""
        try:
            self.feed.bind(self._feed_address)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE:
                raise
            return False
        return True

    def user_of(self, frame: zmq.Frame) -> str | None:
        """The public key its sender has proved; None where none is asked for."""
        return None if self._key is None else str(frame.get("User-Id"))

    def bind(self, bus: str, feed: str) -> None:
        """Raises AddressInUse when an address is taken or can't be used on this machine."""
        self._feed_address = feed
        for end, address, option in (
            (self.router, bus, "--bus"),
            (self.feed, feed, "--feed"),
        ):
            try:
                _spare_what_is_there(address)
                end.bind(address)
            except (zmq.ZMQError, OSError) as error:
                self.close()
                raise AddressInUse(
                    f"can't listen on {address}: {error.strerror or error}; choose another"
                    f" address with {option}, or stop what holds it"
                ) from error

    def close(self) -> None:
        self.router.close()
        self.feed.close()
        if self.gatekeeper is not None:
            self.gatekeeper.stop()
        self.context.term()


def _spare_what_is_there(address: str) -> None:
    """Binding a socket file removes whatever has its name; only a dead socket may go.

    Raises:
        OSError: what is there is in use, or is no socket at all.
    """
    path = Path(address.removeprefix("ipc://"))
    if not address.startswith("ipc://") or not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(errno.EEXIST, "a file of this name exists")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(ConnectionError):
        probe.settimeout(1.0)
        probe.connect(str(path))
        raise OSError(errno.EADDRINUSE, "Address already in use")
