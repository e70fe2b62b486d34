"""Every request an operator can make, stated once for the sync and the asyncio face.

A `Call` checks its arguments when it is made, so a mistake is told before anything is sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple, TypeGuard

from sessionclient.errors import Misuse
from sessionclient.rows import (
    BrokerTime,
    present_audit,
    present_command,
    present_session,
    present_task,
)
from sessionclient.text import is_sendable
from sessionclient.wire import (
    MAX_ID_CHARS,
    MAX_LONG_TEXT_CHARS,
    MAX_NUMBER,
    MAX_PAGE_ROWS,
    MAX_SECONDS,
    MAX_TEXT_CHARS,
    MAX_WAIT,
    ROLES,
)

KEY_BYTES: Final = 16  # of chance in a key that we choose, so that no two kills share one

_CURSOR: Final = re.compile(r"\d{1,19}", re.ASCII)


class SessionPage(NamedTuple):
    """One page of sessions; ``next_cursor`` is None on the last one."""

    sessions: list[dict[str, Any]]
    total: int
    next_cursor: str | None


class AuditPage(NamedTuple):
    """One page of the audit; ``next_before`` is None on the last one."""

    rows: list[dict[str, Any]]
    next_before: int | None


class Call(NamedTuple):
    """One request: what to send, and what to make of the result."""

    kind: str
    fields: dict[str, Any]
    convert: Callable[[Any, float], Any]  # (result, the broker's stale_after in seconds)
    wait: float = 0.0  # seconds the broker may take on purpose


# --- checks ----------------------------------------------------------------------------------


def _is_text(value: Any, shortest: int, longest: int) -> TypeGuard[str]:
    return isinstance(value, str) and shortest <= len(value) <= longest and is_sendable(value)


def _name(what: str, value: Any) -> str:
    if not _is_text(value, 1, MAX_TEXT_CHARS):
        raise Misuse(f"{what} must be text of 1 to {MAX_TEXT_CHARS} characters, not {value!r:.60}")
    return value


def _optional(what: str, value: Any) -> str | None:
    return None if value is None else _name(what, value)


def _id(what: str, value: Any) -> str:
    if not _is_text(value, 1, MAX_ID_CHARS):
        raise Misuse(f"{what} must be an id of 1 to {MAX_ID_CHARS} characters, not {value!r:.80}")
    return value


def _reason(value: Any) -> str | None:
    if value is None:
        return None
    if not _is_text(value, 0, MAX_LONG_TEXT_CHARS):
        raise Misuse(f"reason must be text of at most {MAX_LONG_TEXT_CHARS} characters")
    return value


def _number(what: str, value: Any, low: float, high: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise Misuse(f"{what} must be a number from {low:g} to {high:g}, not {_shown(value)}")
    return float(value)


def _whole(what: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise Misuse(f"{what} must be a whole number from {low} to {high}, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """A wrong argument for a message; a number of thousands of digits can't even be printed."""
    try:
        return f"{value!r:.60}"
    except ValueError:
        return "one far beyond"


