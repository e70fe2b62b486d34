"""What goes in and out over REST: the schemas, their bounds and an example of each.

The names are the ones the HTTP clients of the ancestor know. Bodies from outside are checked
strictly (a number is not taken for a text); fields they don't know are ignored, as the ancestor
did. Times are RFC 3339 in UTC. Bounds are the bus's own, so that what passes here is never refused
behind it for its shape.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictStr

from sessionclient.wire import MAX_ID_CHARS, MAX_LONG_TEXT_CHARS, MAX_TEXT_CHARS

SESSION_ID: Final = "5f0c2a9e8d5b4f7c9a1e3d2b6c4f8a70"
COMMAND_ID: Final = "c-8a4d1f6e2b7c4d0f"
_START: Final = "2026-01-02T03:04:05Z"
_LATER: Final = "2026-01-02T03:06:00Z"

Name = Annotated[StrictStr, Field(min_length=1, max_length=MAX_TEXT_CHARS)]
LongText = Annotated[StrictStr, Field(max_length=MAX_LONG_TEXT_CHARS)]


def _example(**example: Any) -> ConfigDict:
    return ConfigDict(extra="ignore", json_schema_extra={"examples": [example]})


# --- what a client sends --------------------------------------------------------------------


class SessionCreate(BaseModel):
    """A session that lives on REST: it sends its own heartbeats and deletes itself."""

    model_config = _example(app_name="sales", user_id="ann")

    app_name: Name = Field(description="The app's name.")
    user_id: Name | None = Field(None, description="Who uses it, if known.")


class SessionStatus(BaseModel):
    """What a session is doing now."""

    model_config = _example(status="running", current_task="Refresh forecast")

    status: Name = Field(description="A word for its state, such as `idle` or `running`.")
    current_task: Name | None = Field(None, description="The task it works on; none when left out.")


class KillRequest(BaseModel):
    """Why a session is to end; the whole body may be left out."""

    model_config = _example(reason="maintenance at noon")

    reason: LongText | None = Field(None, description="Shown to the user and kept in the record.")


# --- what it gets back ----------------------------------------------------------------------


class SessionCreated(BaseModel):
    """The id of the new session."""

    model_config = _example(session_id=SESSION_ID)

    session_id: str


class StatusResponse(BaseModel):
    """What was done."""

    model_config = _example(status="updated")

    status: str = Field(description="`updated`, `deleted` or `ok`.")


class HeartbeatResponse(BaseModel):
    """Whether somebody asked for this session's end since."""

    model_config = _example(kill_requested=False)

    kill_requested: bool = Field(description="True: clean up, then DELETE the session.")


class KillResponse(BaseModel):
    """A kill the broker has committed: from here on it is not lost."""

    model_config = _example(status="kill_requested", stage="requested", command_id=COMMAND_ID)

    status: Literal["kill_requested"] = "kill_requested"
    stage: str = Field(description="`requested`, `delivered`, `completed` or `failed`.")
    command_id: str = Field(description="Ask for its progress at `/commands/{command_id}`.")


class KillAllResponse(BaseModel):
    """How many sessions were newly asked to end."""

    model_config = _example(killed_count=3, command_id=COMMAND_ID)

    killed_count: int
    command_id: str | None = Field(None, description="Null when no session was there to end.")


class CleanupResponse(BaseModel):
    """How many stale sessions were ended."""

    model_config = _example(deleted_count=2)

    deleted_count: int


_SESSION_EXAMPLE: Final[dict[str, Any]] = {
    "session_id": SESSION_ID,
    "app_name": "sales",
    "user_id": "ann",
    "start_time": _START,
    "last_heartbeat": _LATER,
    "duration_seconds": 115,
    "status": "running",
    "current_task": "Refresh forecast",
    "is_stale": False,
    "kill_requested": False,
    "kill_reason": None,
    "kill_stage": None,
    "kill_error": None,
    "task_start": _LATER,
    "process": "9d1f3c",
    "host": "apps-1",
    "pid": 4711,
    "source": "bus",
}


class Session(BaseModel):
    """One user's page in one app, as the broker sees it at the moment of the answer."""

    model_config = _example(**_SESSION_EXAMPLE)

    session_id: str
    app_name: str
    user_id: str | None = None
    start_time: AwareDatetime
    last_heartbeat: AwareDatetime
    duration_seconds: int = Field(description="Seconds since its start.")
    status: str
    current_task: str | None = None
    is_stale: bool = Field(description="Nothing was heard of it for the broker's stale time.")
    kill_requested: bool
    kill_reason: str | None = None
    kill_stage: str | None = Field(None, description="`requested`, `delivered` or `failed`.")
    kill_error: str | None = Field(None, description="Why a kill failed.")
    task_start: AwareDatetime | None = None
    process: str | None = Field(None, description="The life of the process that holds it.")
    host: str | None = None
    pid: int | None = None
    source: str = Field("bus", description="How it registered: `bus` or `rest`.")


