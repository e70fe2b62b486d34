"""From what the wire carries to what people use: session and command dicts with real times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple


class BrokerTime(NamedTuple):
    """The broker's clocks at one moment, and its idea of stale."""

    observed: float  # its clock of observed time, which silence is measured by (seconds)
    wall: float  # seconds since the Unix epoch
    stale_after: float  # seconds


def moment(wall: float | None) -> datetime | None:
    """A wall-clock time (seconds since the epoch) as an aware datetime in UTC."""
    return None if wall is None else datetime.fromtimestamp(wall, UTC)


def present_session(row: dict[str, Any], at: BrokerTime) -> dict[str, Any]:
    """A raw row of docs/PROTOCOL.md as a session dict, its computed fields as of ``at``."""
    silent = max(0.0, at.observed - row["heard"])
    return {
        "session_id": row["session_id"],
        "app_name": row["app_name"],
        "user_id": row["user_id"],
        "start_time": moment(row["start_time"]),
        "last_heartbeat": moment(at.wall - silent),
        "duration_seconds": max(0, int(at.wall - row["start_time"])),
        "status": row["status"],
        "current_task": row["current_task"],
        "task_start": moment(row["task_start"]),
        "is_stale": silent > at.stale_after,
        "kill_requested": row["kill_requested"],
        "kill_reason": row["kill_reason"],
        "kill_stage": row["kill_stage"],
        "kill_error": row["kill_error"],
        "process": row["process"],
        "host": row["host"],
        "pid": row["pid"],
        "source": row["source"],
    }


def present_command(row: dict[str, Any]) -> dict[str, Any]:
    """A command map with datetimes; ``failures`` becomes a dict where it is given."""
    command = dict(row)
    command["requested_at"] = moment(row["requested_at"])
    command["finished_at"] = moment(row["finished_at"])
    if "failures" in command:
        command["failures"] = dict(command["failures"])
    return command


def present_task(row: dict[str, Any]) -> dict[str, Any]:
    """A finished task with datetimes."""
    return {
        **row,
        "started_at": moment(row["started_at"]),
        "ended_at": moment(row["ended_at"]),
    }
