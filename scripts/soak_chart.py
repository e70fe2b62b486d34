"""Draw the chart of a soak from its samples: ``python scripts/soak_chart.py SAMPLES.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from matplotlib.axes import Axes

from scripts import levels
from scripts.plots import SERIES, THEMES, colours, dress, figure, write
from scripts.soak_samples import Samples, Series, load

INCHES: Final = (9.6, 6.2)
COLOURS: Final = dict(
    zip(("broker", "gateway", "monitor", "apps", "operator"), SERIES, strict=False)
)
BAND: Final = 0.06  # opacity of the warm-up
GAP: Final = 0.075  # of the axis's height that two names at the end of lines keep apart


def draw_both(samples: Samples, directory: Path) -> None:
    """soak-light.svg and soak-dark.svg in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        file = directory / f"soak-{theme}.svg"
        draw(samples, theme, file)
        click.echo(f"wrote {file}", err=True)


def draw(samples: Samples, theme: str, file: Path) -> None:
    with figure(theme, INCHES, nrows=2, ncols=2, sharex=True) as (made, axes):
        minutes = [moment / 60 for moment in samples.at]
        memory, handles, disk, live = axes.flat
        shown = samples.together()
        dark = theme == "dark"
        _lines(memory, minutes, _of(shown, levels.MEMORY), dark)
        dress(memory, "Memory, MB", "")
        _counts(handles, minutes, shown, dark)
        dress(handles, "Threads and open descriptors, all parts", "")
        _lines(disk, minutes, _of(shown, levels.DATABASE), dark)
        dress(disk, "Database on the disk, MB", "minutes")
        _lines(live, minutes, _of(shown, levels.SESSIONS), dark, names=False)
        dress(live, "Live sessions", "minutes")
        for axis in axes.flat:
            axis.axvspan(0, minutes[-1] * levels.WARM_UP, color=colours(dark)["muted"], alpha=BAND)
            axis.set_xlim(0, minutes[-1])
            axis.set_ylim(top=axis.dataLim.y1 * 1.12)
        made.suptitle(_title(samples), x=0.01, ha="left", fontsize=10, color=colours(dark)["muted"])
        write(made, file)


def _of(shown: list[tuple[str, Series, list[Series]]], kind: levels.Kind) -> dict[str, Series]:
    return {name: series for name, series, _ in shown if series.kind is kind}


def _lines(
    axes: Axes, minutes: list[float], series: dict[str, Series], dark: bool, names: bool = True
) -> None:
    """A line for each, named at its end."""
    ends = []
    for i, (name, one) in enumerate(series.items()):
        colour = COLOURS.get(one.part, SERIES[i])
        axes.plot(minutes, one.values, color=colour)
        ends.append((one.values[-1], name, colour))
    if names:
        _name_ends(axes, ends, max(max(one.values) for one in series.values()), dark)


def _counts(
    axes: Axes, minutes: list[float], shown: list[tuple[str, Series, list[Series]]], dark: bool
) -> None:
    """The sums over all parts."""
    ends = []
    for i, kind in enumerate((levels.DESCRIPTORS, levels.THREADS)):
        parts = [series.values for series in _of(shown, kind).values()]
        total = [sum(values) for values in zip(*parts, strict=True)]
        axes.plot(minutes, total, color=SERIES[i])
        ends.append((total[-1], kind.name, SERIES[i]))
    _name_ends(axes, ends, max(value for value, _, _ in ends), dark)


def _name_ends(axes: Axes, ends: list[tuple[float, str, str]], highest: float, dark: bool) -> None:
    """Names right of the lines, each at its line's end but clear of the others."""
    below = float("-inf")
    for value, name, colour in sorted(ends):
        at = max(value / (highest * 1.12), below + GAP)
        below = at
        axes.text(1.015, at, name, transform=axes.transAxes, va="center", color=colour)


def _title(samples: Samples) -> str:
    settings, totals = samples.settings, samples.totals
    return (
        f"{settings['sessions']:,} sessions in {settings['apps']} apps,"
        f" {totals['began']:,.0f} began and {totals['ended']:,.0f} ended,"
        f" {totals['killed']:,.0f} killed; shaded: warm-up"
    )


@click.command(help=__doc__)
@click.argument("samples", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--to",
    default="docs/pictures",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder the pictures are written to.",
)
def main(samples: Path, to: Path) -> None:
    try:
        loaded = load(samples)
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{samples} holds no samples of a soak: {error!r}") from error
    draw_both(loaded, to)


if __name__ == "__main__":
    main()
