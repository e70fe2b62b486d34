"""The routes of kills: ask for one, for all of an app's, and see how far it has come."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.convertors import PathConvertor, register_url_convertor

from broker.gateway.access import Needs, identity_of
from broker.gateway.models import (
    COMMAND_ID,
    MAX_ID,
    MAX_WAIT_SECONDS,
    Command,
    KillAllResponse,
    KillRequest,
    KillResponse,
)
from broker.gateway.operator_like import OperatorLike, Row
from broker.gateway.problems import documented_with_token
from broker.gateway.sessions import SessionId
from sessionclient.errors import LinkDown, Refused
from sessionclient.wire import MAX_NUMBER, MAX_TEXT_CHARS

router = APIRouter(tags=["kill"])


class _AnyText(PathConvertor):
    """What an app may be called: with slashes, and with line breaks, which a path leaves out."""

    regex = "(?s:.*)"


register_url_convertor("any_text", _AnyText())

FINAL_STAGES: Final = frozenset({"completed", "failed"})

_KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_TEXT_CHARS,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of visible ASCII without blanks. The same request may be repeated"
        " under it: the first answer comes again, and nothing is done twice. Another token's keys"
        " are other keys.",
        examples=["4f1d2c7e-night-shift"],
    ),
]


def _key(request: Request, key: _KeyHeader = None) -> str | None:
    """The key as the broker gets it, whose keys are everybody's.

    It must not tell one token the answer to another one's request, so the token's name goes into
    it: after it was replaced by a new token of that name, repeats are still repeats. Without
    tokens there is nobody to tell apart.
    """
    who = identity_of(request)
    if key is None or not who.has_token:
        return key
    return hashlib.sha256(f"{who.name}\n{key}".encode()).hexdigest()


IdempotencyKey = Annotated[str | None, Depends(_key)]
Wait = Annotated[
    float,
    Query(
        ge=0,
        le=MAX_WAIT_SECONDS,
        allow_inf_nan=False,
        description="Seconds to wait for the end before answering.",
    ),
]


@router.post(
    "/sessions/{session_id}/kill",
    status_code=202,
    response_model=KillResponse,
    responses=documented_with_token(400, 404, 409, 413, 415, 422, 503),
)
async def request_kill(
    session_id: SessionId,
    operator: Annotated[OperatorLike, Depends(Needs("kill"))],
    body: KillRequest | None = None,
    wait: Wait = 0,
    key: IdempotencyKey = None,
) -> KillResponse:
    """Ask a session to end. The answer means: committed, it will not be lost."""
    answer = await operator.request_kill(session_id, body.reason if body else None, 0, key)
    command_id, stage = str(answer["command_id"]), str(answer["stage"])
    if wait > 0 and stage not in FINAL_STAGES:
        stage = await _stage_after(operator, command_id, wait, stage)
    return KillResponse(command_id=command_id, stage=stage)


async def _stage_after(operator: OperatorLike, command_id: str, wait: float, stage: str) -> str:
    """The stage when the kill has ended, or after `wait` seconds.

    The kill stands whatever happens while we wait, so a link that goes down now must not turn the
    answer into an error: the stage known before is still true.
    """
    try:
        command = await operator.get_command(command_id, wait)
    except (LinkDown, Refused):
        return stage
    return str(command["stage"])


@router.post(
    "/apps/{app_name:any_text}/kill-all",
    status_code=202,
    response_model=KillAllResponse,
    responses=documented_with_token(400, 413, 415, 422, 503),
)
async def request_kill_by_app(
    app_name: Annotated[
        str, Path(min_length=1, max_length=MAX_TEXT_CHARS, description="The app's name.")
    ],
    operator: Annotated[OperatorLike, Depends(Needs("kill_all"))],
    body: KillRequest | None = None,
    key: IdempotencyKey = None,
) -> KillAllResponse:
    """Ask every session of an app to end. Counted are those newly asked."""
    answer = await operator.kill_app(app_name, body.reason if body else None, key)
    return KillAllResponse(killed_count=answer["killed_count"], command_id=answer.get("command_id"))


@router.get(
    "/commands/{command_id}",
    response_model=Command,
    responses=documented_with_token(404, 422, 503),
)
async def get_command(
    command_id: Annotated[
        str, Path(max_length=MAX_ID, examples=[COMMAND_ID], description="Of a kill's answer.")
    ],
    operator: Annotated[OperatorLike, Depends(Needs("command_state"))],
    wait: Wait = 0,
    seen: Annotated[
        int | None,
        Query(
            ge=0,
            le=MAX_NUMBER,
            description="With `wait`: answer as soon as more sessions than this have ended.",
        ),
    ] = None,
) -> Row:
    """How far a kill has come."""
    command = await operator.get_command(command_id, wait, seen)
    failures: list[dict[str, Any]] = [
        {"session_id": session_id, "reason": reason}
        for session_id, reason in command.get("failures", ())
    ]
    return {**command, "failures": failures}
