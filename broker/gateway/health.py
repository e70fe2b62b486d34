"""How the gateway and the broker are: for people, orchestrators and Prometheus."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from broker.gateway.metrics import CONTENT_TYPE, exposition
from broker.gateway.models import Health, Ready, StatusResponse
from broker.gateway.operator_like import OperatorLike, OperatorLink, Row
from broker.gateway.problems import documented
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


@router.get("/healthz", response_model=StatusResponse, responses=documented(403))
async def healthz() -> StatusResponse:
    """The gateway is up. Says nothing about the broker."""
    return StatusResponse(status="ok")


@router.get("/readyz", response_model=Ready, responses=documented(403, 503))
async def readyz(operator: OperatorLink) -> Ready:
    """The broker answers. It may do so degraded: then it serves, but can't keep everything."""
    stats = await _stats(operator)
    health = Health.model_validate(stats.get("health") or {"status": "ok"})
    return Ready(health=health, version=stats.get("version"))


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=documented(403),
)
async def metrics(operator: OperatorLink) -> Response:
    """The broker's figures for Prometheus; when it does not answer, `panelbus_up 0` alone."""
    try:
        stats: Row | None = await _stats(operator)
    except LinkDown:
        stats = None
    return Response(exposition(stats), media_type=CONTENT_TYPE)