class SessionList(BaseModel):
    """Sessions, oldest first: all of them, or one page."""

    model_config = _example(sessions=[_SESSION_EXAMPLE], total=1, next_cursor=None)

    sessions: list[Session]
    total: int = Field(description="How many match in all.")
    next_cursor: str | None = Field(
        None, description="Give it as `cursor` for the next page; null: this was the last."
    )


class Failure(BaseModel):
    """A session that could not be ended, and why."""

    model_config = _example(session_id=SESSION_ID, reason="the event loop is blocked")

    session_id: str
    reason: str | None = None


class Command(BaseModel):
    """A kill and how far it has come."""

    model_config = _example(
        command_id=COMMAND_ID,
        kind="kill",
        app_name="sales",
        session_id=None,
        reason="maintenance at noon",
        requested_by="operator",
        requested_at=_START,
        finished_at=None,
        stage="delivered",
        total=3,
        delivered=3,
        completed=2,
        failed=0,
        pending=[SESSION_ID],
        failures=[],
    )

    command_id: str
    kind: str
    app_name: str | None = None
    session_id: str | None = Field(None, description="Its target, when it has only one.")
    reason: str | None = None
    requested_by: str | None = None
    requested_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    stage: str = Field(description="`requested`, `delivered`, `completed` or `failed`.")
    total: int = Field(description="How many sessions it is for.")
    delivered: int
    completed: int
    failed: int
    pending: list[str] = Field([], description="Sessions not yet ended; at most 1000 are named.")
    failures: list[Failure] = Field([], description="At most 1000.")


_AUDIT_EXAMPLE: Final[dict[str, Any]] = {
    "number": 17,
    "at": _LATER,
    "actor": "token night-shift (operator) through gateway",
    "action": "kill",
    "outcome": "requested",
    "app_name": None,
    "targets": [SESSION_ID],
    "total": 1,
    "reason": "maintenance at noon",
    "command_id": COMMAND_ID,
    "detail": None,
}


class Health(BaseModel):
    """How the broker is."""

    model_config = _example(status="ok", cause=None, message=None)

    status: str = Field(description="`ok`, or `degraded`: it serves, but can't keep everything.")
    cause: str | None = None
    message: str | None = None


class Ready(BaseModel):
    """The broker answers."""

    model_config = _example(
        status="ready",
        health={"status": "ok", "cause": None, "message": None},
        version="1.0.0",
        tokens="ok",
    )

    status: Literal["ready"] = "ready"
    health: Health
    version: str | None = Field(None, description="The broker's version.")
    tokens: Literal["ok", "outdated"] | None = Field(
        None,
        description="`outdated`: the file of tokens can't be used now, so the list from before"
        " counts; the gateway's log says why. Null: no token is asked for.",
    )


class AuditRow(BaseModel):
    """Who did what, and what became of it."""

    model_config = _example(**_AUDIT_EXAMPLE)

    number: int = Field(description="Counts all rows; higher is later.")
    at: AwareDatetime
    actor: str = Field(description="Who: a token of this gateway shows as `token NAME`.")
    action: str = Field(description="Such as `kill`, `kill_all`, `cleanup` or `delete`.")
    outcome: str = Field(description="Such as `requested`, `completed`, `failed` or `refused`.")
    app_name: str | None = None
    targets: list[str] = Field([], description="The sessions it was for; at most 100 are named.")
    total: int = Field(0, description="How many sessions it was for.")
    reason: str | None = None
    command_id: str | None = None
    detail: str | None = None


class Audit(BaseModel):
    """Rows of the audit, newest first."""

    model_config = _example(rows=[_AUDIT_EXAMPLE], next_before=None)

    rows: list[AuditRow]
    next_before: int | None = Field(
        None, description="Give it as `before` for the next page; null: this was the last."
    )


# --- when it goes wrong ---------------------------------------------------------------------


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    model_config = _example(
        loc=["body", "app_name"], msg="Input should be a valid string", type="string_type"
    )

    loc: list[str | int] = Field(description="Where: `body`, `query`, `path` or `header`, and on.")
    msg: str
    type: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it (`application/problem+json`)."""

    model_config = _example(
        type="about:blank",
        title="Not Found",
        status=404,
        detail=f"there is no live session {SESSION_ID}",
        instance=f"/sessions/{SESSION_ID}",
        code="not_found",
    )

    type: str = Field("about:blank", description="Always this: the status and `code` say it all.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong and what to do about it.")
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="One word for programs, such as `not_found` or `link_down`.")
    errors: list[FieldError] | None = Field(None, description="With 422: every wrong field.")


# --- parameters -----------------------------------------------------------------------------

MAX_WAIT_SECONDS: Final = 60.0
MAX_ID: Final = MAX_ID_CHARS
