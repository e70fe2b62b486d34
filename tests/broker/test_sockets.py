"""The bounds of the broker's sockets, as their connections show them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from broker import sockets
from broker.sockets import AddressInUse, Sockets
from tests.broker.running import RunningBus
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


def test_a_taken_address_is_told_with_its_option(running: RunningBus) -> None:
    free = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(AddressInUse, match="--bus, or stop what holds it"):
        Sockets().bind(running.address, free)
    with pytest.raises(AddressInUse, match="--feed, or stop what holds it"):
        Sockets().bind(free, running.feed)


@pytest.mark.skipif(os.name != "posix", reason="socket files")
def test_a_socket_file_replaces_neither_another_nor_a_file(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    sockets = Sockets()
    try:
        with pytest.raises(AddressInUse):
            sockets.bind(f"ipc://{precious}", f"tcp://127.0.0.1:{free_port()}")
    finally:
        sockets.close()
    assert precious.read_text() == "data"
