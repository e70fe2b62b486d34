"""Checking the addresses the broker is told to listen on."""

from __future__ import annotations

import re
import socket
from typing import Final

from sessionclient.address import WILDCARDS, is_loopback

_TCP: Final = re.compile(r"tcp://(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s]+):(?P<port>\d{1,5})")
_IPC: Final = re.compile(r"ipc://\S+")
_HTTP: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s]+):(?P<port>\d{1,5})")


class BadAddress(ValueError):
    """An address that can't be used; the message says what to give."""


def bus_address(text: str) -> str:
    """A ZeroMQ address to bind, as given; raises BadAddress."""
    match = _TCP.fullmatch(text)
    if _usable(match) or _IPC.fullmatch(text):
        return text
    raise BadAddress(f"{text!r} is not an address to listen on; give tcp://HOST:PORT or ipc://PATH")


def http_address(text: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT; raises BadAddress."""
    match = _HTTP.fullmatch(text)
    if match is None or not _usable(match):
        raise BadAddress(f"{text!r} is not an address to listen on; give HOST:PORT")
    return match["host"].strip("[]"), int(match["port"])


def _usable(match: re.Match[str] | None) -> bool:
    """Whether the port is one, and the host could be a name."""
    if match is None or not 1 <= int(match["port"]) <= 65535:
        return False
    try:
        match["host"].encode("idna")
    except UnicodeError:
        return False
    return True


def over_loopback(bus: str) -> str:
    """A bus address as this machine's own processes reach it: a wildcard names no host."""
    match = _TCP.fullmatch(bus)
    if match is None or match["host"] not in WILDCARDS:
        return bus
    return f"tcp://127.0.0.1:{match['port']}"


def is_local(address: str) -> bool:
    """Whether only this machine can reach it: loopback, or a local socket file.

    A name counts as local only when everything it resolves to is.
    """
    if address.startswith("ipc://"):
        return True
    match = _HTTP.fullmatch(address.removeprefix("tcp://"))
    if match is None:
        return False
    host = match["host"].strip("[]")
    if is_loopback(host):
        return True
    try:  # a name, or an address that is another machine's
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):  # unknown, or no name at all
        return False
    return all(is_loopback(str(info[4][0])) for info in found)
