"""An operator in memory: what `AsyncOperator` does, without a broker.

It keeps sessions and kills as the broker would, as far as the gateway can tell; it records every
call; and a test can make it fail, hang or hold back the end of a kill.
"""

from __future__ import annotations

import asyncio
import copy
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sessionclient.errors import Conflict, KeyReused, LinkDown, Misuse, NotFound

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STALE_SECONDS = 120


class FakePage(NamedTuple):
    """As `sessionclient.SessionPage`."""

    sessions: list[dict[str, Any]]
    total: int
    next_cursor: str | None


class FakeAuditPage(NamedTuple):
    """As `sessionclient.AuditPage`."""

    rows: list[dict[str, Any]]
    next_before: int | None


class FakeOperator:
    """Set `fails_with`, `hangs` or `stats_answer`; read `calls`, `users` and `closed`."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.commands: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.users: list[tuple[str, str]] = []  # on whose behalf it was asked, and their roles
        self.audit: list[dict[str, Any]] = []
        self.fails_with: Exception | None = None
        self.hangs = False
        self.closed = asyncio.Event()
        self.ended = asyncio.Event()  # set by a test: the kills that are waited for have ended
        self.stats_answer: dict[str, Any] = {"version": "1.0.0", "health": {"status": "ok"}}
        self._keys: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    # --- for tests ---

    def add(self, session_id: str, app_name: str, **more: Any) -> dict[str, Any]:
        """A session that started 65.9 s ago and was heard of 5 s ago."""
        session = {
            "session_id": session_id,
            "app_name": app_name,
            "user_id": None,
            "start_time": NOW - timedelta(seconds=65.9),
            "last_heartbeat": NOW - timedelta(seconds=5),
            "duration_seconds": 65,
            "status": "idle",
            "current_task": None,
            "is_stale": False,
            "kill_requested": False,
            "kill_reason": None,
            "kill_stage": None,
            "kill_error": None,
            "task_start": None,
            "process": None,
            "host": None,
            "pid": None,
            "source": "rest",
            **more,
        }
        self.sessions[session_id] = session
        return session

    async def _called(self, *call: Any) -> None:
        self.calls.append(call)
        if self.hangs:
            await self.closed.wait()
            raise LinkDown("the link was closed")
        if self.fails_with is not None:
            raise self.fails_with

    def _session(self, session_id: str) -> dict[str, Any]:
        if session_id not in self.sessions:
            raise NotFound(f"there is no live session {session_id}")
        return self.sessions[session_id]

    def _matching(self, **wanted: Any) -> list[dict[str, Any]]:
        return [
            session
            for session in self.sessions.values()
            if all(value is None or session[name] == value for name, value in wanted.items())
        ]

    def acting_for(self, name: str, role: str) -> FakeOperator:
        self.users.append((name, role))
        return copy.copy(self)  # which shares all that is kept

    # --- sessions ---

    async def create_session(self, app_name: str, user_id: str | None = None) -> str:
        await self._called("create_session", app_name, user_id)
        session_id = f"rest-{len(self.sessions) + 1}"
        self.add(session_id, app_name, user_id=user_id)
        return session_id

    async def delete_session(self, session_id: str) -> None:
        await self._called("delete_session", session_id)
        if self._session(session_id)["source"] == "bus":
            raise Conflict(f"session {session_id} belongs to a process")
        del self.sessions[session_id]

    async def update_heartbeat(self, session_id: str) -> bool:
        await self._called("update_heartbeat", session_id)
        session = self._session(session_id)
        session["last_heartbeat"] = NOW
        return bool(session["kill_requested"])

    async def update_status(
        self, session_id: str, status: str, current_task: str | None = None
    ) -> None:
        await self._called("update_status", session_id, status, current_task)
        self._session(session_id).update(status=status, current_task=current_task)

    async def get_session(self, session_id: str) -> dict[str, Any]:
        await self._called("get_session", session_id)
        return self._session(session_id)

    async def get_all_sessions(
        self,
        app_name: str | None = None,
        user_id: str | None = None,
        status: str | None = None,
        stale: bool | None = None,
    ) -> list[dict[str, Any]]:
        await self._called("get_all_sessions", app_name, user_id, status, stale)
        return self._matching(app_name=app_name, user_id=user_id, status=status, is_stale=stale)

    async def list_sessions(
        self,
        app_name: str | None = None,
        user_id: str | None = None,
        status: str | None = None,
        stale: bool | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> FakePage:
        await self._called("list_sessions", app_name, user_id, status, stale, limit, cursor)
        if cursor is not None and not cursor.isdigit():
            raise Misuse(f"{cursor!r} is not a cursor; give the next_cursor of the page before")
        rows = self._matching(app_name=app_name, user_id=user_id, status=status, is_stale=stale)
        start = int(cursor or 0)
        end = start + limit
        return FakePage(rows[start:end], len(rows), str(end) if end < len(rows) else None)

    async def cleanup_stale_sessions(self, older_than_minutes: float = 10) -> int:
        await self._called("cleanup_stale_sessions", older_than_minutes)
        oldest = NOW - timedelta(minutes=older_than_minutes)
        gone = [name for name, row in self.sessions.items() if row["last_heartbeat"] < oldest]
        for session_id in gone:
            del self.sessions[session_id]
        return len(gone)

    # --- kills ---

    def _command(self, targets: list[dict[str, Any]], reason: str | None, **more: Any) -> str:
        command_id = f"c{len(self.commands) + 1}"
        for session in targets:
            session.update(kill_requested=True, kill_reason=reason, kill_stage="requested")
        self.commands[command_id] = {
            "command_id": command_id,
            "kind": "kill",
            "app_name": None,
            "session_id": None,
            "reason": reason,
            "requested_by": "operator",
            "requested_at": NOW,
            "finished_at": None,
            "stage": "requested",
            "total": len(targets),
            "delivered": 0,
            "completed": 0,
            "failed": 0,
            "pending": [session["session_id"] for session in targets],
            "failures": [],
            **more,
        }
        return command_id

    def _repeated(self, key: str | None, request: tuple[Any, ...]) -> dict[str, Any] | None:
        if key is None or key not in self._keys:
            return None
        first, answer = self._keys[key]
        if first != request:
            raise KeyReused(f"the key {key} was used for another request")
        return answer

    async def request_kill(
        self, session_id: str, reason: str | None = None, wait: float = 0, key: str | None = None
    ) -> dict[str, Any]:
        await self._called("request_kill", session_id, reason, wait, key)
        answer = self._repeated(key, ("kill", session_id, reason))
        if answer is None:
            session = self._session(session_id)
            command_id = self._command([session], reason, session_id=session_id)
            answer = {"command_id": command_id, "stage": "requested"}
            if key is not None:
                self._keys[key] = (("kill", session_id, reason), answer)
        return answer

    async def kill_app(
        self, app_name: str, reason: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        await self._called("kill_app", app_name, reason, key)
        answer = self._repeated(key, ("kill_all", app_name, reason))
        if answer is None:
            targets = self._matching(app_name=app_name, kill_requested=False)
            command_id = self._command(targets, reason, app_name=app_name) if targets else None
            answer = {"command_id": command_id, "killed_count": len(targets)}
            if key is not None:
                self._keys[key] = (("kill_all", app_name, reason), answer)
        return answer

    async def get_command(
        self, command_id: str, wait: float = 0, seen: int | None = None
    ) -> dict[str, Any]:
        await self._called("get_command", command_id, wait, seen)
        if command_id not in self.commands:
            raise NotFound(f"there is no command {command_id}")
        command = self.commands[command_id]
        if wait and not self.ended.is_set():
            waiting = [asyncio.ensure_future(e.wait()) for e in (self.ended, self.closed)]
            _, unfinished = await asyncio.wait(
                waiting, timeout=wait, return_when=asyncio.FIRST_COMPLETED
            )
            for task in unfinished:
                task.cancel()
            if self.closed.is_set():
                raise LinkDown("the link was closed")
        if self.ended.is_set():
            command.update(stage="completed", completed=command["total"], finished_at=NOW)
            command["pending"] = []
        return command

    # --- the rest ---

    async def get_audit(self, limit: int = 100, before: int | None = None) -> FakeAuditPage:
        await self._called("get_audit", limit, before)
        rows = [row for row in self.audit if before is None or row["number"] < before]
        more = len(rows) > limit
        return FakeAuditPage(rows[:limit], rows[limit - 1]["number"] if more else None)

    async def stats(self) -> dict[str, Any]:
        await self._called("stats")
        return self.stats_answer

    async def aclose(self) -> None:
        self.closed.set()
