"""Raw rows as the broker sends them."""

from __future__ import annotations

from typing import Any, Final

WALL: Final = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def row(session_id: str, seq: int = 1, **changes: Any) -> dict[str, Any]:
    """A live session of the process "proc", heard at 100 s of observed time."""
    return {
        "session_id": session_id,
        "seq": seq,
        "app_name": "sales",
        "user_id": "ann",
        "start_time": WALL - 60.0,
        "status": "idle",
        "current_task": None,
        "task_start": None,
        "kill_requested": False,
        "kill_reason": None,
        "kill_stage": None,
        "kill_error": None,
        "process": "proc",
        "host": "host1",
        "pid": 42,
        "source": "bus",
        "heard": 100.0,
        **changes,
    }


def command(command_id: str, finished_at: float | None = None, **changes: Any) -> dict[str, Any]:
    """A kill, under way unless it is said when it finished."""
    return {
        "command_id": command_id,
        "kind": "kill",
        "requested_at": WALL - 5.0,
        "finished_at": finished_at,
        "stage": "requested" if finished_at is None else "completed",
        **changes,
    }
