"""AsyncOperator: the methods of `Operator`, awaited."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

from sessionclient import calls
from sessionclient.calls import AuditPage, Call, SessionPage
from sessionclient.connection import OperatorConnection
from sessionclient.mirror import Change
from sessionclient.watching import Watch


class AsyncWatch:
    """`sessionclient.watching.Watch` for ``async for``."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        watch.notify = self._notify

    def _notify(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)

    async def get(self) -> Change | None:
        """The next change, or None when the watch has ended."""
        while True:
            self._ready.clear()
            change = self._watch.get(timeout=0)
            if change is not None or self._watch.finished:
                return change
            await self._ready.wait()

    async def __aiter__(self) -> AsyncIterator[Change]:
        while (change := await self.get()) is not None:
            yield change

    def close(self) -> None:
        """Stop following; idempotent."""
        self._watch.close()

    async def __aenter__(self) -> AsyncWatch:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncOperator:
    """See `Operator`; arguments, results and errors are the same. Cancelling an awaiting task
    forgets its request.
    """

    def __init__(
        self,
        server_url: str | None = None,
        timeout: float = 10,
        *,
        role: str = "operator",
        key_file: str | Path | None = None,
    ) -> None:
        """Does not wait for the broker: the first request does.

        Args:
            server_url: default PANELBUS_URL, then tcp://127.0.0.1:5760.
            timeout: seconds a request may take, beside what it waits for on purpose.
            role: "operator", or "viewer" for one that can only read.
            key_file: the client's key, for a broker that asks for one; default PANELBUS_KEY.
        """
        self._connection = OperatorConnection(server_url, timeout, role, key_file)
        self._by: dict[str, str] | None = None

    def acting_for(self, name: str, role: str) -> AsyncOperator:
        """This operator on behalf of a user of its own, over the same connection.

        The broker lets it do no more than that user's ``role`` ("app", "viewer" or "operator")
        may, and names the user in its audit. An "app" may only create sessions, and touch those
        created under its name.
        """
        other = copy.copy(self)
        other._by = calls.on_behalf(name, role)
        return other

    @property
    def address(self) -> str:
        """The broker's address."""
        return self._connection.address

    @property
    def stale_after(self) -> float:
        """Seconds of silence after which the broker calls a session stale; its default until it
        was reached."""
        return self._connection.stale_after

    @property
    def trouble(self) -> str | None:
        """Why the broker refuses this operator, such as its key; None while it does not."""
        return self._connection.trouble

    async def _do(self, call: Call) -> Any:
        return await asyncio.wrap_future(self._connection.ask(call, self._by))

    # --- reading -----------------------------------------------------------------------------

    async def get_all_sessions(
        self,
        app_name: str | None = None,
        user_id: str | None = None,
        status: str | None = None,
        stale: bool | None = None,
    ) -> list[dict[str, Any]]:
        """All live sessions that match, in the order they were registered."""
        pages = calls.all_sessions(app_name, user_id, status, stale)
        call = next(pages)
        while True:
            try:
                call = pages.send(await self._do(call))
            except StopIteration as end:
                sessions: list[dict[str, Any]] = end.value
                return sessions

    async def list_sessions(
        self,
        app_name: str | None = None,
        user_id: str | None = None,
        status: str | None = None,
        stale: bool | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> SessionPage:
        """One page of at most ``limit`` (1 to 1,000) sessions, from ``cursor`` on."""
        page: SessionPage = await self._do(
            calls.list_sessions(app_name, user_id, status, stale, limit, cursor)
        )
        return page

    async def get_session(self, session_id: str) -> dict[str, Any]:
        """One live session; NotFound tells if and how it ended."""
        session: dict[str, Any] = await self._do(calls.get_session(session_id))
        return session

    async def find_sessions(self, prefix: str) -> list[dict[str, Any]]:
        """Sessions whose id begins with ``prefix``, at most 50."""
        found: list[dict[str, Any]] = await self._do(calls.find_sessions(prefix))
        return found

    async def get_tasks(self, session_id: str) -> list[dict[str, Any]]:
        """The newest finished tasks of a session, live or ended, oldest first."""
        tasks: list[dict[str, Any]] = await self._do(calls.get_tasks(session_id))
        return tasks

    async def get_commands(self) -> list[dict[str, Any]]:
        """Unfinished commands and the newest finished ones, newest first."""
        commands: list[dict[str, Any]] = await self._do(calls.get_commands())
        return commands

    async def get_command(
        self, command_id: str, wait: float = 0, seen: int | None = None
    ) -> dict[str, Any]:
        """How far a command is. With ``wait`` (seconds) answered when it is finished, or when
        more than ``seen`` targets are done."""
        command: dict[str, Any] = await self._do(calls.get_command(command_id, wait, seen))
        return command

    async def get_audit(self, limit: int = 100, before: int | None = None) -> AuditPage:
        """Who did what, newest first: at most ``limit`` (1 to 1,000) rows, below ``before``."""
        page: AuditPage = await self._do(calls.get_audit(limit, before))
        return page

    async def stats(self) -> dict[str, Any]:
        """The broker's counts and health."""
        stats: dict[str, Any] = await self._do(calls.stats())
        return stats

    def watch(self) -> AsyncWatch:
        """Follow all sessions and commands with ``async for``."""
        return AsyncWatch(self._connection.watch())

    # --- acting ------------------------------------------------------------------------------

    async def request_kill(
        self, session_id: str, reason: str | None = None, wait: float = 0, key: str | None = None
    ) -> dict[str, Any]:
        """Kill a session. Returns command_id and stage once the kill is durable.

        Args:
            reason: shown to the user, at most 2,000 characters.
            wait: seconds to wait for the kill to finish; the stage tells how far it got.
            key: repeats under one key are one kill.
        """
        outcome: dict[str, Any] = await self._do(calls.request_kill(session_id, reason, wait, key))
        return outcome

    async def request_kill_by_app(self, app_name: str, reason: str | None = None) -> int:
        """Kill all sessions of an app; how many were newly asked to end."""
        return int((await self.kill_app(app_name, reason))["killed_count"])

    async def kill_app(
        self, app_name: str, reason: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """As request_kill_by_app, returning command_id and killed_count."""
        outcome: dict[str, Any] = await self._do(calls.kill_app(app_name, reason, key))
        return outcome

    async def cleanup_stale_sessions(self, older_than_minutes: float = 10) -> int:
        """End the sessions of which nothing was heard for so long; how many."""
        return int(await self._do(calls.cleanup(older_than_minutes)))

    async def backup(self, file: str, wait: float = 600) -> dict[str, Any]:
        """Copy the broker's database, while it serves, to a new file on its host.

        Args:
            file: must end in ".db" and not exist; a relative path counts from the database's
                directory.
            wait: seconds the copy may take.

        Returns: file (the whole path) and bytes.
        """
        made: dict[str, Any] = await self._do(calls.backup(file, wait))
        return made

    # --- sessions that live on REST ----------------------------------------------------------

    async def create_session(self, app_name: str, user_id: str | None = None) -> str:
        """Register a session that is kept alive by `update_heartbeat`; returns its id."""
        return str(await self._do(calls.create_session(app_name, user_id)))

    async def delete_session(self, session_id: str) -> None:
        """End a session made by `create_session`."""
        await self._do(calls.delete_session(session_id))

    async def update_heartbeat(self, session_id: str) -> bool:
        """Keep a session alive; True when it is asked to end."""
        return bool(await self._do(calls.update_heartbeat(session_id)))

    async def update_status(
        self, session_id: str, status: str, current_task: str | None = None
    ) -> None:
        """Say what a session is doing."""
        await self._do(calls.update_status(session_id, status, current_task))

    # --- closing -----------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Disconnect, without blocking the loop; idempotent."""
        await asyncio.to_thread(self._connection.close)

    async def __aenter__(self) -> AsyncOperator:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.aclose()
