"""Errors that no route raises: unknown paths, wrong methods, unreadable bodies, bugs."""

from __future__ import annotations

import logging

import pytest

from sessionclient.errors import NotFound, PanelbusError, PeerFault
from tests.gateway.asking import ask, check_problem
from tests.support.fake_operator import FakeOperator

NOT_JSON = "the body is not JSON; send JSON in UTF-8"


def test_unknown_path(operator: FakeOperator) -> None:
    detail = "there is no /nothing/hére here; /docs lists what there is"
    response = ask(operator, "GET", "/nothing/h%C3%A9re")
    check_problem(response, 404, "Not Found", "unknown_path", detail, "/nothing/h%C3%A9re")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/sessions", "GET, POST"),
        ("POST", "/sessions/s1", "DELETE, GET"),
        ("GET", "/sessions/s1/kill", "POST"),
        ("GET", "/apps/a/kill-all", "POST"),
        ("POST", "/metrics", "GET"),
    ],
)
def test_wrong_method(operator: FakeOperator, method: str, path: str, allowed: str) -> None:
    response = ask(operator, method, path)
    detail = f"{method} can't be used on {path}; use {allowed}"
    check_problem(response, 405, "Method Not Allowed", "wrong_method", detail, path)
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"app_name=sales",
        b"\xff\xfe",
        b'{"app_name": "\xff"}',
        b"[" * 30_000,
        b'{"app_name": ' + b"9" * 5000 + b"}",
    ],
)
def test_malformed_json(operator: FakeOperator, body: bytes) -> None:
    response = ask(
        operator, "POST", "/sessions", content=body, headers={"content-type": "application/json"}
    )
    check_problem(response, 400, "Bad Request", "bad_request", NOT_JSON, "/sessions")
    assert operator.calls == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "x/json", "é"])
@pytest.mark.parametrize("path", ["/sessions", "/sessions/s1/kill"])
def test_other_content_type(operator: FakeOperator, path: str, kind: str) -> None:
    response = ask(
        operator,
        "POST",
        path,
        content=b'{"app_name": "sales"}',
        headers=[(b"content-type", kind.encode("latin-1"))],
    )
    detail = "send the body as Content-Type: application/json"
    check_problem(response, 415, "Unsupported Media Type", "not_json", detail, path)
    assert operator.calls == []


def test_json_with_charset_or_suffix_is_json(operator: FakeOperator) -> None:
    for kind in ("application/json; charset=utf-8", "application/vnd.x+json", "APPLICATION/JSON"):
        response = ask(
            operator,
            "POST",
            "/sessions",
            content=b'{"app_name": "sales"}',
            headers={"content-type": kind},
        )
        assert response.status_code == 201, kind


def test_what_was_sent_is_not_echoed(operator: FakeOperator) -> None:
    response = ask(operator, "POST", "/sessions", content=b'{"app_name": NaN, "user_id": 31337}')
    assert response.status_code == 422
    assert "31337" not in response.text
    assert len(response.json()["errors"]) == 2


def test_trailing_slash_is_redirected_as_the_ancestor_did(operator: FakeOperator) -> None:
    response = ask(operator, "GET", "/sessions/")
    assert response.status_code == 307
    assert response.headers["location"] == "http://127.0.0.1:8000/sessions"


def test_a_bug_is_a_problem_without_its_inside(
    operator: FakeOperator, caplog: pytest.LogCaptureFixture
) -> None:
    operator.fails_with = KeyError("inside")
    with caplog.at_level(logging.CRITICAL):
        response = ask(operator, "GET", "/sessions")
    detail = "the gateway failed; its log says why"
    check_problem(response, 500, "Internal Server Error", "internal", detail, "/sessions")


def test_a_peer_fault(operator: FakeOperator) -> None:
    operator.fails_with = PeerFault("no map")
    response = ask(operator, "GET", "/sessions")
    detail = "the broker's answer makes no sense: no map"
    check_problem(response, 502, "Bad Gateway", "peer_fault", detail, "/sessions")
    operator.fails_with = PanelbusError("?")
    assert ask(operator, "GET", "/sessions").status_code == 500


def test_a_text_that_utf8_cannot_carry_is_answered_all_the_same(operator: FakeOperator) -> None:
    operator.fails_with = NotFound("no \ud800 here")
    response = ask(operator, "GET", "/sessions/s1")
    assert b'"detail": "no \\ud800 here"' in response.content
    assert response.status_code == 404
