"""Asking the broker how it is, and looking who listens where."""

from __future__ import annotations

import os
import socket
import ssl
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import urlsplit

import zmq

from broker.addresses import is_local
from broker.doctor.findings import BrokerFacts, Holder, PortFacts
from sessionclient.address import reachable_feed
from sessionclient.errors import Misuse, PanelbusError
from sessionclient.keys import KEY_VARIABLE, ClientKey, read_fields, read_key
from sessionclient.operator import Operator
from sessionclient.wire import FEED, WireError, decode

CONNECT_TIMEOUT: Final = 1.0  # seconds
BEAT_TIMEOUT: Final = 3  # seconds; a feed beats every second
MAX_ANSWER_BYTES: Final = 1 << 16
# how every ZMTP connection begins (RFC 37): signature and version. More is not sent: a mechanism
# that the other end does not take would make it hang up before it has told its own
GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x01"
MECHANISM: Final = slice(12, 32)  # in what the other end says


def broker(address: str, timeout: float) -> tuple[BrokerFacts, str | None]:
    """What the broker says, and its epoch."""
    local = is_local(address)
    try:
        with Operator(address, timeout, role="viewer") as operator:
            stats = operator.stats()
    except PanelbusError as error:
        sealed = _readers_key() is None and _asks_for_key(address)
        return BrokerFacts(address, local, error=str(error), sealed=sealed), None
    sessions = sum(count for _, _, count in stats["sessions"])
    facts = BrokerFacts(
        address, local, version=stats["version"], health=stats["health"], sessions=sessions
    )
    return facts, stats["epoch"]


def bus_port(facts: BrokerFacts) -> PortFacts:
    if facts.error is None:
        held: Holder = "ours"
    elif facts.sealed:
        held = "sealed"
    else:
        held = "stranger" if _listening(facts.address) else "nobody"
    return PortFacts("bus", facts.address, held, "--bus")


def feed_port(address: str, epoch: str | None) -> PortFacts:
    """``epoch``: of the broker that is asked, whose feed it should be."""
    if not _listening(address):
        held: Holder = "nobody"
    elif epoch is None and _readers_key() is None and _asks_for_key(address):
        held = "sealed"
    else:
        held = "ours" if epoch is not None and _beat(address) == epoch else "stranger"
    return PortFacts("feed", address, held, "--feed")


def _connected(address: str) -> socket.socket:
    """Raises OSError: nobody listens there."""
    found = urlsplit(address)
    if found.scheme != "ipc":
        return socket.create_connection((found.hostname, found.port or 80), CONNECT_TIMEOUT)
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.settimeout(CONNECT_TIMEOUT)
        probe.connect(address.removeprefix("ipc://"))
    except OSError:
        probe.close()
        raise
    return probe


def _listening(address: str) -> bool:
    try:
        _connected(address).close()
    except OSError:
        return False
    return True


def _asks_for_key(address: str) -> bool:
    """Whether what listens there speaks ZMTP and takes nobody without a key (CURVE)."""
    heard = b""
    try:
        with _connected(address) as probe:
            probe.sendall(GREETING)
            while len(heard) < MECHANISM.stop:
                part = probe.recv(MECHANISM.stop - len(heard))
                if not part:
                    return False
                heard += part
    except OSError:
        return False
    return heard[MECHANISM].rstrip(b"\0") == b"CURVE"


def _readers_key() -> ClientKey | None:
    """The key that PANELBUS_KEY names; None where none is named that may read the feed."""
    path = os.environ.get(KEY_VARIABLE)
    try:
        if not path or read_fields(path).get("role") == "app":
            return None
        return read_key(path)
    except Misuse:  # told by whoever tried to speak with it
        return None


def _beat(address: str) -> str | None:
    """The epoch a feed tells, None for what is no feed."""
    key, context = _readers_key(), zmq.Context()
    with context, context.socket(zmq.SUB) as feed:
        feed.set(zmq.LINGER, 0)
        feed.set(zmq.SUBSCRIBE, b"")
        if key is not None:
            feed.set(zmq.CURVE_SERVERKEY, key.server.encode())
            feed.set(zmq.CURVE_PUBLICKEY, key.public.encode())
            feed.set(zmq.CURVE_SECRETKEY, key.secret.encode())
        feed.connect(address)
        if not feed.poll(BEAT_TIMEOUT * 1000):
            return None
        try:
            return str(decode(feed.recv(), FEED)["epoch"])
        except WireError:
            return None


def http_port(name: str, url: str, path: str, sign: bytes, option: str) -> PortFacts:
    """``sign``: what stands in the answer of ours at this path."""
    if not _listening(url):
        return PortFacts(name, url, "nobody", option)
    looking = ssl.create_default_context()
    looking.check_hostname = False  # nothing secret is sent, and a finding says so
    looking.verify_mode = ssl.CERT_NONE
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=looking)
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(url + path, timeout=BEAT_TIMEOUT) as answer:
            body = answer.read(MAX_ANSWER_BYTES)
    except (OSError, ValueError) as error:  # an answer of another status is an OSError, too
        body = error.read(MAX_ANSWER_BYTES) if isinstance(error, urllib.error.HTTPError) else b""
    return PortFacts(name, url, "ours" if sign in body else "stranger", option)


def feed_address(feed: str | None, bus: str) -> str | None:
    """Where to look for the feed: as given, or the port after the bus; None where that is none."""
    if feed is not None:
        return reachable_feed(feed, bus)
    host, _, port = bus.rpartition(":")
    return f"{host}:{int(port) + 1}" if bus.startswith("tcp://") else None
