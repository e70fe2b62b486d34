"""What an HTTP registry of the usual shape costs: FastAPI, uvicorn, and a commit per heartbeat.

The cheapest form of that shape, so that whatever is compared with it is not flattered: WAL mode,
one connection that stays open, a route on the event loop rather than in a thread of its own, one
statement a heartbeat, no access log. A heartbeat is on the disk before it is answered.

The load comes from one other process over a few connections that stay open, each with one request
at a time. How much of its core that process uses is told: beyond 100 % it would be the bottleneck.
"""

from __future__ import annotations

import selectors
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from scripts.measures import stage
from scripts.measures.figures import Figure, Measure, Round, Sample, Setting
from scripts.ports import free_port, listens

CONNECTIONS: Final = 8
READ_BYTES: Final = 65_536
HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length:"


class HeartbeatResponse(BaseModel):
    kill_requested: bool


# --- the server ----------------------------------------------------------------------------------


def be_the_server(port: int, database: str, sessions: int) -> None:
    """Serve until stdin ends."""
    server = uvicorn.Server(
        uvicorn.Config(make_app(database, sessions), port=port, log_level="warning")
    )

    def stop() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop, daemon=True).start()
    server.run()


def make_app(database: str, sessions: int) -> FastAPI:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE sessions (session_id TEXT PRIMARY KEY, last_heartbeat REAL NOT NULL,"
        " kill_requested INTEGER NOT NULL)"
    )
    connection.execute("BEGIN")
    rows = ((f"s{number}", time.time(), 0) for number in range(sessions))
    connection.executemany("INSERT INTO sessions VALUES (?, ?, ?)", rows)
    connection.execute("COMMIT")
    app = FastAPI()

    @app.post("/sessions/{session_id}/heartbeat")
    async def heartbeat(session_id: str) -> HeartbeatResponse:
        found = connection.execute(  # a transaction of its own
            "UPDATE sessions SET last_heartbeat = ? WHERE session_id = ? RETURNING kill_requested",
            (time.time(), session_id),
        ).fetchall()
        if not found:
            raise HTTPException(404)
        return HeartbeatResponse(kill_requested=bool(found[0][0]))

    return app


# --- the load ------------------------------------------------------------------------------------


class Connection:
    """One that stays open; answers are read with as little as they can be read with."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), stage.TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came = b""

    def ask(self, number: int) -> None:
        head = f"POST /sessions/s{number}/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        self.socket.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())

    def read(self) -> bool:
        """Whether the answer is complete now."""
        came = self.socket.recv(READ_BYTES)
        self._came += came
        head, end, body = self._came.partition(HEAD_END)
        if not came or (end and not head.startswith(b"HTTP/1.1 200 ")):
            raise RuntimeError(f"the server answered {self._came[:200]!r}")
        if not end or len(body) < _length(head):
            return False
        self._came = b""
        return True


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line[len(LENGTH) :]) for line in lines if line.startswith(LENGTH))


def be_the_load(port: int, sessions: int) -> None:
    """Serve orders: how long to load, answered with how many heartbeats were answered in how many
    seconds."""
    connections = [Connection(port) for _ in range(CONNECTIONS)]
    selector = selectors.DefaultSelector()
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        cpu, began = time.process_time(), time.monotonic()
        count = _run(selector, connections, sessions, began + order["seconds"])
        took = time.monotonic() - began
        return {"count": count, "seconds": took, "load": (time.process_time() - cpu) / took}

    print("{}", flush=True)
    stage.serve(answer)


def _run(
    selector: selectors.BaseSelector, connections: list[Connection], sessions: int, until: float
) -> int:
    for sent, connection in enumerate(connections):
        connection.ask(sent % sessions)
    sent, answered = len(connections), 0
    while answered < sent:
        ready = selector.select(stage.TIMEOUT)
        if not ready:
            raise RuntimeError("the server does not answer")
        for key, _ in ready:
            if not key.data.read():
                continue
            answered += 1
            if time.monotonic() < until:
                key.data.ask(sent % sessions)
                sent += 1
    return answered


# --- the measure ---------------------------------------------------------------------------------


def _round(server: stage.Running, load: stage.Running, seconds: float) -> Sample:
    cpu = server.cpu()
    found = load.ask(seconds=seconds)
    return {
        "ancestor.rate": found["count"] / found["seconds"],
        "ancestor.cpu": (server.cpu() - cpu) / found["count"] * 1e6,
        "ancestor.load": 100.0 * found["load"],
    }


@contextmanager
def start_ancestor(setting: Setting) -> Iterator[Round]:
    setting.directory.mkdir(parents=True, exist_ok=True)
    port, sessions = free_port(), setting.scale.sessions
    database = setting.directory / "ancestor.db"
    with stage.process(
        __name__, "server", port, database, sessions, name="the HTTP server"
    ) as server:
        stage.wait_for(
            lambda: server.popen.poll() is not None or listens(port), "the server listens"
        )
        with stage.process(__name__, "load", port, sessions, name="the load") as load:
            load.hear()
            yield partial(_round, server, load, setting.scale.seconds)


ANCESTOR: Final = Measure(
    "HTTP heartbeats",
    (
        Figure("ancestor.rate", "heartbeats over HTTP, each committed", "/s", "more"),
        Figure("ancestor.cpu", "CPU of one heartbeat over HTTP, committed", "µs"),
        Figure("ancestor.load", "heartbeats over HTTP: of the core of the side that asks", "%"),
    ),
    start_ancestor,
)

if __name__ == "__main__":
    if sys.argv[1] == "server":
        be_the_server(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        be_the_load(int(sys.argv[2]), int(sys.argv[3]))
