"""Connections that are held for their own sake, over real sockets: each costs a bounded time."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from broker.gateway.connection import COMPLAINT_INTERVAL, MAX_HEAD_BYTES, Bounds, Rarely
from broker.gateway.serving import bind, server_config

LONG = 20.0  # seconds; generous, for a busy machine
SHORT = 0.3  # seconds; the bound that a test is about
LARGE_ANSWER = b"x" * (16 << 20)  # more than the kernel holds between the two

Conversation = Callable[["Gateway"], Awaitable[None]]


class Gateway:
    """A server with an app that answers, waits, or answers much."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.sock = bind("127.0.0.1", 0, only_loopback="no")
        self.server = uvicorn.Server(server_config(self._app, bounds))
        self.free = asyncio.Event()  # for /wait
        self.waiting = 0
        self.finished = 0
        self.clients: list[Client] = []

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = scope["path"].encode()
        if scope["path"] == "/wait":
            self.waiting += 1
            await self.free.wait()
        elif scope["path"] == "/large":
            body = LARGE_ANSWER
        await PlainTextResponse(body)(scope, receive, send)
        self.finished += 1

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    async def open(self, small: bool = False) -> Client:
        """``small``: this end takes next to nothing unread."""
        sock = socket.socket()
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.sock.getsockname())
        self.clients.append(Client(*await asyncio.open_connection(sock=sock, limit=4096)))
        return self.clients[-1]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, path: str, *headers: str) -> None:
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        async with asyncio.timeout(LONG):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            return int(head.split()[1]), await self.reader.readexactly(length)

    async def problem(self) -> dict[str, Any]:
        status, body = await self.answer()
        found: dict[str, Any] = json.loads(body)
        assert found["status"] == status
        return found

    async def ended(self) -> None:
        """Wait until the other end has hung up, and has said nothing more."""
        async with asyncio.timeout(LONG):
            with suppress(ConnectionError):
                assert await self.reader.read() == b""

    @property
    def open(self) -> bool:
        return not self.reader.at_eof() and self.reader.exception() is None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(**bounds: Any) -> AsyncIterator[Gateway]:
    gateway = Gateway(Bounds(**bounds))
    running = asyncio.create_task(gateway.server.serve([gateway.sock]))
    try:
        yield gateway
    finally:
        gateway.free.set()
        for client in gateway.clients:
            client.writer.transport.abort()
        await until(lambda: gateway.connections == 0)
        gateway.server.should_exit = True
        await running
        gateway.sock.close()


def converse(conversation: Conversation, **bounds: Any) -> None:
    async def run() -> None:
        async with serving(**bounds) as gateway:
            await conversation(gateway)
        assert gateway.bounds.waiting == {}  # nothing is remembered of those that are gone

    asyncio.run(run())


async def drip(client: Client, text: bytes) -> None:
    """Send a byte now and then until the other end has heard enough."""
    with suppress(ConnectionError):
        for byte in text:
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(SHORT / 10)


# --- before a request ----------------------------------------------------------------------------


def test_a_head_that_trickles_in_is_given_up() -> None:
    async def conversation(gateway: Gateway) -> None:
        slow, other = await gateway.open(), await gateway.open()
        dripping = asyncio.create_task(drip(slow, b"GET / HTTP/1.1\r\nX: " + b"y" * 10_000))
        other.ask("/quick")
        assert await other.answer() == (200, b"/quick")
        assert await slow.problem() == {
            "type": "about:blank",
            "title": "Request Timeout",
            "status": 408,
            "detail": "the request's head did not arrive within 0.3 seconds; send it again",
            "instance": "",
            "code": "too_slow",
        }
        await slow.ended()
        dripping.cancel()

    converse(conversation, head_seconds=SHORT)


def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async def conversation(gateway: Gateway) -> None:
        silent = [await gateway.open() for _ in range(20)]
        for client in silent:
            await client.ended()
        await until(lambda: gateway.connections == 0)

    converse(conversation, head_seconds=SHORT)


def test_a_connection_that_goes_on_asking_stays() -> None:
    async def conversation(gateway: Gateway) -> None:
        client, clock = await gateway.open(), asyncio.get_running_loop()
        end = clock.time() + 3 * SHORT
        while clock.time() < end:
            client.ask("/again")
            assert await client.answer() == (200, b"/again")
        client.ask("/one")
        client.ask("/two")  # at once, without waiting for the first answer
        assert [await client.answer(), await client.answer()] == [(200, b"/one"), (200, b"/two")]

    converse(conversation, head_seconds=SHORT)


def test_an_answer_may_take_its_time() -> None:
    async def conversation(gateway: Gateway) -> None:
        client, silent = await gateway.open(), await gateway.open()
        client.ask("/wait")
        await until(lambda: gateway.waiting == 1)
        await silent.ended()  # which was opened after it: the time is over
        gateway.free.set()
        assert await client.answer() == (200, b"/wait")

    converse(conversation, head_seconds=SHORT)


