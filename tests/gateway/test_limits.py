"""The size of a body, its time, and the number of requests at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from broker.gateway.app import create_app
from broker.gateway.limits import MAX_BODY_BYTES, Limits
from tests.gateway.asking import BASE, ask, check_problem
from tests.support.fake_operator import FakeOperator

TOO_LARGE = "the body is over 65536 bytes; send less"


def json_of(size: int) -> bytes:
    """A valid body of exactly this many bytes."""
    empty = b'{"app_name": "a", "x": ""}'
    return empty[:-2] + b"x" * (size - len(empty)) + b'"}'


async def chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def test_the_limit_itself_passes(operator: FakeOperator) -> None:
    assert MAX_BODY_BYTES == 64 * 1024
    body = json_of(MAX_BODY_BYTES)
    assert ask(operator, "POST", "/sessions", content=body).status_code == 201
    chunked = ask(operator, "POST", "/sessions", content=chunks(body))
    assert "content-length" not in chunked.request.headers
    assert chunked.status_code == 201
    assert operator.calls == [("create_session", "a", None)] * 2


@pytest.mark.parametrize("path", ["/sessions", "/sessions/s1/kill", "/sessions/s1/heartbeat"])
def test_one_byte_more_is_refused(operator: FakeOperator, path: str) -> None:
    body = json_of(MAX_BODY_BYTES + 1)
    for content in (body, chunks(body)):
        response = ask(operator, "POST", path, content=content)
        check_problem(response, 413, "Content Too Large", "too_large", TOO_LARGE, path)
        assert response.headers["connection"] == "close"
    assert operator.calls == []


def test_a_declared_length_is_refused_unread(operator: FakeOperator) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b"x" * 1000

    headers = {"content-length": str(10**6)}
    assert ask(operator, "POST", "/sessions", content=body(), headers=headers).status_code == 413
    assert read == 0


def test_an_endless_body_is_refused_at_the_limit(operator: FakeOperator) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1000
            yield b"x" * 1000

    assert ask(operator, "POST", "/sessions", content=endless()).status_code == 413
    assert read <= MAX_BODY_BYTES + 2000


@pytest.mark.parametrize("length", ["-1", "x", "9" * 30, "\xb2"])
def test_a_senseless_length_leaves_counting(operator: FakeOperator, length: str) -> None:
    headers = [(b"content-length", length.encode("latin-1"))]
    response = ask(operator, "POST", "/sessions", content=chunks(json_of(70_000)), headers=headers)
    assert response.status_code == 413


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    await PlainTextResponse(message["body"])(scope, receive, send)


def test_a_slow_body_is_given_up() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(60)

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=Limits(_echo, body_seconds=0.05))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await client.post("/sessions", content=slow())

    detail = "the body did not arrive within 0.05 seconds; send it again"
    check_problem(asyncio.run(run()), 408, "Request Timeout", "too_slow", detail, "/sessions")


def test_a_client_that_leaves_is_not_answered(operator: FakeOperator) -> None:
    sent: list[Message] = []
    arriving: list[Message] = [
        {"type": "http.request", "body": b'{"app_name": "a"}', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return arriving.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/sessions",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    asyncio.run(create_app(operator)(scope, receive, send))
    assert sent == []
    assert operator.calls == []


def test_requests_at_once_are_bounded() -> None:
    async def run() -> list[httpx.Response]:
        free = asyncio.Event()
        serving = 0

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal serving
            serving += 1
            if scope["path"] == "/slow":
                await free.wait()
            await PlainTextResponse("done")(scope, receive, send)

        transport = httpx.ASGITransport(app=Limits(waits, max_requests=2))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            slow = [asyncio.create_task(client.get("/slow")) for _ in range(2)]
            while serving < 2:
                await asyncio.sleep(0)
            refused = await client.get("/sessions")
            alive = await client.get("/healthz")
            free.set()
            return [refused, alive, *await asyncio.gather(*slow), await client.get("/sessions")]

    refused, alive, *served = asyncio.run(run())
    check_problem(
        refused,
        503,
        "Service Unavailable",
        "too_busy",
        "2 requests are being served already; try again",
        "/sessions",
    )
    assert [answer.text for answer in (alive, *served)] == ["done"] * 4
