"""What a watch hands to the monitor: sessions, commands and changes with real times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sessionclient.mirror import Change

NOW: Final = datetime(2024, 5, 6, 12, 30, 40, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)


def session(session_id: str, **changes: Any) -> dict[str, Any]:
    """A live, idle session of the process "proc", a minute old and just heard."""
    return {
        "session_id": session_id,
        "app_name": "sales",
        "user_id": "ann",
        "start_time": NOW - MINUTE,
        "last_heartbeat": NOW,
        "duration_seconds": 60,
        "status": "idle",
        "current_task": None,
        "task_start": None,
        "is_stale": False,
        "kill_requested": False,
        "kill_reason": None,
        "kill_stage": None,
        "kill_error": None,
        "process": "proc",
        "host": "host1",
        "pid": 42,
        "source": "bus",
        **changes,
    }


def ended(session_id: str, **changes: Any) -> dict[str, Any]:
    """How a session ended."""
    return {
        "session_id": session_id,
        "reason": "stopped",
        "ended_at": NOW,
        "error": None,
        **changes,
    }


def command(command_id: str, **changes: Any) -> dict[str, Any]:
    """A kill of session "s1", just asked for."""
    return {
        "command_id": command_id,
        "kind": "kill",
        "app_name": None,
        "session_id": "s1",
        "reason": None,
        "requested_by": "ops",
        "requested_at": NOW,
        "finished_at": None,
        "stage": "requested",
        "total": 1,
        "delivered": 0,
        "completed": 0,
        "failed": 0,
        **changes,
    }


def heard(process: str, at: datetime) -> Change:
    return Change("heard", [{"process": process, "heard": 0.0, "last_heartbeat": at}])


def told(kind: str, *rows: dict[str, Any]) -> Change:
    return Change(kind, list(rows))