def test_when_there_are_too_many_the_longest_idle_one_makes_room() -> None:
    async def conversation(gateway: Gateway) -> None:
        busy = await gateway.open()
        busy.ask("/wait")
        await until(lambda: gateway.waiting == 1)
        idle = [await gateway.open()]
        await until(lambda: gateway.connections == 2)
        idle.append(await gateway.open())
        await until(lambda: gateway.connections == 3)
        late = await gateway.open()
        await idle[0].ended()
        late.ask("/late")
        assert await late.answer() == (200, b"/late")
        assert idle[1].open
        await gateway.open()  # now it is the second
        await idle[1].ended()
        gateway.free.set()
        assert await busy.answer() == (200, b"/wait")

    converse(conversation, connections=3)


def test_when_all_are_busy_a_further_one_is_turned_away() -> None:
    async def conversation(gateway: Gateway) -> None:
        busy = [await gateway.open() for _ in range(2)]
        for client in busy:
            client.ask("/wait")
        await until(lambda: gateway.waiting == 2)
        await (await gateway.open()).ended()
        gateway.free.set()
        assert [await client.answer() for client in busy] == [(200, b"/wait")] * 2

    converse(conversation, connections=2)


# --- what is no request --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [["X: " + "y" * MAX_HEAD_BYTES], [f"X{n}: y" for n in range(MAX_HEAD_BYTES // 5)]],
    ids=["one huge", "many lines"],
)
def test_a_head_over_its_limit_is_refused(headers: list[str]) -> None:
    async def conversation(gateway: Gateway) -> None:
        client = await gateway.open()
        client.ask("/", *headers)
        found = await client.problem()
        assert (found["status"], found["code"]) == (431, "too_large")
        assert found["detail"] == "the request's head is over 16384 bytes; send fewer headers"
        await client.ended()

    converse(conversation)


def test_a_head_up_to_its_limit_is_served() -> None:
    async def conversation(gateway: Gateway) -> None:
        client = await gateway.open()
        client.ask("/", "X: " + "y" * (MAX_HEAD_BYTES - 100))
        assert await client.answer() == (200, b"/")

    converse(conversation)


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f",  # ZeroMQ
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without a host
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_not_http_is_told_so(said: bytes) -> None:
    async def conversation(gateway: Gateway) -> None:
        client = await gateway.open()
        client.writer.write(said + b"\r\n\r\n")
        found = await client.problem()
        assert (found["status"], found["code"]) == (400, "bad_request")
        assert found["detail"] == "this is not HTTP/1.1; send a proper request"
        await client.ended()

    converse(conversation)


def test_a_body_that_breaks_its_own_form_while_it_is_served_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def conversation(gateway: Gateway) -> None:
        client = await gateway.open()
        head = b"POST /wait HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.writer.write(head)
        await until(lambda: gateway.waiting == 1)
        client.writer.write(b"no number\r\n")
        assert (await client.problem())["status"] == 400
        await client.ended()

    converse(conversation)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_wish_for_a_websocket_is_neither_granted_nor_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def conversation(gateway: Gateway) -> None:
        client = await gateway.open()
        client.ask("/", "Connection: Upgrade", "Upgrade: websocket")
        assert await client.answer() == (200, b"/")

    converse(conversation)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# --- after a request -----------------------------------------------------------------------------


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async def conversation(gateway: Gateway) -> None:
        greedy = [await gateway.open(small=True) for _ in range(3)]
        for client in greedy:
            client.ask("/large")
            client.ask("/large")  # this one waits for room to write
        await until(lambda: gateway.finished >= 3)
        await until(lambda: gateway.connections == 0)
        await until(lambda: len(gateway.server.server_state.tasks) == 0)

    converse(conversation, unread_seconds=SHORT)


def test_an_answer_that_is_taken_slowly_arrives() -> None:
    async def conversation(gateway: Gateway) -> None:
        client = await gateway.open()
        client.ask("/large")
        status, body = await client.answer()
        assert (status, len(body)) == (200, len(LARGE_ANSWER))

    converse(conversation)


# --- its log -------------------------------------------------------------------------------------


def test_the_same_complaint_is_logged_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    rarely = Rarely()

    def told(text: str) -> str | None:
        record = logging.LogRecord("x", logging.WARNING, "", 1, text, (), None)
        return record.getMessage() if rarely.filter(record) else None

    assert told("Invalid HTTP request received.") == "Invalid HTTP request received."
    assert [told("Invalid HTTP request received.") for _ in range(500)] == [None] * 500
    assert told("another") == "another"
    now += COMPLAINT_INTERVAL
    more = "Invalid HTTP request received. (500 more since the last such line)"
    assert told("Invalid HTTP request received.") == more
    now += COMPLAINT_INTERVAL
    assert told("Invalid HTTP request received.") == "Invalid HTTP request received."
