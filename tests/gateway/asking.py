"""One request to the gateway's app without a network, and what a problem must look like."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from broker.gateway.app import Admission, create_app
from broker.gateway.operator_like import OperatorLike

BASE = "http://127.0.0.1:8000"
ASK_SECONDS = 10  # a request that hangs is a failure, not a test that never ends


def ask(
    operator: OperatorLike,
    method: str,
    path: str,
    *,
    admission: Admission | None = None,
    **more: Any,
) -> httpx.Response:
    """The answer to one request; `more` goes to httpx."""
    app = create_app(operator, admission)

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await asyncio.wait_for(client.request(method, path, **more), ASK_SECONDS)

    return asyncio.run(run())


def check_problem(
    response: httpx.Response,
    status: int,
    title: str,
    code: str,
    detail: str,
    instance: str,
    **more: Any,
) -> None:
    """The answer is exactly this problem."""
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        **more,
    }
    assert response.status_code == status
    assert response.headers.get("retry-after") == ("2" if status in (429, 503) else None)
