"""The monitor's page, usable in other Panel apps and notebooks too, and its plain functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import panel as pn
import panel_material_ui as pmui
import param

from monitor import views
from monitor.actions import KillDialog
from monitor.bar import Bar, shown
from monitor.charts import Charts
from monitor.chosen import Chosen
from monitor.document import browsers, in_turn, served
from monitor.grid import LiveGrid
from monitor.html import Html
from monitor.live import Live
from monitor.logins import PageLogin, acting
from monitor.plain import load_sessions_data, request_kill, request_kill_all
from monitor.style import BODY_CSS, CARD_CSS, ROOT_CSS, TABLE_CSS, tokens
from sessionclient import Operator

__all__ = ["MonitorDashboard", "load_sessions_data", "request_kill", "request_kill_all"]

CHARTS_EVERY: Final = 5.0  # seconds
# A figure -> the filter of the table, in Perspective's own terms; "busiest" depends on the app.
FILTERS: Final[dict[str, list[list[Any]]]] = {
    "running": [["Task", "is not null", None]],
    "stale": [["Status", "==", "stale"]],
    "kills": [["Status", "in", ["being killed", "kill failed"]]],
}
STATES: Final = {"live": "Live", "resyncing": "Catching up ...", "down": "Broker down"}


class MonitorDashboard(pn.viewable.Viewer):
    """The whole monitor: header, figures, live table, detail, charts, and kills that are asked for.

    Several may share one `Live`; one that is given none follows the broker by itself.
    """

    dark = param.Boolean(False, doc="Dark theme; the browser's own choice comes first.")

    def __init__(
        self,
        live: Live | None = None,
        *,
        server_url: str | None = None,
        module_url: str = "",
        style_url: str = "",
        full_page: bool = False,
        login: PageLogin | None = None,
        **params: Any,
    ) -> None:
        """
        Args:
            live: what follows the broker; shared by all pages of a server.
            server_url: which broker to follow when ``live`` is not given.
            module_url: where Perspective's script is served; empty: sent over the connection.
            style_url: where its style is served.
            full_page: fill the browser's window.
            login: for whom the page acts; None: for itself, as in a notebook.

        Raises:
            Misuse: (a ValueError) the address is wrong.
        """
        super().__init__(**params)
        self._owned = live is None
        self.live = Live(server_url) if live is None else live
        self.live.start()
        self._login = login
        self._doc = served()
        self._told = False  # a refresh waits for its turn on the page's loop
        self._loaded = False
        self._paused_at: datetime | None = None
        self._released = False  # a figure is being let go because the table is filtered otherwise
        self._charts_due = 0.0  # seconds since the epoch
        self._build(module_url, style_url, full_page)
        self._wire()
        self._leave = self.live.listen(self._news)
        pn.state.on_session_destroyed(self._destroyed)
        self._open_link()
        self._refresh()
        pn.state.onload(self._now_loaded)

    # --- building ----------------------------------------------------------------------------

    def _build(self, module_url: str, style_url: str, full_page: bool) -> None:
        self.bar = Bar(sizing_mode="stretch_width", margin=0)
        self.bar.introduce(self._login)
        self.grid = LiveGrid(
            self.live.table,
            module_url=module_url,
            style_url=style_url,
            sizing_mode="stretch_both",
            min_height=300,
            margin=0,
        )
        self.chosen = Chosen(self.live, self._clock)
        self.charts = Charts()
        self.dialog = KillDialog(self.live, self._clock, self._acting)
        self.blank = Html(
            visible=False,
            sizing_mode="stretch_both",
            styles={"position": "absolute", "inset": "0", "z-index": "5", "padding": "28px 32px",
                    "background": "var(--pb-surface)", "box-sizing": "border-box"},
            margin=0,
        )  # fmt: skip
        self.end_chosen = pmui.Button(
            label="End chosen", color="error", variant="contained", size="small", disabled=True
        )
        self.end_app = pmui.Button(
            label="End all of an app",
            color="error",
            variant="outlined",
            size="small",
            disabled=True,
        )
        self.columns = pmui.Button(
            label="Columns and filters",
            variant="text",
            size="small",
            styles={"margin-left": "auto"},
        )
        self.reset = pmui.Button(label="Reset layout", variant="text", size="small")
        self._widgets = [self.end_chosen, self.end_app, self.columns, self.reset]
        self._root = self._layout(full_page)

    def _layout(self, full_page: bool) -> pn.Column:
        tools = pn.FlexBox(
            self.end_chosen,
            self.end_app,
            Html(views.viewers_watch(), visible=not self.may_end, sizing_mode=None, margin=(0, 6)),
            self.columns,
            self.reset,
            align_items="center",
            sizing_mode="stretch_width",
            margin=(6, 8),
        )
        stage = pn.Column(
            self.grid, self.blank, sizing_mode="stretch_both", styles={"position": "relative"}
        )
        left = pn.Column(
            tools,
            stage,
            sizing_mode="stretch_both",
            stylesheets=[CARD_CSS, TABLE_CSS],
            margin=0,
        )
        card = {"sizing_mode": "stretch_width", "stylesheets": [CARD_CSS], "margin": (0, 0, 12, 0)}
        right = pn.Column(
            pn.Column(
                self.chosen.view, styles={"max-height": "62vh", "overflow": "auto"}, **card
            ),
            pn.Column(self.charts.panel, **{**card, "margin": 0}),
            sizing_mode="stretch_width",
            margin=0,
        )  # fmt: skip
        # of the sizing that its children ask for, or Panel overrides it with a warning
        body = pn.Column(left, right, sizing_mode="stretch_both", stylesheets=[BODY_CSS], margin=0)
        return pn.Column(
            self.bar,
            body,
            self.dialog.view,
            sizing_mode="stretch_both",
            stylesheets=[tokens(False), ROOT_CSS],
            css_classes=["pb-page"] if full_page else [],
            margin=0,
        )

    def _wire(self) -> None:
        self.bar.param.watch(lambda e: self._filter(e.new), "active")
        self.bar.param.watch(lambda e: self._switched(e.new), "live")
        self.bar.param.watch(lambda _e: self.refresh_now(), "refreshed")
        self.bar.param.watch(lambda e: setattr(self, "dark", e.new), "dark")
        self.grid.param.watch(lambda e: self._choose(e.new), "selection")
        self.grid.param.watch(lambda e: self._filtered(e.new), "filtered")
        self.param.watch(lambda e: self._paint(e.new) if self._loaded else None, "dark")
        self.end_chosen.on_click(lambda _e: self.dialog.ask(self._chosen_sessions()))
        self.end_app.on_click(lambda _e: self._ask_app())
        self.columns.on_click(lambda _e: self.grid.settings())
        self.reset.on_click(lambda _e: self.grid.reset())

    def __panel__(self) -> Any:
        return self._root

    # --- who is logged in --------------------------------------------------------------------

    def _acting(self) -> Operator:
        return acting(self.live.operator, self._login)

    @property
    def may_end(self) -> bool:
        """Whether who is logged in may end sessions; the broker has the last word."""
        return self._login is None or self._login.role() == "operator"

    # --- for other code ----------------------------------------------------------------------

    def load_sessions_data(self) -> list[dict[str, Any]]:
        """The sessions as they are shown now; asks the broker when there is no list yet."""
        ready, sessions = self.live.read(
            lambda board: (board.ready, [dict(row) for row in board.sessions.values()])
        )
        return sessions if ready else self.live.operator.get_all_sessions()

    def request_kill(self, session_id: str, reason: str | None = None) -> dict[str, Any]:
        """End one session, without asking; command_id and stage. Forbidden to viewers."""
        return self._acting().request_kill(session_id, reason)

    def request_kill_all(self, app_name: str, reason: str | None = None) -> int:
        """End every session of an app, without asking; how many were newly asked to end.
        Forbidden to viewers."""
        return self._acting().request_kill_by_app(app_name, reason)

    def refresh_now(self) -> None:
        """Take a new snapshot from the broker and show it, even while paused."""
        self.live.resync()
        self.grid.catch_up()
        self.chosen.ask_again()
        self._charts_due = 0.0
        self._refresh()

    def close(self) -> None:
        """Let go of everything the page holds; idempotent."""
        self._leave()
        self.grid.close()
        if self._owned:
            self.live.close()

    def _destroyed(self, session_context: Any) -> None:  # the name is checked by Bokeh
        del session_context
        self.close()

    # --- news --------------------------------------------------------------------------------

    def _news(self) -> None:
        """In the live thread, at most four times a second."""
        if self._told or not self.bar.live or not self._loaded:
            return
        if self._doc is None:
            self._refresh()
        elif browsers(self._doc):
            self._told = True
            in_turn(self._doc, self._refresh)

    def _now_loaded(self) -> None:
        """The browser shows the page; what is changed before that, Panel loses on the way."""
        self._loaded = True
        self._paint(self.dark)
        self._refresh()

    def _refresh(self) -> None:
        """Show what the board says now."""
        self._told = False
        now = datetime.now(UTC)
        state, since, ready, apps = self.live.read(
            lambda board: (board.state, board.since, board.ready, bool(board.by_app))
        )
        figures = self.live.figures()
        trouble = self.live.operator.trouble
        text = STATES[state]
        if state == "down" and trouble is not None:
            text = "Refused by the broker"
        elif state == "down" and since is not None:
            text = f"{text} since {self._clock().at(since)}"
        elif not self.bar.live:
            text = f"Paused at {self._clock().at(self._paused_at)}"
        self.bar.param.update(state=state, state_text=text, figures=shown(figures))
        self.grid.param.update(dim=state == "down", table_name=self.live.table.name)
        self._show_blank(state, since, ready, figures.live)
        self.end_app.disabled = not (apps and self.may_end)
        self._prune()
        self.chosen.refresh()
        self.dialog.refresh()
        if now.timestamp() >= self._charts_due:
            self._charts_due = now.timestamp() + CHARTS_EVERY
            self._locked(
                partial(self.charts.update, self.live.series(), self.live.kills(), self._offset())
            )

    def _locked(self, work: Callable[[], None]) -> None:
        """Bokeh's own models may only be changed while their document is locked."""
        if self._doc is None:
            work()
        else:
            in_turn(self._doc, work)

    def _show_blank(self, state: str, since: datetime | None, ready: bool, live: int) -> None:
        server = self.live.operator.address
        if ready and live:
            self.blank.visible = False
        elif ready and state != "down":
            self.blank.show(views.empty(server))
            self.blank.visible = True
        elif not ready:
            trouble = self.live.operator.trouble
            away = views.away(server, since, self._clock())
            self.blank.show(away if trouble is None else views.refused(server, trouble))
            self.blank.visible = True

    def _clock(self) -> views.Clock:
        return views.Clock(self._offset())

    def _offset(self) -> timedelta:
        """What the browser's clock is ahead of UTC."""
        info = pn.state.browser_info if self._doc is not None else None
        minutes = None if info is None else info.timezone_offset
        return timedelta(minutes=-minutes) if minutes is not None else timedelta(0)

    # --- the table ---------------------------------------------------------------------------

    def _filter(self, figure: str) -> None:
        """A figure was clicked, or clicked away."""
        if not self._released:
            self.grid.restore({"filter": self._filter_of(figure)})

    def _filter_of(self, figure: str) -> list[list[Any]]:
        if figure == "busiest":
            app = self.live.figures().busiest_app
            return [] if app is None else [["App", "==", app]]
        return FILTERS.get(figure, [])

    def _filtered(self, text: str) -> None:
        """The table is filtered otherwise now: no figure is pressed any more."""
        try:
            columns = [rule[0] for rule in json.loads(text)]
        except (ValueError, TypeError, LookupError):  # not what our own page says
            return
        if columns != [rule[0] for rule in self._filter_of(self.bar.active)]:
            self._released = True
            self.bar.active = ""
            self._released = False

    def _switched(self, live: bool) -> None:
        self._paused_at = None if live else datetime.now(UTC)
        self.grid.pause(not live)
        self._refresh()

    # --- choosing ----------------------------------------------------------------------------

    def _open_link(self) -> None:
        """``?session=ID`` in the address chooses that session."""
        location = pn.state.location if self._doc is not None else None
        wanted = location.query_params.get("session") if location is not None else None
        if isinstance(wanted, (str, int)) and str(wanted):
            self.grid.selection = [str(wanted)]

    def _choose(self, ids: list[str]) -> None:
        self._offer()
        # what has just ended stays in view, until something else is chosen
        if ids or not self.chosen.ended():
            self.chosen.choose(ids[-1] if ids else None)

    def _offer(self) -> None:
        """The button counts whom it would ask about, never an id that no live session has."""
        number = len(self._chosen_sessions())
        self.end_chosen.disabled = not (number and self.may_end)
        self.end_chosen.label = f"End chosen ({number:,})" if number else "End chosen"

    def _chosen_sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.live.read(
            lambda board: [
                dict(board.sessions[sid]) for sid in self.grid.selection if sid in board.sessions
            ]
        )
        return found

    def _prune(self) -> None:
        """Sessions that have ended are chosen no longer; the detail says so."""
        wanted = self.grid.selection
        live = [session["session_id"] for session in self._chosen_sessions()]
        if live != wanted and self.live.read(lambda board: board.ready):
            self.grid.selection = live
        self._offer()  # a link may have been waiting for the broker's list

    # --- acting and painting -----------------------------------------------------------------

    def _ask_app(self) -> None:
        sid = self.chosen.id
        apps, chosen = self.live.read(
            lambda board: (
                sorted(board.by_app),
                board.sessions[sid]["app_name"] if sid in board.sessions else None,
            )
        )
        self.dialog.ask_app(apps, chosen)

    def _paint(self, dark: bool) -> None:
        self._root.stylesheets = [tokens(dark), ROOT_CSS]
        self.bar.dark = self.grid.dark = dark
        self.dialog.paint(dark)
        self._locked(partial(self.charts.paint, dark))
        for widget in self._widgets:
            widget.dark_theme = dark
