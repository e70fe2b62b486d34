"""A piece of the page that is HTML of `views`."""

from __future__ import annotations

from typing import Any

import panel as pn

from monitor.style import HTML_CSS


class Html(pn.pane.HTML):
    """Shown in the colours of whatever it lies in."""

    def __init__(self, text: str = "", **params: Any) -> None:
        params.setdefault("sizing_mode", "stretch_width")
        super().__init__(text, stylesheets=[HTML_CSS], **params)

    def show(self, text: str) -> None:
        """Replace what is shown; the same text again costs nothing."""
        self.param.update(object=text)
