"""The header and the figures as a Panel component: a page's end of it is bar.js."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import param
from panel.custom import JSComponent

from monitor.board import Figures
from monitor.logins import PageLogin
from sessionclient.words import NOTHING, count


class Bar(JSComponent):
    """Connection state, switches, and figures of which each filters the table."""

    product = param.String("Panelbus monitor")
    state = param.String("down", doc="live, resyncing or down.")
    state_text = param.String("connecting ...")
    live = param.Boolean(True, doc="Whether the page follows by itself.")
    refreshed = param.Integer(0, doc="How often the user asked for the present state.")
    dark = param.Boolean(False)
    user = param.String("", doc="Who is logged in; empty: nobody needs to.")
    role = param.String("", doc="What that user may do: viewer or operator.")
    form_token = param.String("", doc="What the form that logs out proves itself with.")
    ended = param.Boolean(False, doc="The login has ended: to the login page.")
    figures = param.List([], doc="(key, value, label, tone) each, as texts.")
    active = param.String("", doc="Key of the figure the table is filtered by.")

    _esm = Path(__file__).parent / "bar.js"

    def introduce(self, login: PageLogin | None) -> None:
        """Say who is logged in, and follow the end of that."""
        if login is not None:
            self.param.update(user=login.name, role=login.role() or "", form_token=login.form_token)
            login.tell_end = partial(setattr, self, "ended", True)


def shown(figures: Figures) -> list[tuple[str, str, str, str]]:
    """What `Bar.figures` wants."""
    app = figures.busiest_app
    return [
        ("live", f"{figures.live:,}", "live sessions", ""),
        ("running", f"{figures.running:,}", "running tasks", ""),
        ("stale", f"{figures.stale:,}", "stale", "warn" if figures.stale else ""),
        ("kills", f"{figures.kills_last_hour:,}", "kills in the last hour", ""),
        ("busiest", app or NOTHING, f"busiest app, {count(figures.busiest_count, 'session')}", ""),
    ]
