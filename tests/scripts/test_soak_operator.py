"""What the soak's operator knows of live sessions, and how it asks the gateway."""

from __future__ import annotations

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from scripts.soak_operator import LiveIds, Rest
from sessionclient.mirror import Change


def rows(*ids: str) -> list[dict[str, str]]:
    return [{"session_id": name} for name in ids]


def known(live: LiveIds) -> set[str | None]:
    rng = random.Random(1)
    return {live.any(rng) for _ in range(100)}


def test_any_is_one_that_lives() -> None:
    live = LiveIds()
    assert live.any(random.Random(1)) is None
    live.apply(Change("snapshot", rows("a", "b", "c")))
    assert known(live) == {"a", "b", "c"}
    live.apply(Change("ended", rows("a")))
    live.apply(Change("session", rows("d", "b")))
    live.apply(Change("ended", rows("nobody", "d")))
    live.apply(Change("heard", [{"process": "p"}]))
    assert known(live) == {"b", "c"}
    assert len(live) == 2
    live.apply(Change("snapshot", rows("e")))
    assert known(live) == {"e"}


class Impatient(BaseHTTPRequestHandler):
    """A gateway that closes each connection after its answer, and does not say so."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def _answer(self, status: int, body: object) -> None:
        self.asked.append(f"{self.command} {self.path}")
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = True

    def do_GET(self) -> None:
        self._answer(200, {"sessions": rows("a")})

    def do_POST(self) -> None:
        self._answer(202, {})

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    Impatient.asked = []
    with HTTPServer(("127.0.0.1", 0), Impatient) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        rest = Rest(f"127.0.0.1:{server.server_port}")
        for _ in range(3):
            rest.kill_any(random.Random(1))
        rest.close()
        server.shutdown()
        thread.join()
    assert set(Impatient.asked) == {"GET /sessions?limit=100", "POST /sessions/a/kill"}
