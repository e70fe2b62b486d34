"""Ending sessions from the page: a dialog names what will end, asks, and shows how it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import panel as pn
import panel_material_ui as pmui

from monitor import views
from monitor.html import Html
from monitor.live import Live
from monitor.style import tokens
from sessionclient import Operator
from sessionclient.errors import PanelbusError
from sessionclient.wire import MAX_LONG_TEXT_CHARS
from sessionclient.words import count

AT_ONCE: Final = 8  # kills that are asked for at the same time
DONE: Final = ("completed", "failed")


class KillDialog:
    """Nothing is ended without its button, and only what it named when it was opened."""

    def __init__(
        self, live: Live, clock: Callable[[], views.Clock], acting: Callable[[], Operator]
    ) -> None:
        """``acting``: on whose behalf the broker is asked; may raise Forbidden."""
        self._live, self._clock, self._acting = live, clock, acting
        self._what = Html()
        self._state = Html(visible=False)
        self._reason = pmui.TextAreaInput(
            label="Reason (the users will see it)",
            max_length=MAX_LONG_TEXT_CHARS,
            rows=2,
            sizing_mode="stretch_width",
        )
        self._app_choice = pmui.Select(label="App", options=[], sizing_mode="stretch_width")
        self._end = pmui.Button(label="End", color="error", variant="contained")
        self._cancel = pmui.Button(label="Cancel", variant="text")
        self._body = pn.Column(
            self._app_choice,
            self._what,
            self._reason,
            self._state,
            pn.Row(pn.layout.HSpacer(), self._cancel, self._end, margin=0),
            sizing_mode="stretch_width",
            stylesheets=[tokens(False)],
        )
        self.view = pmui.Dialog(
            self._body,
            title="End sessions",
            width_option="md",
            close_on_click=True,  # and on Escape: closing it never ends anything
        )
        self._targets: list[str] = []
        self._app: str | None = None
        self._commands: list[str] = []
        self._refusals: list[tuple[str, str]] = []
        self._details: dict[str, dict[str, Any]] = {}  # of finished kills that failed
        self._asking: set[str] = set()
        self._app_choice.param.watch(lambda event: self._name_app(event.new), "value")
        self._end.on_click(self._confirmed)
        self._cancel.on_click(lambda _event: self.close())

    # --- opening -----------------------------------------------------------------------------

    def ask(self, sessions: Sequence[dict[str, Any]]) -> None:
        """Ask whether to end these sessions."""
        self._targets, self._app = [session["session_id"] for session in sessions], None
        self._name(views.confirm(sessions), count(len(sessions), "session"), bool(sessions))
        self._app_choice.visible = False
        self._open()

    def ask_app(self, apps: list[str], chosen: str | None) -> None:
        """Ask whether to end everybody in an app, and in which."""
        self._targets = []
        self._app_choice.visible = True
        self._app_choice.options = apps
        self._app_choice.value = chosen if chosen in apps else apps[0] if apps else None
        self._name_app(self._app_choice.value)
        self._open()

    def _name_app(self, app: str | None) -> None:
        self._app = app
        number = self._live.read(
            lambda board: sum(
                row["app_name"] == app and not row["kill_requested"]
                for row in board.sessions.values()
            )
        )
        name = "" if app is None else app
        self._name(views.confirm_app(name, number), f"all of {name}", number > 0)

    def _name(self, what: str, title: str, possible: bool) -> None:
        """Say what the button will end."""
        self._what.object = what
        self._end.label, self._end.disabled = f"End {title}", not possible
        self.view.title = f"End {title}?"

    def _open(self) -> None:
        self._commands, self._refusals, self._details = [], [], {}
        self._asking = set()
        self._reason.value = self._reason.value_input = ""
        self._reason.visible, self._state.visible, self._end.visible = True, False, True
        self._cancel.label = "Cancel"
        self.view.open = True

    def close(self) -> None:
        self.view.open = False

    def paint(self, dark: bool) -> None:
        self._body.stylesheets = [tokens(dark)]  # the dialog does not lie in the page's root
        for widget in (self.view, self._app_choice, self._reason, self._end, self._cancel):
            widget.dark_theme = dark

    # --- ending ------------------------------------------------------------------------------

    async def _confirmed(self, _event: Any) -> None:
        self._end.disabled = True
        self._app_choice.visible = self._reason.visible = False
        self._state.visible = True
        self.view.title = self.view.title.replace("End ", "Ending ", 1).removesuffix("?")
        self._state.object = "<p role='status'>Asking the broker ...</p>"
        reason = (self._reason.value_input or self._reason.value or "").strip() or None
        if self._app is not None:
            app = self._app
            await self._ask_for(app, lambda: self._acting().kill_app(app, reason))
        else:
            turn = asyncio.Semaphore(AT_ONCE)

            async def one(sid: str) -> None:
                async with turn:
                    await self._ask_for(sid, lambda: self._acting().request_kill(sid, reason))

            await asyncio.gather(*map(one, self._targets))
        self._end.visible = False
        self._cancel.label = "Close"
        self.refresh()

    async def _ask_for(self, what: str, ask: Callable[[], dict[str, Any]]) -> None:
        try:
            answer = await asyncio.to_thread(ask)
        except PanelbusError as error:
            self._refusals.append((what, str(error)))
        else:
            self._commands.append(answer["command_id"])

    # --- following ---------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show how far it is; called whenever the board has changed."""
        if not self.view.open or not (self._commands or self._refusals):
            return
        wanted = self._commands
        known = self._live.read(
            lambda board: [dict(board.commands[c]) for c in wanted if c in board.commands]
        )
        for command in known:
            command_id = command["command_id"]
            command.update(self._details.get(command_id, {}))
            if command["failed"] and command["stage"] in DONE and command_id not in self._asking:
                self._asking.add(command_id)
                pn.state.execute(partial(self._fetch_failures, command_id))
        self._state.show(views.progress(known, self._refusals, self._clock()))

    async def _fetch_failures(self, command_id: str) -> None:
        """The feed counts failures; their causes are asked for."""
        try:
            command = await asyncio.to_thread(self._live.operator.get_command, command_id)
        except PanelbusError:
            return  # the count stands; the broker may be away
        self._details[command_id] = {"failures": command["failures"]}
        self.refresh()