def _flag(what: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise Misuse(f"{what} must be True, False or None, not {value!r:.60}")
    return value


def on_behalf(name: str, role: str) -> dict[str, str]:
    """The field ``by`` of a request."""
    if role not in ROLES:
        raise Misuse(f"role must be one of {', '.join(ROLES)}, not {role!r:.60}")
    return {"name": _name("name", name), "role": role}


# --- results ---------------------------------------------------------------------------------


def _nothing(_result: Any, _stale_after: float) -> None:
    return None


def _as_it_is(result: Any, _stale_after: float) -> Any:
    return result


def _rows(result: Any, stale_after: float) -> list[dict[str, Any]]:
    at = BrokerTime(result["t"], result["w"], stale_after)
    return [present_session(row, at) for row in result["rows"]]


def _page(result: Any, stale_after: float) -> SessionPage:
    after = None if result["next"] is None else str(result["next"])
    return SessionPage(_rows(result, stale_after), result["total"], after)


def _one(result: Any, stale_after: float) -> dict[str, Any]:
    return present_session(result["row"], BrokerTime(result["t"], result["w"], stale_after))


# --- reading ---------------------------------------------------------------------------------


def list_sessions(
    app_name: str | None,
    user_id: str | None,
    status: str | None,
    stale: bool | None,
    limit: int,
    cursor: str | None,
) -> Call:
    after = None
    if cursor is not None:
        if not isinstance(cursor, str) or _CURSOR.fullmatch(cursor) is None:
            raise Misuse(f"cursor {cursor!r:.60} is not one; give next_cursor of the page before")
        after = int(cursor)
        if after >= MAX_NUMBER:
            raise Misuse(f"cursor {cursor!r} is not one; give next_cursor of the page before")
    fields = {
        "app": _optional("app_name", app_name),
        "user": _optional("user_id", user_id),
        "status": _optional("status", status),
        "stale": _flag("stale", stale),
        "limit": _whole("limit", limit, 1, MAX_PAGE_ROWS),
        "after": after,
    }
    return Call("list", fields, _page)


def all_sessions(
    app_name: str | None, user_id: str | None, status: str | None, stale: bool | None
) -> Generator[Call, SessionPage, list[dict[str, Any]]]:
    """Page after page; send each call's result back in."""
    sessions: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = yield list_sessions(app_name, user_id, status, stale, MAX_PAGE_ROWS, cursor)
        sessions += page.sessions
        cursor = page.next_cursor
        if cursor is None:
            return sessions


def get_session(session_id: str) -> Call:
    return Call("get", {"s": _id("session_id", session_id)}, _one)


def find_sessions(prefix: str) -> Call:
    return Call("find", {"prefix": _id("prefix", prefix)}, _rows)


def get_tasks(session_id: str) -> Call:
    def convert(result: Any, _stale_after: float) -> list[dict[str, Any]]:
        return [present_task(row) for row in result["tasks"]]

    return Call("tasks", {"s": _id("session_id", session_id)}, convert)


def get_commands() -> Call:
    def convert(result: Any, _stale_after: float) -> list[dict[str, Any]]:
        return [present_command(row) for row in result["commands"]]

    return Call("commands", {}, convert)


def get_command(command_id: str, wait: float, seen: int | None) -> Call:
    seconds = _number("wait", wait, 0.0, MAX_WAIT)
    fields = {
        "c": _id("command_id", command_id),
        "wait": seconds,
        "seen": None if seen is None else _whole("seen", seen, 0, MAX_NUMBER),
    }
    return Call("command_state", fields, lambda result, _: present_command(result), seconds)


def get_audit(limit: int, before: int | None) -> Call:
    def convert(result: Any, _stale_after: float) -> AuditPage:
        return AuditPage([present_audit(row) for row in result["rows"]], result["next"])

    fields = {
        "limit": _whole("limit", limit, 1, MAX_PAGE_ROWS),
        "before": None if before is None else _whole("before", before, 0, MAX_NUMBER),
    }
    return Call("audit", fields, convert)


def stats() -> Call:
    return Call("stats", {}, _as_it_is)


# --- acting ----------------------------------------------------------------------------------


def request_kill(session_id: str, reason: str | None, wait: float, key: str | None) -> Call:
    seconds = _number("wait", wait, 0.0, MAX_WAIT)
    fields = {
        "s": _id("session_id", session_id),
        "reason": _reason(reason),
        "wait": seconds,
        "key": _key(key),
    }
    return Call("kill", fields, _as_it_is, seconds)


def kill_app(app_name: str, reason: str | None, key: str | None) -> Call:
    fields = {"app": _name("app_name", app_name), "reason": _reason(reason), "key": _key(key)}
    return Call("kill_all", fields, _as_it_is)


def _key(key: str | None) -> str:
    # with a key of its own every kill may be sent again after a reconnect, and still be one kill
    return os.urandom(KEY_BYTES).hex() if key is None else _name("key", key)


def cleanup(older_than_minutes: float) -> Call:
    minutes = _number("older_than_minutes", older_than_minutes, 0.0, MAX_SECONDS / 60)
    return Call("cleanup", {"older": minutes * 60}, lambda result, _: result["count"])


def backup(file: str, wait: float) -> Call:
    if not _is_text(file, 1, MAX_LONG_TEXT_CHARS):
        raise Misuse(f"file must be text of 1 to {MAX_LONG_TEXT_CHARS} characters")
    return Call("backup", {"file": file}, _as_it_is, _number("wait", wait, 0.0, MAX_WAIT))


# --- sessions that live on REST --------------------------------------------------------------


def create_session(app_name: str, user_id: str | None) -> Call:
    fields = {"app": _name("app_name", app_name), "user": _optional("user_id", user_id)}
    return Call("create", fields, lambda result, _: result["session_id"])


def delete_session(session_id: str) -> Call:
    return Call("delete", {"s": _id("session_id", session_id)}, _nothing)


def update_heartbeat(session_id: str) -> Call:
    fields = {"s": _id("session_id", session_id)}
    return Call("touch", fields, lambda result, _: bool(result["kill_requested"]))


def update_status(session_id: str, status: str, current_task: str | None) -> Call:
    fields = {
        "s": _id("session_id", session_id),
        "status": _name("status", status),
        "task": _optional("current_task", current_task),
    }
    return Call("set_status", fields, _nothing)
