"""A real broker and its gateway with tokens: owners, roles, revocation, tricks, secrecy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
from click.testing import CliRunner

from sessionclient.cli import main
from tests.process.conftest import StartBroker, Track
from tests.process.test_gateway import answers, gateway_of
from tests.support.processes import BrokerProcess, eventually

pytestmark = pytest.mark.process

ROLES = {"ann": "app", "bob": "app", "eve": "viewer", "zoe": "operator"}


class Rest(NamedTuple):
    """The gateway of a broker, and everybody's token."""

    broker: BrokerProcess
    path: Path
    secrets: dict[str, str]
    client: httpx.Client

    def __call__(self, who: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.secrets[who]}"
        return self.client.request(method, path, headers=headers, **more)

    def raw(self, request: str) -> tuple[int, str]:
        """The status and the rest of the answer to exactly these lines; TOKEN is zoe's."""
        text = request.replace("TOKEN", self.secrets["zoe"]).replace("\n", "\r\n")
        with socket.create_connection(("127.0.0.1", self.broker.http_port), 20) as sock:
            sock.sendall(text.encode("latin-1") + b"Connection: close\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode("latin-1")
        return int(answer.split(" ", 2)[1]), answer


def token(path: Path, *words: str) -> str:
    """What ``panelbus token`` prints on stdout."""
    done = CliRunner().invoke(main, ["token", *words, "--tokens", str(path)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def rest(
    start_broker: StartBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rest]:
    path = tmp_path / "tokens.json"
    secrets = {
        name: token(path, "create", name, "--role", role).strip() for name, role in ROLES.items()
    }
    monkeypatch.setenv("PANELBUS_TOKENS", str(path))
    broker = start_broker("--gateway", "--log-level", "debug")
    eventually(lambda: answers(broker), "the gateway is ready")
    with httpx.Client(base_url=broker.http, trust_env=False, timeout=30) as client:
        yield Rest(broker, path, secrets, client)


def test_a_session_belongs_to_the_token_that_made_it(rest: Rest) -> None:
    made = rest("ann", "POST", "/sessions", json={"app_name": "sales"})
    assert made.status_code == 201
    path = f"/sessions/{made.json()['session_id']}"
    status = {"json": {"status": "running"}}
    touching: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", path, {}),
        ("POST", f"{path}/heartbeat", {}),
        ("PUT", f"{path}/status", status),
        ("DELETE", path, {}),
    ]
    for method, where, more in touching:
        answer = rest("bob", method, where, **more)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert rest("eve", "GET", path).json()["status"] == "idle"
    for name in ("ann", "bob"):
        assert rest(name, "GET", "/sessions").status_code == 403
        assert rest(name, "POST", f"{path}/kill").status_code == 403
    for method, where, more in touching[:3]:
        assert rest("ann", method, where, **more).status_code == 200
    assert rest("eve", "GET", path).json()["status"] == "running"
    assert rest("ann", "DELETE", path).status_code == 200


def test_a_viewer_kills_nothing_and_the_audit_names_who_does(rest: Rest, track: Track) -> None:
    tracker = track(rest.broker.bus)
    eventually(lambda: tracker.online, "the session is registered")
    path = f"/sessions/{tracker.session_id}/kill?wait=20"
    for method, where in (
        ("POST", path),
        ("POST", "/apps/sales/kill-all"),
        ("DELETE", "/sessions/stale?older_than_minutes=0"),
        ("GET", "/audit"),
    ):
        assert rest("eve", method, where).status_code == 403
    session = rest("eve", "GET", f"/sessions/{tracker.session_id}").json()
    assert session["kill_requested"] is False
    assert rest("zoe", "POST", path, json={"reason": "noon"}).json()["stage"] == "completed"
    rows = rest("zoe", "GET", "/audit").json()["rows"]
    assert [(row["action"], row["outcome"], row["reason"]) for row in rows] == [
        ("kill", "completed", "noon"),
        ("kill", "requested", "noon"),
    ]
    assert all(row["actor"].startswith("token zoe (operator) through ") for row in rows)
    command = rest("eve", "GET", f"/commands/{rows[0]['command_id']}").json()
    assert command["requested_by"] == rows[0]["actor"]


def test_a_key_of_another_token_tells_nothing(rest: Rest, track: Track) -> None:
    rest.secrets["ida"] = token(rest.path, "create", "ida", "--role", "operator").strip()
    tracker = track(rest.broker.bus)
    eventually(lambda: tracker.online, "the session is registered")
    eventually(lambda: rest("ida", "GET", "/sessions").status_code == 200, "the new token works")
    path, key = f"/sessions/{tracker.session_id}/kill", {"Idempotency-Key": "k1"}
    first = rest("zoe", "POST", path + "?wait=20", headers=key)
    assert first.json()["stage"] == "completed"
    assert (
        rest("zoe", "POST", path, headers=key).json()["command_id"] == (first.json()["command_id"])
    )
    other = rest("ida", "POST", path, headers=key)
    assert other.status_code == 404
    assert first.json()["command_id"] not in other.text
    reused = rest("zoe", "POST", path, headers=key, json={"reason": "another"})
    assert (reused.status_code, reused.json()["code"]) == (422, "key_reused")


def test_revoking_counts_without_a_restart_and_for_good(rest: Rest) -> None:
    old = rest.path.read_bytes()
    assert rest("eve", "GET", "/sessions").status_code == 200
    token(rest.path, "revoke", "eve")
    eventually(lambda: rest("eve", "GET", "/sessions").status_code == 401, "eve is out", 10)
    rest.path.write_text("broken")
    eventually(lambda: rest(None, "GET", "/readyz").json()["tokens"] == "outdated", "it is told")
    assert rest("zoe", "GET", "/sessions").status_code == 200
    assert rest("eve", "GET", "/sessions").status_code == 401
    rest.path.write_bytes(old)
    eventually(lambda: rest(None, "GET", "/readyz").json()["tokens"] == "ok", "it is good again")
    assert rest("eve", "GET", "/sessions").status_code == 401
    log = rest.broker.log()
    assert log.count("the tokens it held before stay in use") == 1
    assert "holds 1 tokens that had been revoked" in log


@pytest.mark.parametrize(
    ("request_lines", "status"),
    [
        ("GET /sessions HTTP/1.1\nHost: localhost\nAuthorization: bearer TOKEN\n", 200),
        ("GET http://localhost/sessions HTTP/1.1\nHost: localhost\n", 401),
        # the target counts, not what it would have us believe of the host
        ("GET http://evil.example/sessions HTTP/1.1\nHost: localhost\n", 401),
        ("GET /healthz/../sessions HTTP/1.1\nHost: localhost\n", 401),
        ("GET /healthz%2f..%2fsessions HTTP/1.1\nHost: localhost\n", 401),
        ("GET /healthz?/sessions HTTP/1.1\nHost: localhost\n", 200),
        ("GET //sessions HTTP/1.1\nHost: localhost\n", 401),
        ("GET //sessions HTTP/1.1\nHost: localhost\nAuthorization: Bearer TOKEN\n", 404),
        ("GET /%73essions HTTP/1.1\nHost: localhost\n", 401),
        ("GET /sessions;/healthz HTTP/1.1\nHost: localhost\n", 401),
        ("GET /healthz%00/sessions HTTP/1.1\nHost: localhost\n", 401),
        ("GET /sessions#/healthz HTTP/1.1\nHost: localhost\n", 401),
        ("GET /sessions HTTP/1.1\nHost: localhost\nHost: localhost\n", 400),
        ("GET /sessions HTTP/1.1\nHost: evil.example\nAuthorization: Bearer TOKEN\n", 421),
        ("GET /sessions HTTP/1.1\nHost: localhost\nX-Forwarded-Host: localhost\n", 401),
        ("GET /sessions HTTP/1.1\nHost: localhost\nX-Original-URL: /healthz\n", 401),
        ("GET /sessions HTTP/1.1\nHost: localhost\nX-Forwarded-For: 127.0.0.1\n", 401),
        (
            "GET /sessions HTTP/1.1\nHost: localhost\nAuthorization: Bearer x\n"
            "Authorization: Bearer TOKEN\n",
            401,
        ),
        ("POST /sessions/x%2Fkill HTTP/1.1\nHost: localhost\nContent-Length: 0\n", 401),
        # a page of somebody else's, even if it knew a token
        (
            "POST /sessions/x/kill HTTP/1.1\nHost: localhost\nOrigin: https://evil.example\n"
            "Authorization: Bearer TOKEN\nContent-Length: 0\n",
            403,
        ),
        ("GET /sessions HTTP/1.1\nHost: localhost\nAuthorization: Bearer \xe9\xff\n", 401),
        ("GET /sessions?token=TOKEN HTTP/1.1\nHost: localhost\n", 400),
    ],
)
def test_tricks(rest: Rest, request_lines: str, status: int) -> None:
    found, answer = rest.raw(request_lines)
    assert found == status, answer
    assert rest.secrets["zoe"] not in answer


def test_no_secret_is_told_anywhere(rest: Rest) -> None:
    """Not in the log at its loudest, an error, a process list, or the database."""
    told: list[str] = []

    def ask(*request: Any, **more: Any) -> None:
        told.append(rest(*request, **more).text)

    for name, secret in rest.secrets.items():
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            for path in ("/sessions", "/sessions/x", "/sessions/x/kill", "/audit", "/nothing"):
                ask(name, method, path, json={"app_name": "a", "status": 5})
        ask(name, "POST", "/sessions", content=b"{")
        ask(name, "POST", "/sessions", content=b"x" * 70_000)
        ask(name, "GET", f"/sessions?token={secret}")
        ask(name, "GET", f"/sessions/{secret}")
        ask(None, "GET", f"/{secret}")
        ask(None, "GET", "/sessions", headers={"Authorization": f"Basic {secret}"})
        ask(None, "GET", "/sessions", headers={"Authorization": f"Bearer {secret}x"})
        ask(name, "GET", "/sessions", headers={"Host": "evil.example"})
        ask(name, "GET", "/sessions", headers={"Origin": "https://evil.example"})
        ask(None, "GET", f"/sessions/{secret}", headers={"Host": "evil.example"})
    rest.raw("GET /sessions HTTP/1.1\nAuthorization: Bearer TOKEN\nbroken header\n")
    rest.raw("NONSENSE\nAuthorization: Bearer TOKEN\n")
    gateway = gateway_of(rest.broker)
    assert gateway is not None
    listed = [" ".join(psutil.Process(pid).cmdline()) for pid in (rest.broker.pid, gateway.pid)]
    assert any("broker.gateway" in line for line in listed)
    assert rest.broker.stop() == 0
    kept = rest.broker.database.read_bytes().decode("latin-1")
    log = rest.broker.log()
    assert "refused a request from 127.0.0.1" in log
    for secret in rest.secrets.values():
        assert rest.path.read_text().find(secret) == -1
        for text in (log, kept, *listed, *told):
            assert secret not in text
