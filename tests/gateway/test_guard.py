"""Host and Origin, security headers, and hostile bytes in either."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Scope

from broker.gateway.app import Admission, create_app
from broker.gateway.guard import LOOPBACK_HOSTS, host_of
from broker.gateway.problems import SECURITY_HEADERS
from tests.gateway.asking import ask, check_problem
from tests.support.fake_operator import FakeOperator

HOST_DETAIL = (
    "this gateway does not answer to the name in the Host header; use its loopback"
    " address, or start it with --allow-host NAME"
)
ORIGIN_DETAIL = (
    "pages of another origin may not use this gateway; ask it from its own host, or"
    " without an Origin header, or start it with --allow-origin ORIGIN"
)
OWN = [
    "localhost",
    "LOCALHOST:1",
    "localhost.:80",
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.9.9.9:8000",
    "[::1]",
    "[::1]:8000",
]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.1:8000@evil.example",
    "evil.example#localhost",
    "192.168.0.7",
    "0.0.0.0:8000",
    "[::2]:8000",
    "localhost:x",
    "localhost:123456",
    "localhost localhost",
    "",
    ":8000",
    "x" * 300,
    "l\xf6calhost",
    "\xff\xfe",
]


def raw(operator: FakeOperator, headers: list[tuple[bytes, bytes]], **more: Any) -> Message:
    """The first message of the answer to GET /sessions with exactly these headers."""
    sent: list[Message] = []
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/sessions",
        "raw_path": b"/sessions",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 5),
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(create_app(operator, Admission(**more))(scope, receive, send))
    return sent[0]


@pytest.mark.parametrize("host", OWN)
def test_own_hosts(operator: FakeOperator, host: str) -> None:
    assert raw(operator, [(b"host", host.encode("latin-1"))])["status"] == 200
    assert operator.calls


@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_hosts(operator: FakeOperator, host: str) -> None:
    assert raw(operator, [(b"host", host.encode("latin-1"))])["status"] == 421
    assert operator.calls == []


def test_foreign_host_is_told_what_to_do(operator: FakeOperator) -> None:
    for path in ("/sessions", "/docs", "/healthz", "/nothing"):
        response = ask(operator, "GET", path, headers={"host": "evil.example"})
        check_problem(response, 421, "Misdirected Request", "foreign_host", HOST_DETAIL, path)


@pytest.mark.parametrize("hosts", [[], [b"localhost", b"evil.example"], [b"localhost"] * 2])
def test_one_host_is_needed(operator: FakeOperator, hosts: list[bytes]) -> None:
    assert raw(operator, [(b"host", host) for host in hosts])["status"] == 421
    assert operator.calls == []


@pytest.mark.parametrize("origin", [f"http://{host}" for host in OWN] + ["https://localhost:5006"])
def test_own_origins(operator: FakeOperator, origin: str) -> None:
    headers = [(b"host", b"127.0.0.1:8000"), (b"origin", origin.encode("latin-1"))]
    assert raw(operator, headers)["status"] == 200


@pytest.mark.parametrize(
    "origin",
    [f"http://{host}" for host in FOREIGN]
    + ["null", "localhost", "file://", "chrome-extension://localhost", "http://localhost/path"],
)
def test_foreign_origins(operator: FakeOperator, origin: str) -> None:
    headers = [(b"host", b"127.0.0.1:8000"), (b"origin", origin.encode("latin-1"))]
    assert raw(operator, headers)["status"] == 403
    assert operator.calls == []


def test_a_second_origin_does_not_hide_behind_the_first(operator: FakeOperator) -> None:
    headers = [
        (b"host", b"localhost"),
        (b"origin", b"http://localhost"),
        (b"origin", b"http://evil.example"),
    ]
    assert raw(operator, headers)["status"] == 403


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_a_web_page_kills_nothing(operator: FakeOperator, method: str) -> None:
    operator.add("s1", "sales")
    path = "/sessions/s1/kill"
    response = ask(operator, method, path, headers={"origin": "https://evil.example"})
    check_problem(response, 403, "Forbidden", "foreign_origin", ORIGIN_DETAIL, path)
    assert operator.calls == []
    assert "access-control-allow-origin" not in response.headers


def test_given_names_are_answered_to(operator: FakeOperator) -> None:
    allowed = LOOPBACK_HOSTS | {"Apps.Example"}
    for host, status in ((b"apps.example:80", 200), (b"localhost", 200), (b"b.example", 421)):
        assert raw(operator, [(b"host", host)], allowed_hosts=allowed)["status"] == status


def test_beyond_loopback_the_page_must_be_of_the_host_asked(operator: FakeOperator) -> None:
    for host, origin, status in (
        (b"apps.example:8000", b"http://apps.example:5006", 200),
        (b"apps.example:8000", b"http://evil.example", 403),
        (b"apps.example:8000", b"http://localhost", 403),
        (b"apps.example:8000", b"null", 403),
        (b"apps.example/", None, 421),
    ):
        headers = [(b"host", host)] + ([(b"origin", origin)] if origin else [])
        assert raw(operator, headers, allowed_hosts=None)["status"] == status


@pytest.mark.parametrize(
    ("authority", "host"),
    [("A.b:1", "a.b"), ("a.", "a"), ("[::1]:", "[::1]"), ("[::1", None), ("a:1:2", None)],
)
def test_host_of(authority: str, host: str | None) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/sessions", {}),
        ("GET", "/nothing", {}),
        ("GET", "/metrics", {}),
        ("GET", "/sessions", {"host": "evil.example"}),
        ("POST", "/sessions", {"content-length": "99999999"}),
    ],
)
def test_security_headers(
    operator: FakeOperator, method: str, path: str, headers: dict[str, str]
) -> None:
    response = ask(operator, method, path, headers=headers)
    for name, value in SECURITY_HEADERS.items():
        assert response.headers[name] == value


def test_a_bug_carries_them_too(operator: FakeOperator) -> None:
    operator.fails_with = KeyError("inside")
    response = ask(operator, "GET", "/sessions")
    assert response.status_code == 500
    for name, value in SECURITY_HEADERS.items():
        assert response.headers[name] == value
