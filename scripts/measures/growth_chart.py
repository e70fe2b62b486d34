"""Draw how what the broker does grows with its sessions: a small chart for each quantity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes

from scripts.measures.growth import exponent, fitted
from scripts.measures.results import Point
from scripts.plots import SERIES, THEMES, colours, figure, logarithmic, write

INCHES: Final = (9.6, 5.6)
COLUMNS: Final = 3
DECADES: Final = 2  # powers of ten an axis spans at least, or noise looks like growth
MARK: Final = 4.0  # points
ABOVE: Final = 6.0  # points between a value's mark and its name
CLOSE: Final = 4  # sizes whose names do not touch
HEADROOM: Final = 1.7  # factor, for the name of the largest value
ROOM: Final = 1.35  # factor that the axis of sessions goes on beyond the outermost sizes


class Panel(NamedTuple):
    """One of the small charts; the figure's unit is divided by ``scale`` for it."""

    key: str
    title: str
    scale: float = 1.0


PANELS: Final = (
    Panel("growth.change", "CPU of a change, µs"),
    Panel("growth.get", "CPU of a request, µs"),
    Panel("growth.kill", "Kill, ms"),
    Panel("growth.page", "Page over REST, ms"),
    Panel("growth.memory", "Memory, MB", 1e6),
    Panel("growth.restart", "Restart, s"),
)


def draw_both(points: Sequence[Point], directory: Path) -> list[Path]:
    """growth-light.svg and growth-dark.svg in ``directory``; which files those are."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / f"growth-{theme}.svg" for theme in THEMES]
    for theme, file in zip(THEMES, files, strict=True):
        draw(points, theme, file)
    return files


def draw(points: Sequence[Point], theme: str, file: Path) -> None:
    rows = math.ceil(len(PANELS) / COLUMNS)
    muted = colours(theme == "dark")["muted"]
    with figure(theme, INCHES, nrows=rows, ncols=COLUMNS, sharex=True) as (made, axes):
        for at, panel in enumerate(PANELS):
            last = at + COLUMNS >= len(PANELS)
            _draw_panel(axes.flat[at], panel, points, "sessions" if last else "", muted)
        made.suptitle(_caption(points), x=0.01, ha="left", fontsize=10, color=muted)
        write(made, file)


def _draw_panel(axes: Axes, panel: Panel, points: Sequence[Point], x: str, muted: str) -> None:
    """The measured values, and dashed the growth that was fitted to the largest sizes."""
    logarithmic(axes, panel.title, x, "")
    shown = [point for point in points if point.figures[panel.key] > 0]
    if len(shown) < 2:  # on axes like these nothing else can be seen
        return
    sizes = [point.sessions for point in shown]
    values = [point.figures[panel.key] / panel.scale for point in shown]
    slope, line = exponent(shown, panel.key), fitted(shown, panel.key)
    dashed = [value / panel.scale for _, value in line]
    axes.plot([n for n, _ in line], dashed, color=muted, linewidth=1.0, linestyle=(0, (3, 2)))
    axes.plot(sizes, values, color=SERIES[0], marker="o", markersize=MARK)
    for at in (0, -1):
        _name_value(axes, sizes[at], values[at])
    axes.set_title(f"$n^{{{_signed(slope)}}}$", loc="right", color=muted, fontweight="normal")
    axes.set_xlim(min(sizes) / ROOM, max(sizes) * ROOM)
    axes.set_ylim(*_span(values))
    axes.grid(visible=False, axis="x")
    axes.minorticks_off()
    axes.set_xticks(sizes, _labels(sizes))


def _name_value(axes: Axes, sessions: int, value: float) -> None:
    axes.annotate(
        f"{float(f'{value:.2g}'):,.10g}",
        (sessions, value),
        xytext=(0.0, ABOVE),
        textcoords="offset points",
        ha="center",
        bbox={"facecolor": axes.get_facecolor(), "edgecolor": "none", "pad": 0.5},
    )


def _labels(sizes: Sequence[int]) -> list[str]:
    """Names of the sizes; of many only every other, the largest among them, or they would touch."""
    step = 1 if len(sizes) <= CLOSE else 2
    last = len(sizes) - 1
    return [f"{size:,}" if (last - at) % step == 0 else "" for at, size in enumerate(sizes)]


def _signed(slope: float) -> str:
    """Two digits, and no zero that is less than zero."""
    return f"{round(slope, 2) + 0.0:.2f}"


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Powers of ten around the values, at least `DECADES` of them and about in the middle."""
    low, high = math.log10(min(values)), math.log10(max(values) * HEADROOM)
    bottom, top = math.floor(low), math.ceil(high)
    while top - bottom < DECADES:
        if low - bottom < top - high:
            bottom -= 1
        else:
            top += 1
    return 10.0**bottom, 10.0**top


def _caption(points: Sequence[Point]) -> str:
    sizes: list[Any] = sorted(point.sessions for point in points)
    return (
        f"One broker with {sizes[0]:,} to {sizes[-1]:,} live sessions."
        " Dashed: the growth over the largest sizes, as a power of their number n"
    )
