"""Checking the addresses the broker is told to listen on."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final

_TCP: Final = re.compile(r"tcp://(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s]+):(?P<port>\d{1,5})")
_IPC: Final = re.compile(r"ipc://\S+")
_HTTP: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s]+):(?P<port>\d{1,5})")


class BadAddress(ValueError):
    """An address that can't be used; the message says what to give."""


def bus_address(text: str) -> str:
    """A ZeroMQ address to bind, as given; raises BadAddress."""
    match = _TCP.fullmatch(text)
    if match is not None and 1 <= int(match["port"]) <= 65535:
        return text
    if _IPC.fullmatch(text):
        return text
    raise BadAddress(f"{text!r} is not an address to listen on; give tcp://HOST:PORT or ipc://PATH")


def http_address(text: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT; raises BadAddress."""
    match = _HTTP.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise BadAddress(f"{text!r} is not an address to listen on; give HOST:PORT")
    return match["host"].strip("[]"), int(match["port"])


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
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass  # a name, or the wildcard "*"
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(ipaddress.ip_address(info[4][0]).is_loopback for info in found)
