"""What the proxy does to a connection, seen from both ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from scripts.faults.proxy import Proxy, proxied

TIMEOUT = 20.0  # seconds; for what must come
NOTHING = 0.2  # seconds in which nothing may come


class Ends:
    """A listener, a proxy in front of it, and connections made through the two."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.settimeout(TIMEOUT)
        self.proxy: Proxy = stack.enter_context(proxied(self._listener.getsockname()[1]))

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """The client's and the server's end of a new connection; it carries data both ways."""
        client = self._stack.enter_context(
            socket.create_connection(("127.0.0.1", self.proxy.port), TIMEOUT)
        )
        server = self._stack.enter_context(self._listener.accept()[0])
        server.settimeout(TIMEOUT)
        carries(client, server)
        carries(server, client)
        return client, server

    def stop_listening(self) -> None:
        self._listener.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    with ExitStack() as stack:
        yield Ends(stack)


def carries(source: socket.socket, sink: socket.socket) -> None:
    source.sendall(b"hello")
    assert sink.recv(100) == b"hello"


def silent(sock: socket.socket) -> bool:
    """Whether nothing comes, not even the end."""
    sock.settimeout(NOTHING)
    try:
        sock.recv(100)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(TIMEOUT)
    return False


def ended(sock: socket.socket) -> bool:
    """Whether the connection's end comes."""
    try:
        return sock.recv(100) == b""
    except ConnectionError:
        return True


def test_it_tells_for_how_long_nothing_came(ends: Ends) -> None:
    client, server = ends.connect()
    began = time.monotonic()
    assert silent(server)
    assert ends.proxy.quiet_for() >= NOTHING
    carries(client, server)
    assert ends.proxy.quiet_for() < time.monotonic() - began - NOTHING / 2


def test_an_end_of_one_side_is_an_end_of_both(ends: Ends) -> None:
    client, server = ends.connect()
    client.close()
    assert ended(server)
    client, server = ends.connect()
    server.close()
    assert ended(client)


def test_a_cut_breaks_all_and_lets_nobody_in_until_it_is_mended(ends: Ends) -> None:
    pairs = [ends.connect(), ends.connect()]
    ends.proxy.cut()
    assert all(ended(sock) for pair in pairs for sock in pair)
    with socket.create_connection(("127.0.0.1", ends.proxy.port), TIMEOUT) as refused:
        assert ended(refused)
    ends.proxy.mend()


def test_what_is_held_up_arrives_in_the_end(ends: Ends) -> None:
    client, server = ends.connect()
    ends.proxy.stall()
    client.sendall(b"late")
    server.sendall(b"late as well")
    assert silent(server)
    assert silent(client)
    ends.proxy.mend()
    assert server.recv(100) == b"late"
    assert client.recv(100) == b"late as well"
    carries(client, server)


def test_what_is_swallowed_is_lost_and_its_connection_with_it(ends: Ends) -> None:
    client, server = ends.connect()
    spared, its_server = ends.connect()
    ends.proxy.swallow()
    client.sendall(b"lost")
    assert silent(server)
    ends.proxy.mend()
    assert ended(client)
    assert ended(server)
    carries(spared, its_server)  # nothing was lost there


def test_a_slow_network_is_slow_and_whole(ends: Ends) -> None:
    client, server = ends.connect()
    ends.proxy.slow(0.5)
    client.sendall(b"slowly")
    assert silent(server)
    assert server.recv(100) == b"slowly"
    ends.proxy.mend()
    carries(client, server)


@pytest.mark.parametrize("side", ["client", "server"])
def test_half_a_connection(ends: Ends, side: str) -> None:
    pair = dict(zip(("client", "server"), ends.connect(), strict=True))
    ends.proxy.halve("client" if side == "client" else "server")
    other = pair["server" if side == "client" else "client"]
    assert ended(pair[side])
    other.sendall(b"is anybody there?")
    assert silent(other)
    client, server = ends.connect()  # new ones are whole
    ends.proxy.mend()
    assert ended(other)
    carries(client, server)


def test_a_proxy_of_nobody_ends_what_comes(ends: Ends) -> None:
    ends.stop_listening()
    for _ in range(2):  # and is there for the next
        with socket.create_connection(("127.0.0.1", ends.proxy.port), TIMEOUT) as sock:
            assert ended(sock)
