"""One message of every kind with all its fields, and what is required of it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from sessionclient.wire import FEED, FROM_BROKER, TO_BROKER, Kind

TABLES: Final[dict[str, Mapping[str, Kind]]] = {
    "to_broker": TO_BROKER,
    "from_broker": FROM_BROKER,
    "feed": FEED,
}

SESSION: Final[dict[str, Any]] = {
    "s": "s1",
    "app": "sales",
    "user": "ann",
    "age": 1.5,
    "status": "running",
    "task": "load",
    "task_age": 0.5,
}
TASK: Final[dict[str, Any]] = {
    "s": "s1",
    "no": 1,
    "name": "load",
    "age": 3.0,
    "took": 2.0,
    "outcome": "error",
    "error": "ValueError: no",
}
ENDED: Final[dict[str, Any]] = {"s": "s0", "reason": "closed", "error": "a callback failed"}
STATE: Final[dict[str, Any]] = {
    "sessions": [SESSION],
    "ended": [ENDED],
    "done": [TASK],
    "last": True,
}

_CLIENT: Final[dict[str, dict[str, Any]]] = {
    "hello": {
        "v": 1,
        "role": "app",
        "instance": "proc",
        "secret": b"0123456789abcdef",
        "host": "host1",
        "pid": 42,
        "interval": 30.0,
        "n": 1,
        **STATE,
    },
    "hello_part": {"n": 2, **STATE},
    "register": {"n": 3, **SESSION},
    "status": {
        "n": 4,
        "s": "s1",
        "status": "running",
        "task": "load",
        "task_age": 0.5,
        "done": [TASK],
    },
    "end": {"n": 5, **ENDED, "done": [TASK]},
    "delivered": {"n": 6, "c": "c1"},
    "failed": {"n": 7, "s": "s1", "error": "the loop is blocked"},
    "heartbeat": {"n": 8},
    "bye": {"n": 9},
    "list": {
        "r": 1,
        "app": "sales",
        "user": "ann",
        "status": "idle",
        "stale": False,
        "limit": 100,
        "after": 7,
    },
    "get": {"r": 2, "s": "s1"},
    "find": {"r": 3, "prefix": "s"},
    "commands": {"r": 4},
    "command_state": {"r": 5, "c": "c1", "wait": 1.0, "seen": 2},
    "tasks": {"r": 6, "s": "s1"},
    "stats": {"r": 7},
    "create": {"r": 8, "app": "web", "user": "ann"},
    "delete": {"r": 9, "s": "s1"},
    "touch": {"r": 10, "s": "s1"},
    "set_status": {"r": 11, "s": "s1", "status": "running", "task": "load"},
    "kill": {"r": 12, "s": "s1", "reason": "too long", "key": "k1", "wait": 2.5},
    "kill_all": {"r": 13, "app": "sales", "reason": "", "key": "k2"},
    "cleanup": {"r": 14, "older": 60.0},
    "audit": {"r": 15, "limit": 10, "before": 7},
    "backup": {"r": 16, "file": "monday.db"},
}
for _fields in _CLIENT.values():
    if "r" in _fields:
        _fields["by"] = {"name": "ann", "role": "viewer"}

_BROKER: Final[dict[str, dict[str, Any]]] = {
    "welcome": {
        "n": 1,
        "v": 1,
        "epoch": "e1",
        "feed": "tcp://127.0.0.1:5761",
        "stale_after": 120.0,
        "version": "1.0",
    },
    "say_hello": {},
    "ack": {"n": 3},
    "command": {"c": "c1", "command": "kill", "s": ["s1", "s2"], "reason": "too long"},
    "refused": {"s": "s1", "reason": "it belongs to another process"},
    "reply": {"r": 1, "result": {"count": 2, "rows": [[None, True, 1.5, b"x"]]}},
    "error": {"r": 1, "code": "not_found", "message": "there is no session 's1'"},
}

_FEED: Final[dict[str, dict[str, Any]]] = {
    "feed": {
        "epoch": "e1",
        "n": 1,
        "t": 10.5,
        "w": 1_700_000_000.0,
        "changes": [["h", "proc", 10.0]],
        "health": {"store": "ok"},
    }
}

# the fields without which a message is refused
REQUIRED: Final[dict[str, str]] = {
    "hello": "v role instance secret host pid interval n sessions ended last",
    "hello_part": "n sessions ended last",
    "register": "n s app age status",
    "status": "n s status",
    "end": "n s reason",
    "delivered": "n c",
    "failed": "n s error",
    "heartbeat": "n",
    "bye": "n",
    "list": "r",
    "get": "r s",
    "find": "r prefix",
    "commands": "r",
    "command_state": "r c",
    "tasks": "r s",
    "stats": "r",
    "create": "r app",
    "delete": "r s",
    "touch": "r s",
    "set_status": "r s status",
    "kill": "r s",
    "kill_all": "r app",
    "cleanup": "r older",
    "audit": "r",
    "backup": "r file",
    "welcome": "n v epoch feed stale_after version",
    "say_hello": "",
    "ack": "n",
    "command": "c command s",
    "refused": "s reason",
    "reply": "r",
    "error": "code message",
    "feed": "epoch n t w changes",
}

# (table, kind) of everything there is
EVERY_KIND: Final[list[tuple[str, str]]] = [
    *(("to_broker", kind) for kind in _CLIENT),
    *(("from_broker", kind) for kind in _BROKER),
    *(("feed", kind) for kind in _FEED),
]


def example(kind: str, **changes: Any) -> dict[str, Any]:
    """A fresh valid message with every field of its kind, but for ``changes``."""
    fields = (_CLIENT | _BROKER | _FEED)[kind]
    return {"k": kind, **deepcopy(fields), **changes}


def table_of(kind: str) -> Mapping[str, Kind]:
    """The table that lists this kind."""
    return TABLES[next(table for table, name in EVERY_KIND if name == kind)]
