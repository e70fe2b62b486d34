"""Which broker to talk to."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Any, Final

from sessionclient.errors import Misuse

DEFAULT_URL: Final = "tcp://127.0.0.1:5760"
URL_VARIABLE: Final = "PANELBUS_URL"

MAX_IPC_BYTES: Final = 100  # of a socket file's path; systems allow 104 to 108

# ASCII only: ZeroMQ takes no other names
_TCP: Final = re.compile(
    r"tcp://(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^:/\s\[\]*\x80-\U0010ffff]+):(\d{1,5})", re.ASCII
)
_IPC: Final = re.compile(rf"ipc://[!-~]{{1,{MAX_IPC_BYTES}}}")
NEIGHBOURHOOD_BITS: Final = 64  # of an IPv6 address: whoever has one there has them all

WILDCARDS: Final = ("*", "0.0.0.0", "[::]", "::")


def default_url() -> str:
    """The address from PANELBUS_URL, or the default one."""
    return os.environ.get(URL_VARIABLE) or DEFAULT_URL


def check_url(url: Any) -> str:
    """``url`` itself if it is a broker's address, the default for None.

    Raises:
        Misuse: it is not; the message says what to give.
    """
    if url is None:
        url = default_url()
    give = "give tcp://HOST:PORT (such as tcp://127.0.0.1:5760) or ipc://PATH"
    if not isinstance(url, str):
        raise Misuse(f"server_url must be text, not {type(url).__name__}; {give}")
    match = _TCP.fullmatch(url)
    if match is not None and 1 <= int(match[2]) <= 65535:
        return url
    if _IPC.fullmatch(url):
        return url
    if url.startswith(("http://", "https://")):
        raise Misuse(f"server_url {url!r} is the REST gateway's kind; the bus is elsewhere: {give}")
    raise Misuse(f"server_url {url!r} is not a broker's address; {give}")


def reachable_feed(feed: str, bus: str) -> str:
    """The feed's address as seen from here: a broker bound to every interface names no host."""
    if not feed.startswith("tcp://"):
        return feed
    host, _, port = feed.removeprefix("tcp://").rpartition(":")
    if host not in WILDCARDS or not bus.startswith("tcp://"):
        return feed
    bus_host = bus.removeprefix("tcp://").rpartition(":")[0]
    return f"tcp://{bus_host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether this is an IP address of this machine's own, IPv6 with brackets or without; no name
    is."""
    try:
        return ipaddress.ip_address(address.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def neighbourhood(address: str) -> str:
    """Where somebody is, as attempts are counted: an IPv4 address, or the /64 of an IPv6 one.

    What is no address is answered as it is.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, NEIGHBOURHOOD_BITS), strict=False))
