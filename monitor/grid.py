"""The live table as a Panel component: a page's end of it is grid.js."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Final

import param
import perspective
from panel.custom import JSComponent

from monitor.columns import LAYOUT
from monitor.document import browsers, in_turn, send_at_once, served
from monitor.readonly import NotARequest
from monitor.table import LiveTable, Reader

log = logging.getLogger("panelbus.monitor")

WHEEL: Final = Path(perspective.__file__).parent / "widget" / "static"
SCRIPT: Final = "perspective-anywidget.js"
STYLE: Final = "perspective-anywidget.css"
MAX_SELECTION: Final = 500  # rows chosen at the same time


class LiveGrid(JSComponent):
    """Shows a `LiveTable`, read-only.

    What Perspective says goes through the page's own connection: it has the page's origin, its
    login and its end, works behind any proxy that a Panel page works behind, and in a notebook.
    """

    table_name = param.String(doc="Name of the table to show; a new one keeps the layout.")
    module_url = param.String(doc="Where Perspective is served; empty: sent over the connection.")
    style_url = param.String(doc="Where its style is served.")
    layout = param.Dict(LAYOUT, doc="What is shown before the browser remembers anything else.")
    selection = param.List([], doc="Session ids, both ways.")
    max_selection = param.Integer(MAX_SELECTION)
    filtered = param.String("[]", doc="The present filter, as JSON; told by the page.")
    dark = param.Boolean(False)
    dim = param.Boolean(False, doc="Whether what is shown is old.")
    ready = param.Boolean(False, doc="Whether the page shows the table.")

    _esm = Path(__file__).parent / "grid.js"

    def __init__(self, table: LiveTable, **params: Any) -> None:
        super().__init__(table_name=table.name, **params)
        self._table = table
        self._doc = served()
        self._reader: Reader | None = None

    # --- for the dashboard -------------------------------------------------------------------

    def restore(self, layout: dict[str, Any]) -> None:
        """Change part of what is shown, in Perspective's own terms."""
        self._send_msg({"type": "restore", "layout": layout})

    def reset(self) -> None:
        """Forget the layout this browser remembers."""
        self._send_msg({"type": "reset"})

    def settings(self) -> None:
        """Open or close Perspective's own panel for columns, groups and filters."""
        self._send_msg({"type": "settings"})

    def pause(self, paused: bool) -> None:
        """Hold rows still; what the user asks for, such as scrolling, goes on."""
        if self._reader is not None:
            self._reader.pause(paused)

    def catch_up(self) -> None:
        """Show the present state once, although it is paused."""
        if self._reader is not None:
            self._reader.catch_up()

    def close(self) -> None:
        """Free what the page holds of the table; idempotent."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # --- what the page says ------------------------------------------------------------------

    def _handle_msg(self, message: Any) -> None:
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "ask" and isinstance(message.get("data"), bytes):
            if self._doc is not None:
                send_at_once(self._doc)  # each time: a page that reconnects has a new websocket
            self._ask(message["data"])
        elif kind == "clock" and isinstance(message.get("sent"), (int, float)):
            now = time.time() * 1000
            self._send_msg({"type": "clock", "sent": message["sent"], "now": now})
        elif kind == "filtered" and isinstance(message.get("filter"), str):
            self.filtered = message["filter"]
            self.param.trigger("filtered")  # also when it is what it was at the last look
        elif kind == "module":
            script, style = ((WHEEL / name).read_bytes() for name in (SCRIPT, STYLE))
            self._send_msg({"type": "module", "script": script, "style": style})

    def _ask(self, data: bytes) -> None:
        if self._reader is None:
            self._reader = self._table.open_reader(self._answer)
        try:
            self._reader.ask(data)
        except NotARequest as error:
            log.warning("a page sent what is no request of Perspective (%s); ignored", error)

    def _answer(self, data: bytes) -> None:
        """In any thread: the engine answers in whichever changed the table."""

        def send() -> None:
            self._send_msg({"type": "answer", "data": data})

        if self._doc is None:  # a notebook
            send()
        elif browsers(self._doc):  # a page that was closed is kept for a while, unheard
            in_turn(self._doc, send)
