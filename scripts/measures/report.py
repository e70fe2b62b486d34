"""Results as tables: for the terminal, and as Markdown for a document."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.measures.goals import judge_all
from scripts.measures.growth import FIGURES, exponent
from scripts.measures.results import Point, Results, compare, differences

STYLES: Final = {
    "aim": "bold green",
    "must": "green",
    "missed": "bold red",
    "not measured": "dim",
    "better": "green",
    "worse": "red",
}
RATIO: Final = "ratio"  # in the place of a unit
SMALL_RATIO: Final = 0.1  # is said as 1/N
KILO: Final = 1_000.0
CLOSE: Final = ("", "/s")  # units that stand right behind their number
QUICK_NOTE: Final = "A quick run: every part works, but nothing ran for long enough to be judged."


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: words in the first column, and in the last if ``words``; numbers in the others."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    words: bool = False


def show(results: Results, console: Console, before: Results | None = None) -> None:
    """All tables, the goals first; beside ``before`` if that is given."""
    if results.quick:
        console.print(QUICK_NOTE, style="yellow")
    for sheet in sheets(results, before):
        console.print(_table(sheet))
        for note in sheet.notes:
            console.print(Text(note, "dim"))
        console.print()


def markdown(results: Results, before: Results | None = None) -> str:
    """The same for a document, with what it ran on."""
    parts = [QUICK_NOTE] if results.quick else []
    parts.append("\n".join(f"- {name}: {value}" for name, value in results.machine.items()))
    for sheet in sheets(results, before):
        parts += [f"## {sheet.title}", _pipes(sheet), *sheet.notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def sheets(results: Results, before: Results | None = None) -> Iterator[Sheet]:
    """Goals, figures, growth where it was measured, and the comparison."""
    yield _goals(results)
    yield _figures(results)
    if results.growth:
        yield _growth(results)
    if before is not None:
        yield _changes(results, before)


# --- the tables ----------------------------------------------------------------------------------


def _goals(results: Results) -> Sheet:
    columns = ("goal", "measured", "lowest to highest", "must", "aim", "reached")
    rows = []
    for verdict in judge_all(results):
        goal = verdict.goal
        unit = RATIO if goal.over else goal.unit
        value = "" if verdict.value is None else number(verdict.value, unit)
        bounds = number(goal.must, unit), number(goal.aim, unit)
        rows.append((goal.what, value, spread(verdict.values, unit), *bounds, verdict.word))
    return Sheet("Goals", columns, rows, words=True)


def _figures(results: Results) -> Sheet:
    rows = []
    for key, figure in results.figures.items():
        values, unit = results.values[key], figure.unit
        median = number(statistics.median(values), unit)
        rows.append((figure.what, median, spread(values, unit), str(len(values))))
    notes = tuple(f"not measured: {name}: {why}" for name, why in results.left_out.items())
    return Sheet("Figures", ("figure", "median", "lowest to highest", "rounds"), rows, notes)


def _growth(results: Results) -> Sheet:
    keys = list(dict.fromkeys(key for point in results.growth for key in point.figures))
    known = {**results.figures, **{figure.key: figure for figure in FIGURES}}
    names = [known[key].what if key in known else key for key in keys]
    units = {key: known[key].unit if key in known else "" for key in keys}
    rows = []
    for point in results.growth:
        found = point.figures
        cells = (number(found[key], units[key]) if key in found else "" for key in keys)
        rows.append((f"{point.sessions:,}", *cells))
    powers = (_power(results.growth, key) for key in keys)
    rows.append(("as sessions to the power", *powers))
    return Sheet("Growth", ("sessions", *names), rows)


def _power(points: Sequence[Point], key: str) -> str:
    try:
        return f"{exponent([point for point in points if key in point.figures], key):.2f}"
    except ValueError:  # measured at too few sizes
        return ""


def _changes(results: Results, before: Results) -> Sheet:
    rows = []
    for change in compare(results, before):
        unit = change.figure.unit
        ratio = "" if change.ratio is None else f"{change.ratio:.2f}"
        medians = number(change.before, unit), number(change.now, unit)
        rows.append((change.figure.what, *medians, ratio, change.word))
    columns = ("figure", "before", "now", "now ÷ before", "is")
    notes = tuple(f"hard to compare: {text}" for text in differences(results, before))
    return Sheet("Beside the run before", columns, rows, notes, words=True)


# --- numbers -------------------------------------------------------------------------------------


def number(value: float, unit: str) -> str:
    """Three digits or so, with its unit; bytes in KB of 1,000 and so on; small ratios as 1/N."""
    return "".join(_parts(value, unit))


def spread(values: Sequence[float], unit: str) -> str:
    """From the lowest to the highest; empty for one value."""
    if len(values) < 2:
        return ""
    low, low_unit = _parts(min(values), unit)
    high, high_unit = _parts(max(values), unit)
    return f"{low}{low_unit if low_unit != high_unit else ''} to {high}{high_unit}"


def _parts(value: float, unit: str) -> tuple[str, str]:
    """(digits, what stands behind them)"""
    if unit == RATIO:
        small = 0 < value < SMALL_RATIO
        return (f"1/{_digits(1 / value)}" if small else _digits(value)), ""
    if unit == "B":
        unit, value = _bytes(value)
    return _digits(value), unit if unit in CLOSE else f" {unit}"


def _bytes(value: float) -> tuple[str, float]:
    for unit in ("B", "KB", "MB"):
        if abs(value) < KILO:
            return unit, value
        value /= KILO
    return "GB", value


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


# --- forms ---------------------------------------------------------------------------------------


def _table(sheet: Sheet) -> Table:
    table = Table(title=sheet.title, title_justify="left", title_style="bold")
    last = len(sheet.columns) - 1
    for index, name in enumerate(sheet.columns):
        table.add_column(name, justify=_side(sheet, index), no_wrap=index == last)
    for row in sheet.rows:
        *cells, end = (Text(cell) for cell in row)
        if sheet.words:
            end.stylize(STYLES.get(end.plain, ""))
        table.add_row(*cells, end)
    return table


def _side(sheet: Sheet, index: int) -> Literal["left", "right"]:
    word = sheet.words and index == len(sheet.columns) - 1
    return "left" if index == 0 or word else "right"


def _pipes(sheet: Sheet) -> str:
    sides = ("---" if _side(sheet, i) == "left" else "---:" for i in range(len(sheet.columns)))
    lines = [sheet.columns, tuple(sides), *sheet.rows]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
