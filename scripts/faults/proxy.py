"""A TCP proxy on loopback that can slow down, hold up, swallow, cut and halve its connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Literal

CONNECT_TIMEOUT: Final = 5.0  # seconds; on loopback somebody listens at once or not at all
CHUNK: Final = 65_536  # bytes read at a time

Side = Literal["client", "server"]


class _Connection:
    """A client's connection and the one made for it. ``lost`` once bytes of it were swallowed:
    what a stream lacks in the middle can't be made good, so it is broken when all is mended."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.lost = False
        self.halved = False

    def close(self) -> None:
        _close(self.client)
        _close(self.server)


class Proxy:
    """Forwards ``port`` to the port ``target``, as long as nothing else is asked of it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._changed = threading.Condition()
        self._open: set[_Connection] = set()
        self._refusing = False
        self._stalled = False
        self._swallowing = False
        self._delay = 0.0  # seconds
        self._carried = time.monotonic()  # when anything last came
        threading.Thread(target=self._accept, daemon=True).start()

    def quiet_for(self) -> float:
        """Seconds since anything came: after a while nothing is under way."""
        with self._changed:
            return time.monotonic() - self._carried

    # --- what may go wrong -------------------------------------------------------------------

    def cut(self) -> None:
        """Break all connections and take no new ones."""
        with self._changed:
            self._refusing = True
            self._break(self._open)

    def stall(self) -> None:
        """Keep the connections and hold everything back: it arrives late, but arrives."""
        with self._changed:
            self._stalled = True

    def swallow(self) -> None:
        """Keep the connections and lose what comes."""
        with self._changed:
            self._swallowing = True

    def slow(self, seconds: float) -> None:
        """Let each piece of at most `CHUNK` bytes wait so long."""
        with self._changed:
            self._delay = seconds

    def halve(self, ends: Side) -> None:
        """End all present connections on one side only; the other believes in them still."""
        with self._changed:
            for connection in self._open:
                connection.halved = True
                _close(connection.client if ends == "client" else connection.server)

    def mend(self) -> None:
        """All is well again, but for connections that have lost something: they break."""
        with self._changed:
            self._refusing = self._stalled = self._swallowing = False
            self._delay = 0.0
            self._break({c for c in self._open if c.lost or c.halved})
            self._changed.notify_all()

    def close(self) -> None:
        self.cut()
        _close(self._listener)

    # --- threads -----------------------------------------------------------------------------

    def _break(self, connections: set[_Connection]) -> None:
        for connection in list(connections):
            connection.close()
            self._open.discard(connection)
        self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), CONNECT_TIMEOUT)
            except OSError:  # nobody is there, which the client learns the same way
                _close(client)
                continue
            server.settimeout(None)
            connection = _Connection(client, server)
            with self._changed:
                if self._refusing:
                    connection.close()
                    continue
                self._open.add(connection)
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(connection, *ends), daemon=True).start()

    def _pump(self, connection: _Connection, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if self._passes(connection):
                    sink.sendall(data)
        with self._changed:
            if connection.halved and connection in self._open and not _is_closed(sink):
                return  # this is the side that was ended; the other one is not to know
            connection.close()
            self._open.discard(connection)
            self._changed.notify_all()

    def _passes(self, connection: _Connection) -> bool:
        """Whether a piece of data goes on; waits while it is held up."""
        with self._changed:
            self._carried = time.monotonic()
            if self._delay:
                self._changed.wait_for(lambda: connection not in self._open, self._delay)
            self._changed.wait_for(lambda: not self._stalled or connection not in self._open)
            if self._swallowing or connection.halved:
                connection.lost = True
            return not connection.lost


def _is_closed(sock: socket.socket) -> bool:
    return sock.fileno() < 0


def _close(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


@contextmanager
def proxied(target: int) -> Iterator[Proxy]:
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
