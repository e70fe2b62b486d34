"""Pages of other origins: none, or those named one by one."""

from __future__ import annotations

import httpx
import pytest

from broker.gateway.app import Admission
from broker.gateway.token_file import TokenFile
from tests.gateway.asking import ask
from tests.gateway.conftest import Issued
from tests.support.fake_operator import FakeOperator

UI = "https://apps.example"
PREFLIGHT = {
    "origin": UI,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, idempotency-key",
}
FOREIGN = [
    "https://evil.example",
    "http://apps.example",
    "https://apps.example:8443",
    "https://apps.example.evil.example",
    "https://sub.apps.example",
    "HTTPS://APPS.EXAMPLE",
    "null",
    "*",
]


def allowed(answer: httpx.Response) -> str | None:
    value: str | None = answer.headers.get("access-control-allow-origin")
    return value


@pytest.fixture
def admission(issued: Issued) -> Admission:
    return Admission(tokens=TokenFile(issued.path), origins=(UI,))


def test_a_named_origin_may_ask_with_a_token(
    operator: FakeOperator, issued: Issued, admission: Admission
) -> None:
    first = ask(operator, "OPTIONS", "/sessions", admission=admission, headers=PREFLIGHT)
    assert (first.status_code, allowed(first)) == (200, UI)
    assert "authorization" in first.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in first.headers
    headers = {"origin": UI, **issued.bearer("operator")}
    answer = ask(operator, "GET", "/sessions", admission=admission, headers=headers)
    assert (answer.status_code, allowed(answer), answer.headers["vary"]) == (200, UI, "Origin")
    denied = ask(operator, "GET", "/sessions", admission=admission, headers={"origin": UI})
    assert (denied.status_code, allowed(denied)) == (401, UI)


@pytest.mark.parametrize("origin", FOREIGN)
def test_no_other_one_may(
    operator: FakeOperator, issued: Issued, admission: Admission, origin: str
) -> None:
    first = ask(
        operator,
        "OPTIONS",
        "/sessions",
        admission=admission,
        headers={**PREFLIGHT, "origin": origin},
    )
    headers = {"origin": origin, **issued.bearer("operator")}
    answer = ask(operator, "POST", "/sessions/s/kill", admission=admission, headers=headers)
    assert first.status_code == answer.status_code == 403
    assert allowed(first) is None
    assert allowed(answer) is None
    assert operator.calls == []


def test_without_names_there_is_no_cors(operator: FakeOperator, issued: Issued) -> None:
    for origin in ("http://127.0.0.1:5006", UI):
        headers = {**PREFLIGHT, "origin": origin, **issued.bearer("operator")}
        for method in ("OPTIONS", "GET"):
            answer = ask(
                operator, method, "/sessions", admission=issued.admission(), headers=headers
            )
            assert not [name for name in answer.headers if name.startswith("access-control-")]
