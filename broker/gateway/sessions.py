"""The routes of sessions: create, list, look at, keep alive, end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.responses import Response

from broker.gateway.access import Needs
from broker.gateway.models import (
    MAX_ID,
    SESSION_ID,
    CleanupResponse,
    HeartbeatResponse,
    Session,
    SessionCreate,
    SessionCreated,
    SessionList,
    SessionStatus,
    StatusResponse,
)
from broker.gateway.operator_like import OperatorLike, Row
from broker.gateway.problems import documented_with_token
from sessionclient.wire import MAX_PAGE_ROWS, MAX_SECONDS, MAX_TEXT_CHARS

router = APIRouter(tags=["sessions"])

DEFAULT_PAGE: Final = 100  # rows, when a cursor is given without a limit
_CHUNK: Final = 1000  # rows put into JSON at a stretch: about 5 ms of the event loop
_ROWS: Final = TypeAdapter(list[Session])

SessionId = Annotated[
    str, Path(max_length=MAX_ID, examples=[SESSION_ID], description="The session's id.")
]
_NameFilter = Query(min_length=1, max_length=MAX_TEXT_CHARS)


@router.post(
    "/sessions",
    status_code=201,
    response_model=SessionCreated,
    responses=documented_with_token(400, 413, 415, 422, 503),
)
async def create_session(
    body: SessionCreate, operator: Annotated[OperatorLike, Depends(Needs("create"))]
) -> SessionCreated:
    """Register a session that lives on REST: send heartbeats, and DELETE it at its end."""
    session_id = await operator.create_session(body.app_name, body.user_id)
    return SessionCreated(session_id=session_id)


@router.delete(
    # before /sessions/{session_id}, which would take "stale" for an id
    "/sessions/stale",
    response_model=CleanupResponse,
    responses=documented_with_token(422, 503),
)
async def cleanup_stale_sessions(
    operator: Annotated[OperatorLike, Depends(Needs("cleanup"))],
    older_than_minutes: Annotated[
        float,
        Query(ge=0, le=MAX_SECONDS / 60, allow_inf_nan=False, description="Minutes of silence."),
    ] = 10,
) -> CleanupResponse:
    """End every session that was not heard of for so long."""
    deleted = await operator.cleanup_stale_sessions(older_than_minutes)
    return CleanupResponse(deleted_count=deleted)


@router.delete(
    "/sessions/{session_id}",
    response_model=StatusResponse,
    responses=documented_with_token(404, 409, 422, 503),
)
async def delete_session(
    session_id: SessionId, operator: Annotated[OperatorLike, Depends(Needs("delete"))]
) -> StatusResponse:
    """End a session that lives on REST."""
    await operator.delete_session(session_id)
    return StatusResponse(status="deleted")


@router.post(
    "/sessions/{session_id}/heartbeat",
    response_model=HeartbeatResponse,
    responses=documented_with_token(404, 409, 413, 422, 503),
)
async def update_heartbeat(
    session_id: SessionId, operator: Annotated[OperatorLike, Depends(Needs("touch"))]
) -> HeartbeatResponse:
    """Say that the session lives, and learn whether it is to end."""
    return HeartbeatResponse(kill_requested=await operator.update_heartbeat(session_id))


@router.put(
    "/sessions/{session_id}/status",
    response_model=StatusResponse,
    responses=documented_with_token(400, 404, 409, 413, 415, 422, 503),
)
async def update_status(
    session_id: SessionId,
    body: SessionStatus,
    operator: Annotated[OperatorLike, Depends(Needs("set_status"))],
) -> StatusResponse:
    """Say what the session is doing."""
    await operator.update_status(session_id, body.status, body.current_task)
    return StatusResponse(status="updated")


@router.get(
    "/sessions",
    response_model=SessionList,
    responses=documented_with_token(422, 503),
)
async def list_sessions(
    operator: Annotated[OperatorLike, Depends(Needs("list"))],
    app_name: Annotated[str | None, _NameFilter] = None,
    user_id: Annotated[str | None, _NameFilter] = None,
    status: Annotated[str | None, _NameFilter] = None,
    stale: Annotated[bool | None, Query(description="Only the stale, or only the others.")] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=MAX_PAGE_ROWS, description="Rows in a page; all when left out.")
    ] = None,
    cursor: Annotated[
        str | None,
        Query(
            min_length=1, max_length=MAX_TEXT_CHARS, description="`next_cursor` of the page before."
        ),
    ] = None,
) -> Response:
    """The live sessions that match: all of them, or with `limit` a page at a time."""
    if limit is None and cursor is None:
        rows = await operator.get_all_sessions(app_name, user_id, status, stale)
        return await _session_list(rows, len(rows), None)
    page = await operator.list_sessions(
        app_name, user_id, status, stale, limit or DEFAULT_PAGE, cursor
    )
    return await _session_list(page.sessions, page.total, page.next_cursor)


async def _session_list(rows: Sequence[Row], total: int, next_cursor: str | None) -> Response:
    """A `SessionList` in JSON, made piecewise: 100,000 rows in one go would hold up every
    heartbeat and kill beside them for half a second."""
    parts = [b'{"sessions":[']
    for start in range(0, len(rows), _CHUNK):
        if start:
            parts.append(b",")
            await asyncio.sleep(0)
        sessions = _ROWS.validate_python(rows[start : start + _CHUNK])
        parts.append(_ROWS.dump_json(sessions)[1:-1])
    parts.append(b'],"total":%d,"next_cursor":%b}' % (total, to_json(next_cursor)))
    return Response(b"".join(parts), media_type="application/json")


@router.get(
    "/sessions/{session_id}",
    response_model=Session,
    responses=documented_with_token(404, 422, 503),
)
async def get_session(
    session_id: SessionId, operator: Annotated[OperatorLike, Depends(Needs("get"))]
) -> Row:
    """One live session."""
    return await operator.get_session(session_id)
