"""What the demo pages have in common: their frame, their texts, and changes from other threads."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any, Final

import panel as pn
import panel_material_ui as pmui
from tornado.ioloop import IOLoop

PAGE_WIDTH: Final = 600  # pixels of the column in the middle
SHORT_ID: Final = 8  # characters of a session id that are shown

THEME: Final = {
    "light": {
        "palette": {
            "primary": {"main": "#1d4ed8"},
            "background": {"default": "#ffffff", "paper": "#f3f5f8"},
        }
    },
    "dark": {
        "palette": {
            "primary": {"main": "#7aa2ff"},
            "background": {"default": "#1c222c", "paper": "#12161d"},
        }
    },
}
"""Colours of the pages, those of the view that ends a page."""

# the header is of the page, with a line below, in both themes
HEADER: Final = {
    "backgroundColor": "background.default",
    "backgroundImage": "none",
    "color": "text.primary",
    "boxShadow": "none",
    "borderBottom": "1px solid",
    "borderBottomColor": "divider",
    "& *": {"color": "inherit"},
    "& .MuiLinearProgress-root": {"display": "none"},  # it is there even if it is not wanted
}


# A page begins as the browser's user likes pages to be: pmui's components follow this mark. The
# server can't know it, and a page that asked the server would flash.
TEMPLATE: Final = """{% extends "base.html" %}
{% block preamble %}{{ super() }}
<script>
  if (window.matchMedia("(prefers-color-scheme: dark)").matches) {
    document.documentElement.dataset.theme = "dark";
    document.documentElement.style.background = "#12161d";
  }
</script>
{% endblock %}"""


class Doc:
    """The document of the page that is being built, to be changed from any thread or task."""

    def __init__(self) -> None:
        doc = pn.state.curdoc
        self._doc = doc if doc is not None and doc.session_context is not None else None
        self._loop = None if self._doc is None else IOLoop.current()

    def show(self, part: Any, **values: Any) -> None:
        """Set parameters of ``part``, soon and in order; nothing happens once the page is gone."""

        def change() -> None:
            part.param.update(**values)

        if self._loop is None:  # not served
            change()
        else:  # only its own loop adds to a document: of what other threads add, some is lost
            self._loop.add_callback(self._add, change)

    def _add(self, change: Callable[[], None]) -> None:
        if self._doc is not None and self._doc.session_context is not None:
            self._doc.add_next_tick_callback(change)


def frame(title: str, *parts: Any) -> pmui.Page:
    """The page: a header with the switch for light and dark, and one card in the middle."""
    card = pmui.Paper(
        *parts,
        elevation=0,
        sizing_mode="stretch_width",
        margin=(28, 16),
        sx={
            "p": "22px 24px",
            "borderRadius": "14px",
            "backgroundColor": "background.default",
            "border": "1px solid",
            "borderColor": "divider",
        },
    )
    return pmui.Page(
        title=title,
        main=[card],
        main_width=PAGE_WIDTH,
        busy_indicator=None,
        theme_config=THEME,
        template=TEMPLATE,
        sx={"& .MuiAppBar-root": HEADER},
    )


def text(*, size: int = 14, **params: Any) -> pn.pane.HTML:
    """A pane for small HTML; what comes from outside must go through `escaped`."""
    return pn.pane.HTML(
        sizing_mode="stretch_width",
        margin=(6, 10),
        styles={"font-size": f"{size}px", "line-height": "1.5", "overflow-wrap": "anywhere"},
        **params,
    )


def escaped(value: object) -> str:
    """Any value as text in HTML."""
    return html.escape(str(value))


def identity(session_id: str, app_name: str) -> str:
    """Who this session is, as HTML."""
    return (
        f"Session <code>{escaped(session_id[:SHORT_ID])}</code>"
        f" of app <code>{escaped(app_name)}</code>"
    )
