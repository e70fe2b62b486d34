"""Which broker to talk to."""

from __future__ import annotations

import os
import re
from typing import Any, Final

from sessionclient.errors import Misuse

DEFAULT_URL: Final = "tcp://127.0.0.1:5760"
URL_VARIABLE: Final = "PANELBUS_URL"

_TCP: Final = re.compile(r"tcp://(\[[0-9A-Fa-f:.%\w]+\]|[^:/\s\[\]*]+):(\d{1,5})")
_IPC: Final = re.compile(r"ipc://\S+")
_WILDCARDS: Final = ("*", "0.0.0.0", "[::]", "::")


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
    if host not in _WILDCARDS or not bus.startswith("tcp://"):
        return feed
    bus_host = bus.removeprefix("tcp://").rpartition(":")[0]
    return f"tcp://{bus_host}:{port}"
