"""Errors as RFC 9457 has them: one shape for every failure, whoever noticed it.

`problem` makes the answer; `install` gives an app the handlers that turn what its routes raise
into one. `documented` lists the failures of a route for OpenAPI.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from broker.gateway.models import Problem
from broker.gateway.tokens import redacted
from sessionclient.errors import (
    KeyReused,
    LinkDown,
    Misuse,
    PanelbusError,
    PeerFault,
    Refused,
    RequestTimeout,
)

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 2  # clients of a broker that is back re-attach within this time

# A refusal's code on the wire -> the HTTP status.
_STATUS_OF_CODE: Final[Mapping[str, int]] = {
    "bad_request": 422,
    "unsupported_version": 502,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "key_reused": 422,
    "too_many": 429,
    "unavailable": 503,
}
# What the framework itself answers -> our word for it.
_CODE_OF_STATUS: Final[Mapping[int, str]] = {
    400: "bad_request",
    404: "unknown_path",
    405: "wrong_method",
}
# Titles as of RFC 9110; Python's own differ from version to version.
_TITLES: Final[Mapping[int, str]] = {413: "Content Too Large", 422: "Unprocessable Content"}
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


def problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer for a failure; 429 and 503 say when to try again.

    Args:
        scope: The request it answers, for its path.
        status: The HTTP status.
        code: One word for programs.
        detail: What is wrong and what to do about it.
        errors: Every wrong field, with 422.
        headers: More headers.
    """
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _title(status),
        "status": status,
        "detail": detail,
        "instance": quote(redacted(str(scope.get("path", ""))), errors="replace"),
        "code": code,
    }
    if errors is not None:
        body["errors"] = list(errors)
    # `guard` adds these to every answer but that of a bug, which is made outside of it
    more = {**SECURITY_HEADERS, **(headers or {})}
    if status in (429, 503):
        more.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    # ASCII only: what a client sent us may hold code points that UTF-8 can't carry
    content = json.dumps(body, ensure_ascii=True, allow_nan=False)
    return Response(content, status_code=status, headers=more, media_type=PROBLEM_TYPE)


def _title(status: int) -> str:
    return _TITLES.get(status) or HTTPStatus(status).phrase


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's failures, for its OpenAPI entry; the media type is set by `openapi`."""
    return {
        status: {"model": Problem, "description": _title(status)} for status in sorted(statuses)
    }


def documented_with_token(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route that wants a token: nobody known, not allowed, too often."""
    return documented(401, 403, 429, *statuses)


# --- from exceptions ------------------------------------------------------------------------


def of_link_error(scope: Scope, error: PanelbusError) -> Response:
    """The answer for what the operator link raised."""
    if isinstance(error, RequestTimeout):
        return problem(scope, 503, "timeout", f"{error}.{_unknown_outcome(scope)}")
    if isinstance(error, LinkDown):
        return problem(scope, 503, "link_down", f"{error}.{_unknown_outcome(scope)}")
    if isinstance(error, KeyReused):
        # the broker's own words name the key as `commands` made it
        detail = "this Idempotency-Key was used before for a different request; use a new key"
        return problem(scope, 422, error.code, detail)
    if isinstance(error, Refused):
        return problem(scope, _STATUS_OF_CODE.get(error.code, 502), error.code, str(error))
    if isinstance(error, Misuse):
        return problem(scope, 422, "invalid", str(error))
    if isinstance(error, PeerFault):
        return problem(scope, 502, "peer_fault", f"the broker's answer makes no sense: {error}")
    return problem(scope, 500, "internal", "the gateway failed; its log says why")


def _unknown_outcome(scope: Scope) -> str:
    """What to do after no answer: a change that was asked for may still have been made."""
    if scope.get("method") == "GET":
        return " Try again."
    return (
        " It may still have been carried out. Try again; a kill or kill-all that carries an"
        " Idempotency-Key is not made twice."
    )


async def _on_link_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PanelbusError)
    return of_link_error(request.scope, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """What routing found: an unknown path, a wrong method, an unreadable body."""
    assert isinstance(error, HTTPException)
    status, method, path = error.status_code, request.method, request.url.path
    detail, headers = str(error.detail), dict(error.headers or {})
    if status == 404:
        detail = f"there is no {redacted(path)} here; /docs lists what there is"
    elif status == 405:
        allowed = _allowed(request)
        headers["Allow"] = allowed
        detail = f"{method} can't be used on {redacted(path)}; use {allowed}"
    elif status == 400:
        detail = "the body is not JSON; send JSON in UTF-8"
    code = _CODE_OF_STATUS.get(status, "http_error")
    return problem(request.scope, status, code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """Every method of this path: the router itself names only its first route's."""
    app: FastAPI = request.app
    return ", ".join(
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in app.router.routes
        )
    )


async def _on_invalid(request: Request, error: Exception) -> Response:
    """A request whose parts are not what the route wants: 400, 415 or 422."""
    assert isinstance(error, RequestValidationError)
    # what was sent is not echoed: it may be large, secret, or not expressible in JSON
    found = [
        {"loc": list(item["loc"]), "msg": str(item["msg"]), "type": str(item["type"])}
        for item in error.errors()
    ]
    if any(item["type"] == "json_invalid" for item in found):
        return problem(
            request.scope, 400, "bad_request", "the body is not JSON; send JSON in UTF-8"
        )
    kind = request.headers.get("content-type", "")
    if kind and not _is_json(kind) and any(item["loc"] == ["body"] for item in found):
        return problem(
            request.scope, 415, "not_json", "send the body as Content-Type: application/json"
        )
    said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found)
    detail = f"correct this and send it again: {said}"
    return problem(request.scope, 422, "invalid", detail, errors=found)


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


async def _on_bug(request: Request, _error: Exception) -> Response:
    # the server logs the traceback; the client learns nothing of the inside
    return problem(request.scope, 500, "internal", "the gateway failed; its log says why")


def install(app: FastAPI) -> None:
    """Let every error of this app be answered as a problem."""
    app.add_exception_handler(PanelbusError, _on_link_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_bug)
