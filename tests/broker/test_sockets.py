"""The bounds of the broker's sockets, as their connections show them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from broker import sockets
from broker.sockets import Sockets
from tests.support.processes import eventually, free_port

ESTABLISHED = "01"  # as /proc/net/tcp has it
KEEPALIVE = "02"


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    monkeypatch.setattr(sockets, "HANDSHAKE_MS", 50)
    bus, feed = free_port(), free_port()
    opened = Sockets()
    opened.bind(f"tcp://127.0.0.1:{bus}", f"tcp://127.0.0.1:{feed}")
    yield bus, feed
    opened.close()


def timers(port: int) -> set[str]:
    """Which timers the kernel runs for the connections that a port has accepted."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {
        row[5].partition(":")[0]
        for row in fields
        if row[1].endswith(f":{port:04X}") and row[3] == ESTABLISHED
    }


@pytest.mark.skipif(sys.platform != "linux", reason="timers are read from /proc")
def test_the_kernel_asks_whether_a_silent_peer_is_still_there(ports: tuple[int, int]) -> None:
    with zmq.Context() as context:
        for port, kind in zip(ports, (zmq.DEALER, zmq.SUB), strict=True):
            with context.socket(kind) as peer:
                peer.set(zmq.LINGER, 0)
                peer.connect(f"tcp://127.0.0.1:{port}")
                eventually(lambda port=port: timers(port) == {KEEPALIVE}, "it will ask")  # type: ignore[misc]  # a lambda's default has no type


def test_who_says_nothing_is_hung_up_on(ports: tuple[int, int]) -> None:
    for port in ports:
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.settimeout(10.0)
            while silent.recv(4096):  # a greeting may come first
                pass
