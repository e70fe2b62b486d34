"""Who may do what over HTTP: tokens, roles, rates, and what is open to all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from broker.gateway.access import (
    OPEN_PATHS,
    roles_of,
)
from broker.gateway.app import ROUTERS, create_app
from broker.gateway.openapi import local_assets
from broker.gateway.token_file import change
from broker.gateway.tokens import MISSING, WRONG, Token, added, digest_of, new_token, removed
from tests.gateway.asking import BASE, ask, check_problem
from tests.gateway.conftest import Issued
from tests.support.fake_operator import NOW, FakeOperator

# what each role may do; the first request of each is one that works
ALL, OWN, READ, ACT = (
    {"app", "viewer", "operator"},
    {"app", "operator"},
    {"viewer", "operator"},
    {"operator"},
)
MAY: dict[tuple[str, str], tuple[set[str], str, dict[str, Any]]] = {
    ("POST", "/sessions"): (OWN, "/sessions", {"json": {"app_name": "sales"}}),
    ("GET", "/sessions"): (READ, "/sessions", {}),
    ("DELETE", "/sessions/stale"): (ACT, "/sessions/stale", {}),
    ("GET", "/sessions/{session_id}"): (ALL, "/sessions/s1", {}),
    ("DELETE", "/sessions/{session_id}"): (OWN, "/sessions/s1", {}),
    ("POST", "/sessions/{session_id}/heartbeat"): (OWN, "/sessions/s1/heartbeat", {}),
    ("PUT", "/sessions/{session_id}/status"): (
        OWN,
        "/sessions/s1/status",
        {"json": {"status": "running"}},
    ),
    ("POST", "/sessions/{session_id}/kill"): (ACT, "/sessions/s1/kill", {}),
    ("POST", "/apps/{app_name}/kill-all"): (ACT, "/apps/sales/kill-all", {}),
    ("POST", "/apps/{app_name:any_text}/kill-all"): (ACT, "/apps/sales/kill-all", {}),
    ("GET", "/commands/{command_id}"): (READ, "/commands/c1", {}),
    ("GET", "/audit"): (ACT, "/audit", {}),
    ("GET", "/metrics"): (READ, "/metrics", {}),
    ("GET", "/healthz"): (set(), "/healthz", {}),
    ("GET", "/readyz"): (set(), "/readyz", {}),
}


def routes() -> Iterator[tuple[str, APIRoute]]:
    """Every route with its method."""
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute), "a router in a router is not walked"
            for method in route.methods or ():
                yield method, route


ROUTES = list(routes())
each_route = pytest.mark.parametrize(
    ("method", "route"), ROUTES, ids=lambda value: getattr(value, "path", value)
)


@pytest.fixture
def kill(operator: FakeOperator) -> FakeOperator:
    """Sessions and a kill to ask about."""
    operator.add("s1", "sales")
    operator._command([], None)
    return operator


# --- every route has its roles -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "route"), ROUTES, ids=lambda value: getattr(value, "path", value)
)
def test_every_route_says_who_may_use_it(method: str, route: APIRoute) -> None:
    roles = roles_of(route.dependant.dependencies)
    assert roles is not None, f"{method} {route.path} needs a role, or OPEN"
    assert set(roles) == MAY[method, route.path][0]
    assert (roles == ()) == (route.path in OPEN_PATHS), "open in one place, not in the other"


def test_no_route_is_beside_the_routers(operator: FakeOperator) -> None:
    document = ask(operator, "GET", "/openapi.json").json()
    told = {(m.upper(), path) for path, item in document["paths"].items() for m in item}
    assert told == {(method, route.path_format) for method, route in ROUTES}
    pages = {route.path for route in create_app(operator).routes if hasattr(route, "path")}
    assert {page for page in pages if page} <= OPEN_PATHS


@pytest.mark.parametrize(
    ("method", "route"), ROUTES, ids=lambda value: getattr(value, "path", value)
)
@pytest.mark.parametrize("role", ["app", "viewer", "operator"])
def test_what_a_role_may_not_do_does_not_reach_the_broker(
    kill: FakeOperator, issued: Issued, role: str, method: str, route: APIRoute
) -> None:
    roles, path, more = MAY[method, route.path]
    response = ask(
        kill, method, path, admission=issued.admission(), headers=issued.bearer(role), **more
    )
    if not roles:
        assert response.status_code == 200
        assert kill.users == []
    elif role in roles:
        assert response.is_success
        assert kill.users == [(f"token {role}", role)]
    else:
        words = " or ".join(r for r in ("app", "viewer", "operator") if r in roles)
        detail = f"a token of the role {role} may not do this; ask with one of {words}"
        check_problem(response, 403, "Forbidden", "forbidden", detail, path)
        assert kill.users == []
        assert kill.calls == []


# --- tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "route"), ROUTES, ids=lambda value: getattr(value, "path", value)
)
@pytest.mark.parametrize("headers", [{}, {"authorization": f"Bearer pbt_{'x' * 43}"}])
def test_without_a_valid_token_only_probes_are_answered(
    kill: FakeOperator, issued: Issued, headers: dict[str, str], method: str, route: APIRoute
) -> None:
    roles, path, more = MAY[method, route.path]
    response = ask(kill, method, path, admission=issued.admission(), headers=headers, **more)
    if not roles:
        assert response.status_code == 200
        return
    detail = (WRONG if headers else MISSING).detail
    check_problem(response, 401, "Unauthorized", "no_valid_token", detail, path)
    assert response.headers["www-authenticate"] == 'Bearer realm="panelbus"'
    assert kill.calls == []


@pytest.mark.parametrize("path", ["/nothing", "//sessions", "/sessions/", "/HEALTHZ", "/healthz/"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "TRACE"])
def test_what_is_not_there_is_not_told_to_strangers(
    operator: FakeOperator, issued: Issued, method: str, path: str
) -> None:
    response = ask(operator, method, f"{BASE}{path}", admission=issued.admission())
    assert response.status_code == 401
    assert operator.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer \xe9\xff")],
        [(b"authorization", "Bearer pbt_\u0661".encode())],
        [(b"authorization", b"Bearer pbt_" + b"A" * 43)],
        [(b"authorization", b"Bearer " + b"A" * 1_000_000)],
        [(b"authorization", b"")],
        [(b"authorization", b"Basic YW5uOmFubg==")],
        [(b"proxy-authorization", b"TOKEN")],
        [(b"x-api-key", b"TOKEN")],
        [(b"cookie", b"authorization=TOKEN; token=TOKEN")],
        [(b"authorization", b"TOKEN"), (b"authorization", b"TOKEN")],
        [(b"authorization", b"Bearer x"), (b"authorization", b"TOKEN")],
        [(b"authorization", b"TOKEN, Bearer x")],
    ],
)
def test_nothing_else_is_a_token(
    operator: FakeOperator, issued: Issued, headers: list[tuple[bytes, bytes]]
) -> None:
    valid = issued.bearer("operator")["authorization"].encode()
    sent = [(name, value.replace(b"TOKEN", valid)) for name, value in headers]
    response = ask(operator, "GET", "/sessions", admission=issued.admission(), headers=sent)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer ")
    assert operator.calls == []


def test_wrong_expired_and_revoked_are_answered_alike(
    operator: FakeOperator, issued: Issued
) -> None:
    change(issued.path, lambda tokens: removed(tokens, "viewer"))
    answers = [
        ask(operator, "GET", "/sessions", admission=issued.admission(), headers=headers)
        for headers in (
            issued.bearer("viewer"),
            issued.bearer("expired"),
            {"authorization": f"Bearer {new_token()}"},
            {"authorization": "Bearer x"},
        )
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert len({str(answer.headers) for answer in answers}) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/sessions?token=TOKEN",
        "/sessions?access_token=TOKEN",
        "/sessions?a=1&b=x%20TOKEN",
        "/sessions?TOKEN",
        "/sessions/TOKEN",
        "/TOKEN/sessions",
    ],
)
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("guarded", [True, False])
def test_a_token_in_a_url_is_refused_with_advice(
    operator: FakeOperator, issued: Issued, path: str, header: bool, guarded: bool
) -> None:
    secret = issued.secrets["operator"]
    response = ask(
        operator,
        "GET",
        path.replace("TOKEN", secret),
        admission=issued.admission() if guarded else None,
        headers=issued.bearer("operator") if header else {},
    )
    assert (response.status_code, response.json()["code"]) == (400, "token_in_url")
    assert "revoke it, and send another one as Authorization" in response.json()["detail"]
    assert secret not in response.text
    assert operator.calls == []


def test_readyz_tells_of_a_broken_file(operator: FakeOperator, issued: Issued) -> None:
    admission = issued.admission()
    assert ask(operator, "GET", "/readyz", admission=admission).json()["tokens"] == "ok"
    broken = issued.admission()
    issued.path.write_text("{")
    response = ask(operator, "GET", "/readyz", admission=broken)
    assert (response.status_code, response.json()["tokens"]) == (200, "outdated")
    assert str(issued.path) not in response.text
    ok = ask(operator, "GET", "/sessions", admission=broken, headers=issued.bearer("viewer"))
    assert ok.status_code == 200


def test_the_api_pages_need_no_token(operator: FakeOperator, issued: Issued) -> None:
    for path in ("/docs", "/openapi.json"):
        assert ask(operator, "GET", path, admission=issued.admission()).status_code == 200
    if local_assets() is not None:
        for path in ("/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"):
            assert ask(operator, "GET", path, admission=issued.admission()).status_code == 200
    assert operator.calls == []


def test_without_tokens_everybody_is_an_operator_named_by_address(operator: FakeOperator) -> None:
    assert ask(operator, "GET", "/audit").status_code == 200
    assert operator.users == [("REST without a token from 127.0.0.1", "operator")]


def test_nobody_says_for_himself_who_he_is(operator: FakeOperator) -> None:
    headers = {"x-forwarded-for": "10.9.8.7", "forwarded": "for=10.9.8.7", "x-real-ip": "10.9.8.7"}
    ask(operator, "GET", "/sessions", headers=headers)
    assert operator.users == [("REST without a token from 127.0.0.1", "operator")]


# --- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/sessions/s1/kill", "/apps/sales/kill-all"])
def test_another_tokens_key_is_another_key(
    operator: FakeOperator, issued: Issued, path: str
) -> None:
    operator.add("s1", "sales")
    second = new_token()
    token = Token("second", "operator", digest_of(second), 1.0, None)
    change(issued.path, lambda tokens: added(tokens, token))
    key = {"idempotency-key": "~" * 255}

    def commands(headers: dict[str, str]) -> str:
        answer = ask(
            operator, "POST", path, admission=issued.admission(), headers={**headers, **key}
        )
        assert answer.status_code == 202
        return str(answer.json()["command_id"])

    first = commands(issued.bearer("operator"))
    assert commands(issued.bearer("operator")) == first
    assert commands({"authorization": f"Bearer {second}"}) != first
    keys = [call[-1] for call in operator.calls]
    assert keys[0] == keys[1] != keys[2]
    assert all(len(k) <= 255 and "~" not in k for k in keys)


def test_a_token_renewed_under_its_name_keeps_its_keys(
    operator: FakeOperator, issued: Issued
) -> None:
    operator.add("s1", "sales")
    second = new_token()

    def answer(secret: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {secret}", "idempotency-key": "k"}
        return ask(
            operator, "POST", "/sessions/s1/kill", admission=issued.admission(), headers=headers
        )

    first = answer(issued.secrets["operator"])
    change(issued.path, lambda tokens: removed(tokens, "operator"))
    token = Token("operator", "operator", digest_of(second), 1.0, None)
    change(issued.path, lambda tokens: added(tokens, token))
    assert answer(second).json() == first.json()


# --- the audit --------------------------------------------------------------------------------


def test_the_audit_is_told_page_by_page(operator: FakeOperator, issued: Issued) -> None:
    row = {
        "at": NOW,
        "actor": "token ann (operator) through gateway",
        "action": "kill",
        "outcome": "requested",
        "app_name": None,
        "targets": ["s1"],
        "total": 1,
        "reason": "why",
        "command_id": "c1",
        "detail": None,
    }
    operator.audit = [{"number": number, **row} for number in (3, 2, 1)]

    def page(query: str) -> Any:
        answer = ask(
            operator,
            "GET",
            f"/audit?{query}",
            admission=issued.admission(),
            headers=issued.bearer("operator"),
        )
        assert answer.status_code == 200
        return answer.json()

    first = page("limit=2")
    assert [row["number"] for row in first["rows"]] == [3, 2]
    assert first["rows"][0] == {"number": 3, **row, "at": "2026-01-02T03:04:05Z"}
    assert page(f"limit=2&before={first['next_before']}") == {
        "rows": [{"number": 1, **row, "at": "2026-01-02T03:04:05Z"}],
        "next_before": None,
    }
    assert operator.calls == [("get_audit", 2, None), ("get_audit", 2, 2)]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "before=-1", "before=1e9"])
def test_malformed_pages(operator: FakeOperator, query: str) -> None:
    assert ask(operator, "GET", f"/audit?{query}").status_code == 422
    assert operator.calls == []
