"""Pictures for the documents: the monitor's look, light and dark, as small SVG files.

Linear or logarithmic axes. Text is drawn as shapes, so that it looks the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from monitor.style import SERIES, colours

THEMES: Final = ("light", "dark")
FONT: Final = "DejaVu Sans"  # comes with matplotlib
SIZE: Final = 9.0  # points of text
LINE: Final = 1.6  # points
PAD: Final = 0.12  # inches around everything
STEPS: Final = [1, 2, 5, 10]  # between ticks, times a power of ten

__all__ = ["SERIES", "THEMES", "colours", "dress", "figure", "logarithmic", "name_lines", "write"]


@contextmanager
def figure(theme: str, inches: tuple[float, float], **grid: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure in ``theme`` and its axes, one or an array: ``grid`` is what
    `matplotlib.figure.Figure.subplots` takes. Inside the block everything drawn has that look.
    """
    with matplotlib.rc_context(_look(colours(theme == "dark"))):
        room = ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD, hspace=0.05, wspace=0.03)
        made = Figure(figsize=inches, layout=room)
        yield made, made.subplots(**grid)


def _look(colour: dict[str, str]) -> dict[Any, Any]:
    return {
        "figure.facecolor": colour["surface"],
        "savefig.facecolor": colour["surface"],
        "axes.facecolor": colour["surface"],
        "axes.edgecolor": colour["line"],
        "axes.labelcolor": colour["muted"],
        "axes.titlecolor": colour["text"],
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.titlelocation": "left",
        "axes.titlesize": SIZE + 1.5,
        "axes.titleweight": "bold",
        "axes.titlepad": 8.0,
        "axes.labelsize": SIZE,
        "axes.prop_cycle": cycler(color=SERIES),
        "grid.color": colour["line"],
        "grid.linewidth": 0.7,
        "xtick.color": colour["line"],
        "ytick.color": colour["line"],
        "xtick.labelcolor": colour["muted"],
        "ytick.labelcolor": colour["muted"],
        "xtick.labelsize": SIZE,
        "ytick.labelsize": SIZE,
        "ytick.left": False,
        "text.color": colour["text"],
        "lines.linewidth": LINE,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "legend.labelcolor": colour["text"],
        "legend.fontsize": SIZE,
        "font.family": FONT,
        "font.size": SIZE,
        "svg.fonttype": "path",
        # the same samples draw the same file
        "svg.hashsalt": "panelbus",
        "path.simplify": True,
        "path.simplify_threshold": 0.5,
    }


def dress(axes: Axes, title: str, x: str, y: str | None = None) -> None:
    """Title and labels, few ticks, thousands with commas; the y axis begins at zero."""
    axes.set_title(title)
    axes.set_xlabel(x)
    if y is not None:
        axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=STEPS, integer=True))
    axes.grid(visible=False, axis="x")


def logarithmic(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and labels for two logarithmic axes, a line for each power of ten."""
    axes.set(xscale="log", yscale="log", title=title, xlabel=x, ylabel=y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10))
        axis.set_major_formatter(FuncFormatter(_short))
        axis.set_minor_formatter(NullFormatter())


def name_lines(axes: Axes, columns: int = 1) -> None:
    """A legend for a chart of several lines."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=columns, handlelength=1.2)


def write(made: Figure, file: Path) -> None:
    """Save without the date, so that only another picture is another file."""

    made.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _short(value: float, _position: int | None = None) -> str:
    return f"{value:,.10g}"
