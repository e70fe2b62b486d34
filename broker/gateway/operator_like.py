"""What the gateway needs of an operator link: the part of `sessionclient.AsyncOperator` it uses.

Stated as a protocol so that the routes can be tested against an operator in memory, and so that
the type checker compares the real one with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Row = dict[str, Any]


class PageLike(Protocol):
    """One page of sessions, as `sessionclient.SessionPage`."""

    @property
    def sessions(self) -> Sequence[Row]: ...

    @property
    def total(self) -> int: ...

    @property
    def next_cursor(self) -> str | None: ...


class AuditPageLike(Protocol):
    """One page of the audit, as `sessionclient.AuditPage`."""

    @property
    def rows(self) -> Sequence[Row]: ...

    @property
    def next_before(self) -> int | None: ...


class OperatorLike(Protocol):
    """The operator's verbs, awaited.

    Every one of them may raise `LinkDown` (the broker is not reached, or no answer in time),
    `Refused` (the broker said no) and `Misuse` (a wrong argument). `wait` is in seconds.
    """

    def acting_for(self, name: str, role: str) -> OperatorLike: ...

    async def create_session(self, app_name: str, user_id: str | None = None) -> str: ...

    async def delete_session(self, session_id: str) -> None: ...

    async def update_heartbeat(self, session_id: str) -> bool: ...

    async def update_status(
        self, session_id: str, status: str, current_task: str | None = None
    ) -> None: ...

    async def get_session(self, session_id: str) -> Row: ...

    async def get_all_sessions(
        self,
        app_name: str | None = None,
        user_id: str | None = None,
        status: str | None = None,
        stale: bool | None = None,
    ) -> Sequence[Row]: ...

    async def list_sessions(
        self,
        app_name: str | None = None,
        user_id: str | None = None,
        status: str | None = None,
        stale: bool | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> PageLike: ...

    async def request_kill(
        self, session_id: str, reason: str | None = None, wait: float = 0, key: str | None = None
    ) -> Row: ...

    async def kill_app(
        self, app_name: str, reason: str | None = None, key: str | None = None
    ) -> Row: ...

    async def get_command(
        self, command_id: str, wait: float = 0, seen: int | None = None
    ) -> Row: ...

    async def cleanup_stale_sessions(self, older_than_minutes: float = 10) -> int: ...

    async def get_audit(self, limit: int = 100, before: int | None = None) -> AuditPageLike: ...

    async def stats(self) -> Row: ...

    async def aclose(self) -> None: ...
