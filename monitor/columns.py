"""The table's columns: their types, where their values come from, and how they look at first."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sessionclient.rows import shown_status

INDEX: Final = "id"  # the whole session id; shown on hover, and what every action goes by

# Name as shown -> Perspective's type. The spans hold minus the moment they began (milliseconds
# since the Unix epoch): the page shows how long ago that is and ticks by itself, no row has to be
# sent for it, and a longer span is a larger value, so that sorting and "max" mean what they say.
SCHEMA: Final = {
    INDEX: "string",
    "App": "string",
    "User": "string",
    "Session": "string",
    "Started": "datetime",
    "Duration": "float",
    "Status": "string",
    "Task": "string",
    "Task time": "float",
    "Host": "string",
    "PID": "string",  # as a number it may be longer than Perspective's integers
    "Last heard": "float",
}
SPANS: Final = ("Duration", "Task time", "Last heard")
SHORT_ID: Final = 8  # characters

_WIDTHS: Final = {
    "App": 126,
    "User": 108,
    "Session": 100,
    "Started": 128,
    "Duration": 84,
    "Status": 112,
    "Task": 180,
    "Task time": 84,
    "Host": 120,
    "PID": 72,
    "Last heard": 96,
}
_TIME: Final = {
    "format": "custom",
    "year": "disabled",
    "month": "short",
    "day": "2-digit",
    "hour": "2-digit",
    "minute": "2-digit",
    "second": "2-digit",
    "hour12": False,
}

# What the viewer shows before anybody arranges it otherwise. Perspective drops keys it does not
# know without a word; these are those of 5.6.
LAYOUT: Final[dict[str, Any]] = {
    "plugin": "Datagrid",
    "columns": list(_WIDTHS),
    "group_by": [],
    "split_by": [],
    "filter": [],
    "sort": [["Started", "desc"], ["Session", "asc"]],
    "aggregates": {
        "User": "distinct count",
        "Session": "count",
        "Started": "high",
        "Status": "distinct count",
        "Task": "distinct count",
        "Host": "distinct count",
        "PID": "distinct count",
        **dict.fromkeys(SPANS, "high"),
    },
    "columns_config": {
        name: {
            "column_size_override": width,
            **({"date_format": _TIME} if name == "Started" else {}),
            **({"fg_mode": "disabled"} if SCHEMA[name] == "float" else {}),
        }
        for name, width in _WIDTHS.items()
    },
    "plugin_config": {"edit_mode": "READ_ONLY", "row_height": 28, "column_menus": True},
}


def _millis(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp() * 1000


def _since(moment: datetime | None) -> float | None:
    return None if moment is None else -moment.timestamp() * 1000


def row(session: dict[str, Any]) -> dict[str, Any]:
    """A session dict as a row of the table, with the index."""
    bus = session["source"] == "bus"
    return {
        INDEX: session["session_id"],
        "App": session["app_name"],
        "User": session["user_id"],
        "Session": session["session_id"][:SHORT_ID],
        "Started": _millis(session["start_time"]),
        "Duration": _since(session["start_time"]),
        "Status": shown_status(session),
        "Task": session["current_task"],
        "Task time": _since(session["task_start"]),
        "Host": session["host"] if bus else "REST",
        "PID": str(session["pid"]) if bus else None,
        "Last heard": _since(session["last_heartbeat"]),
    }
