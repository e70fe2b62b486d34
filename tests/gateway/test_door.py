"""The door itself, with a clock of the test's own: revocation, and how often somebody may ask."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from broker.gateway.access import FAILURE_BURST, FAILURE_RATE, Clock, Door, Rates
from broker.gateway.app import Admission
from broker.gateway.rates import Buckets
from broker.gateway.token_file import TokenFile, change
from broker.gateway.tokens import Token, added, digest_of, new_token, removed
from tests.gateway.asking import ask
from tests.gateway.conftest import Issued
from tests.support.fake_operator import FakeOperator


def through(door: Door, headers: dict[str, str], **more: Any) -> Message:
    """The first message of the answer to one request."""
    sent: list[Message] = []
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/sessions",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("192.0.2.1", 5),
        **more,
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(door(scope, receive, send))
    return sent[0]


def status(door: Door, headers: dict[str, str], **more: Any) -> tuple[int, str | None]:
    """The status, and after how many seconds to ask again."""
    message = through(door, headers, **more)
    found = {name.decode().lower(): value.decode() for name, value in message["headers"]}
    return message["status"], found.get("retry-after")


async def _in(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("in")(scope, receive, send)


def test_a_revoked_token_stops_working_and_a_new_one_works(
    operator: FakeOperator, issued: Issued
) -> None:
    now = [100.0]
    rates = Rates()
    file = TokenFile(issued.path)
    secret = new_token()
    served: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope["panelbus.identity"].name)
        await PlainTextResponse("in")(scope, receive, send)

    door = Door(app, file, rates, Clock(mono=lambda: now[0]))

    def status(headers: dict[str, str]) -> int:
        now[0] += 1.0
        return through(door, headers)["status"]

    new = {"authorization": f"Bearer {secret}"}
    assert status(issued.bearer("viewer")) == 200
    assert status(new) == 401
    change(issued.path, lambda tokens: removed(tokens, "viewer"))
    change(
        issued.path, lambda tokens: added(tokens, Token("n", "app", digest_of(secret), 1.0, None))
    )
    assert status(issued.bearer("viewer")) == 401
    assert status(new) == 200
    assert served == ["token viewer", "token n"]


def test_each_token_has_a_rate_whatever_its_address(issued: Issued) -> None:
    rates = Rates(requests=Buckets(0.1, 2))
    door = Door(_in, TokenFile(issued.path), rates, Clock(mono=lambda: 0.0))
    ann, bob = issued.bearer("operator"), issued.bearer("viewer")
    assert [status(door, ann, client=(f"192.0.2.{n}", 1))[0] for n in range(2)] == [200, 200]
    assert status(door, ann, client=("192.0.2.9", 1)) == (429, "10")
    assert status(door, bob)[0] == 200
    assert status(door, {}, path="/healthz") == (200, None)


def test_without_tokens_each_address_has_a_rate() -> None:
    door = Door(_in, None, Rates(requests=Buckets(0.1, 1)), Clock(mono=lambda: 0.0))
    assert status(door, {})[0] == 200
    assert status(door, {}) == (429, "10")
    assert status(door, {"x-forwarded-for": "192.0.2.9"}) == (429, "10")
    assert status(door, {}, client=("192.0.2.9", 1))[0] == 200
    assert status(door, {}, path="/healthz") == (200, None)


def test_guessing_is_slow_and_shuts_nobody_else_out(
    issued: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    door = Door(_in, TokenFile(issued.path), Rates(), Clock(mono=lambda: now[0]))
    with caplog.at_level(logging.INFO, "panelbus.gateway"):
        guesses = [status(door, {"authorization": f"Bearer {new_token()}"})[0] for _ in range(1000)]
    burst = int(FAILURE_BURST)
    assert (set(guesses[:burst]), set(guesses[burst:])) == ({401}, {429})
    assert len(caplog.messages) == FAILURE_BURST
    assert caplog.messages[0] == ("refused a request from 192.0.2.1: an unknown or revoked token")
    # through the same proxy
    assert status(door, issued.bearer("viewer"))[0] == 200
    assert status(door, {}, path="/healthz")[0] == 200
    assert status(door, {}, path="/readyz")[0] == 200
    # and the address itself is heard again
    now[0] = 1 / FAILURE_RATE
    assert status(door, {})[0] == 401


def test_429_is_a_problem_and_says_when(operator: FakeOperator) -> None:
    admission = Admission(rates=Rates(requests=Buckets(0.1, 1)))
    assert ask(operator, "GET", "/sessions", admission=admission).status_code == 200
    response = ask(operator, "GET", "/sessions", admission=admission)
    assert response.status_code == 429
    assert response.json()["code"] == "too_often"
    assert 1 <= int(response.headers["retry-after"]) <= 10
    assert len(operator.calls) == 1
