"""From what the wire carries to what people use: session and command dicts with real times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

# What looking at an answer raises that is not what the protocol says: a missing key, a wrong type,
# a time no calendar has. Whoever reads what a broker sends catches these, and nothing else.
NONSENSE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
)


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


def shown_status(session: dict[str, Any]) -> str:
    """A session dict's state in the words people see: a kill and silence go before the status."""
    if session["kill_requested"]:
        return "kill failed" if session["kill_stage"] == "failed" else "being killed"
    return "stale" if session["is_stale"] else str(session["status"])


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


def present_audit(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the audit with its datetime."""
    return {**row, "at": moment(row["at"])}
