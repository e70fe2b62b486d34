"""The route of the audit."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query

from broker.gateway.access import Needs
from broker.gateway.models import Audit
from broker.gateway.operator_like import OperatorLike
from broker.gateway.problems import documented_with_token
from sessionclient.wire import MAX_NUMBER, MAX_PAGE_ROWS

router = APIRouter(tags=["audit"])

DEFAULT_PAGE: Final = 100  # rows


@router.get("/audit", response_model=Audit, responses=documented_with_token(422, 503))
async def get_audit(
    operator: Annotated[OperatorLike, Depends(Needs("audit"))],
    limit: Annotated[
        int, Query(ge=1, le=MAX_PAGE_ROWS, description="Rows in a page.")
    ] = DEFAULT_PAGE,
    before: Annotated[
        int | None,
        Query(ge=0, le=MAX_NUMBER, description="`next_before` of the page before."),
    ] = None,
) -> dict[str, Any]:
    """Who ended what, and who was refused: the newest first."""
    page = await operator.get_audit(limit, before)
    return {"rows": page.rows, "next_before": page.next_before}
