"""The chosen session: everything known of it, also when it has ended or never was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import panel as pn

from monitor import views
from monitor.html import Html
from monitor.live import Live
from sessionclient import NotFound
from sessionclient.errors import PanelbusError

TASKS_EVERY: Final = 5.0  # seconds between looks at its finished tasks


class Chosen:
    """Shows one session in ``view``; its history is asked of the broker, off the page's loop."""

    def __init__(self, live: Live, clock: Callable[[], views.Clock]) -> None:
        self._live, self._clock = live, clock
        self.id: str | None = None
        self.view = Html(views.nothing_chosen(), margin=(12, 16))
        self._tasks: list[dict[str, Any]] = []
        self._tasks_due = 0.0  # seconds since the epoch
        self._why: str | None = None  # it can't be shown

    def choose(self, session_id: str | None) -> None:
        """Show this session from now on."""
        if session_id != self.id:
            self.id, self._why = session_id, None
            self._tasks, self._tasks_due = [], 0.0
        self.refresh()

    def ended(self) -> bool:
        """Whether it is one that is not live any more."""
        return self.id is not None and not self._live.read(lambda board: self.id in board.sessions)

    def ask_again(self) -> None:
        """Have its history asked for with the next `refresh`."""
        self._tasks_due = 0.0

    def refresh(self) -> None:
        """Show what is known now."""
        sid, now = self.id, datetime.now(UTC)
        if sid is None:
            self.view.show(views.nothing_chosen())
            return
        session, commands, ready = self._live.read(
            lambda board: (
                board.sessions.get(sid) or board.ended.get(sid),
                board.commands_of(sid),
                board.ready,
            )
        )
        if session is None:
            if ready and self._why is None:
                self._why = "Looking for it ..."
                pn.state.execute(partial(self._ask_why, sid))
            self.view.show(views.unknown(sid, self._why or "Waiting for the broker ..."))
            return
        if now.timestamp() >= self._tasks_due:
            self._tasks_due = now.timestamp() + TASKS_EVERY
            pn.state.execute(partial(self._fetch_tasks, sid))
        self.view.show(views.detail(session, self._tasks, commands, now, self._clock()))

    async def _fetch_tasks(self, sid: str) -> None:
        try:
            tasks = await asyncio.to_thread(self._live.operator.get_tasks, sid)
        except PanelbusError:
            return  # the broker is away, or has forgotten it; what is shown stays
        if sid == self.id:
            self._tasks = tasks
            self.refresh()

    async def _ask_why(self, sid: str) -> None:
        """Why a session that was asked for is not there."""
        try:
            await asyncio.to_thread(self._live.operator.get_session, sid)
            why = "It has just been registered."
        except NotFound as error:
            why = f"Not live: {error}."
        except PanelbusError as error:
            why = str(error)
        if sid == self.id:
            self._why = why
            self.refresh()
