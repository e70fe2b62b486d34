"""How the gateway and the broker are: for people, orchestrators and Prometheus."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Final, Literal, cast

from fastapi import APIRouter, Depends, Request
from starlette.responses import PlainTextResponse, Response

from broker.gateway.access import OPEN, Needs
from broker.gateway.metrics import CONTENT_TYPE, exposition
from broker.gateway.models import Health, Ready, StatusResponse
from broker.gateway.operator_like import OperatorLike, Row
from broker.gateway.problems import documented, documented_with_token
from broker.gateway.token_file import TokenFile
from sessionclient.errors import LinkDown, RequestTimeout

router = APIRouter(tags=["health"])

PROBE_SECONDS: Final = 2.0  # a probe or a scrape waits no longer for the broker


async def _stats(operator: OperatorLike) -> Row:
    """The broker's own figures, soon.

    Raises:
        LinkDown: no answer within `PROBE_SECONDS`.
    """
    try:
        return await asyncio.wait_for(operator.stats(), PROBE_SECONDS)
    except LinkDown:
        raise
    except TimeoutError:
        raise RequestTimeout(f"the broker did not answer in {PROBE_SECONDS:g} s") from None


def _tokens(request: Request) -> Literal["ok", "outdated"] | None:
    # why, is in the log: who asks here has shown no token
    file = cast(TokenFile | None, request.app.state.tokens)
    if file is None:
        return None
    file.current(time.monotonic())
    return "ok" if file.trouble is None else "outdated"


@router.get(
    "/healthz", response_model=StatusResponse, responses=documented(403), dependencies=[OPEN]
)
async def healthz() -> StatusResponse:
    """The gateway is up. Says nothing about the broker."""
    return StatusResponse(status="ok")


@router.get(
    "/readyz", response_model=Ready, responses=documented(403, 429, 503), dependencies=[OPEN]
)
async def readyz(request: Request) -> Ready:
    """The broker answers. It may do so degraded: then it serves, but can't keep everything."""
    stats = await _stats(cast(OperatorLike, request.app.state.operator))
    health = Health.model_validate(stats.get("health") or {"status": "ok"})
    return Ready(health=health, version=stats.get("version"), tokens=_tokens(request))


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=documented_with_token(),
)
async def metrics(operator: Annotated[OperatorLike, Depends(Needs("stats"))]) -> Response:
    """The broker's figures for Prometheus; when it does not answer, `panelbus_up 0` alone."""
    try:
        stats: Row | None = await _stats(operator)
    except LinkDown:
        stats = None
    return Response(exposition(stats), media_type=CONTENT_TYPE)
