"""TCP ports of 127.0.0.1, for the processes that a script starts."""

from __future__ import annotations

import socket
from typing import Final

CONNECT_TIMEOUT: Final = 1.0  # seconds; one that is frozen may not answer at all


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody listens on right now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on right now."""
    (port,) = free_ports(1)
    return port


def free_address() -> str:
    """The same as a ZeroMQ address."""
    return f"tcp://127.0.0.1:{free_port()}"


def listens(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(CONNECT_TIMEOUT)
        return probe.connect_ex(("127.0.0.1", port)) == 0
