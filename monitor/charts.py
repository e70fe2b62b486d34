"""Two small charts: sessions over time by app, kills over time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import panel as pn
from bokeh.models import (
    ColumnDataSource,
    DatetimeTickFormatter,
    HoverTool,
    Legend,
    LegendItem,
    Range1d,
)
from bokeh.plotting import figure

from monitor.history import KILL_BUCKET, STEP, Series
from monitor.style import SERIES, colours

HEIGHT: Final = 150  # pixels of each
MIN_HIGHEST: Final = 4  # sessions or kills the axis reaches at least
HEADROOM: Final = 1.1
LEGEND_CHARS: Final = 18  # of an app's name


class Charts:
    """Figures whose data is replaced as time goes by; `panel` is what to show."""

    def __init__(self) -> None:
        self._sessions = _figure("Live sessions by app")
        self._lines = [ColumnDataSource({"at": [], "n": [], "app": []}) for _ in SERIES]
        renderers = [
            self._sessions.line("at", "n", source=source, line_width=2, color=colour)
            for source, colour in zip(self._lines, SERIES, strict=True)
        ]
        self._renderers = renderers
        self._slots: dict[str, int] = {}  # app -> number of its line
        self._legend = Legend(
            items=[],
            ncols=3,
            padding=2,
            spacing=4,
            margin=2,
            glyph_width=14,
            label_text_font_size="11px",
            label_standoff=4,
            background_fill_alpha=0.0,
            border_line_color=None,
        )
        self._sessions.add_layout(self._legend, "below")
        self._sessions.add_tools(
            HoverTool(tooltips=[("", "@app"), ("", "@n sessions at @at{%H:%M:%S}")],
                      formatters={"@at": "datetime"})
        )  # fmt: skip
        self._kills = _figure("Kills by minute")
        self._bars = ColumnDataSource({"at": [], "n": []})
        width = KILL_BUCKET.total_seconds() * 1000 * 0.8
        self._kills.vbar("at", width=width, top="n", source=self._bars, color="#d9534f")
        self._kills.add_tools(
            HoverTool(tooltips=[("", "@n kills at @at{%H:%M}")], formatters={"@at": "datetime"})
        )
        self.panel = pn.Column(
            pn.pane.Bokeh(self._sessions, sizing_mode="stretch_width"),
            pn.pane.Bokeh(self._kills, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
            margin=0,
        )
        self.paint(False)

    def update(
        self, series: Series, kills: tuple[list[datetime], list[int]], offset: timedelta
    ) -> None:
        """``offset``: what the browser's clock is ahead of UTC; Bokeh draws times as they are."""
        at = [_naive(moment, offset) for moment in series.at]
        self._place(list(series.counts))
        for app, number in self._slots.items():
            counts = series.counts[app]
            names = [app] * len(counts)
            self._lines[number].data = {"at": at, "n": counts, "app": names}
        for number in set(range(len(self._lines))) - set(self._slots.values()):
            self._lines[number].data = {"at": [], "n": [], "app": []}
        highest = max((max(counts, default=0) for counts in series.counts.values()), default=0)
        if at:
            _span(self._sessions, at[0], at[-1] + STEP, highest)
        starts, numbers = kills
        minutes = [_naive(start, offset) for start in starts]
        self._bars.data = {"at": minutes, "n": numbers}
        _span(self._kills, minutes[0], minutes[-1] + KILL_BUCKET, max(numbers))

    def _place(self, apps: list[str]) -> None:
        """Give each app a line; one that is drawn already keeps its own, and so its colour."""
        before = dict(self._slots)
        self._slots = {app: slot for app, slot in before.items() if app in apps}
        free = sorted(set(range(len(self._lines))) - set(self._slots.values()))
        for app in apps:
            if app not in self._slots:
                self._slots[app] = free.pop(0)
        if self._slots != before:
            self._legend.items = [
                LegendItem(label=_short(app), renderers=[self._renderers[slot]])
                for app, slot in sorted(self._slots.items(), key=lambda item: item[1])
            ]

    def paint(self, dark: bool) -> None:
        """The theme's colours."""
        colour = colours(dark)
        for plot in (self._sessions, self._kills):
            plot.title.text_color = colour["muted"]
            plot.grid.grid_line_color = colour["line"]
            for axis in plot.axis:
                axis.axis_line_color = axis.major_tick_line_color = colour["line"]
                axis.major_label_text_color = colour["muted"]
        self._legend.label_text_color = colour["text"]


def _short(app: str) -> str:
    return app if len(app) <= LEGEND_CHARS else f"{app[: LEGEND_CHARS - 1]}…"


def _naive(moment: datetime, offset: timedelta) -> datetime:
    return (moment + offset).replace(tzinfo=None)


def _span(plot: Any, start: datetime, end: datetime, highest: int) -> None:
    """What the axes show."""
    plot.x_range.update(start=start, end=end)
    plot.y_range.end = max(MIN_HIGHEST, highest * HEADROOM)


def _figure(title: str) -> Any:
    plot = figure(
        title=title,
        height=HEIGHT,
        x_axis_type="datetime",
        x_range=Range1d(0, 1),
        y_range=Range1d(0, MIN_HIGHEST),
        background_fill_color=None,
        border_fill_color=None,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        outline_line_color=None,
        min_border=4,
    )
    plot.title.text_font_size = "12px"
    plot.yaxis.minor_tick_line_color = plot.xaxis.minor_tick_line_color = None
    plot.yaxis.ticker.desired_num_ticks = 3
    plot.yaxis.ticker.min_interval = 1
    plot.yaxis.formatter.use_scientific = False
    plot.xgrid.visible = False
    plot.xaxis.formatter = DatetimeTickFormatter(
        seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M"
    )
    plot.xaxis.ticker.desired_num_ticks = 5
    return plot
