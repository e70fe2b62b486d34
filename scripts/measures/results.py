"""What a run has found, its file, and what has changed since another run."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from scripts.measures.figures import Figure, Sample

KIND: Final = "panelbus bench"
VERSION: Final = 1
CHANGES_BY_ITSELF: Final = ("load average",)  # of a machine's description


class NotResults(ValueError):
    """A file that holds no results this version can read; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class Point:
    """Figures with so many sessions live."""

    sessions: int
    figures: Mapping[str, float]


@dataclass(slots=True)
class Results:
    """Everything of one run: a value of each figure for each round, in order."""

    quick: bool
    machine: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)  # by key, in the order measured
    values: dict[str, list[float]] = field(default_factory=dict)  # by the same keys
    growth: list[Point] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # a measure's name, and why not

    def add(self, figures: Iterable[Figure], sample: Sample) -> None:
        """One round of a measure.

        Raises:
            ValueError: it gave other figures than it has, or what is no number.
        """
        mine = {figure.key: figure for figure in figures}
        if wrong := mine.keys() ^ sample.keys():
            raise ValueError(f"a round gave other figures than are said: {sorted(wrong)}")
        for key, figure in mine.items():
            value = float(sample[key])
            if not math.isfinite(value):
                raise ValueError(f"a round gave {value} for {key}")
            self.figures[key] = figure
            self.values.setdefault(key, []).append(value)

    def median(self, key: str) -> float:
        return statistics.median(self.values[key])

    def save(self, file: Path) -> None:
        document = {
            "kind": KIND,
            "version": VERSION,
            "quick": self.quick,
            "machine": self.machine,
            "figures": {
                key: {
                    "what": figure.what,
                    "unit": figure.unit,
                    "better": figure.better,
                    "values": self.values[key],
                }
                for key, figure in self.figures.items()
            },
            "growth": [
                {"sessions": point.sessions, "figures": dict(point.figures)}
                for point in self.growth
            ],
            "left_out": self.left_out,
        }
        file.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def load(file: Path) -> Results:
    """What `Results.save` wrote.

    Raises:
        NotResults: it is something else, or can't be read.
    """
    try:
        document = json.loads(file.read_text())
    except OSError as error:
        raise NotResults(f"{file} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise NotResults(f"{file} holds no results of a benchmark: it is no JSON") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise NotResults(f"{file} holds no results of a benchmark")
    if document.get("version") != VERSION:
        raise NotResults(
            f"{file} is of version {document.get('version')}, and this reads {VERSION} only"
        )
    try:
        return _read(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotResults(f"{file} holds results that are damaged: {error!r}") from error


def _read(document: dict[str, Any]) -> Results:
    results = Results(bool(document["quick"]), _texts(document["machine"]))
    for key, entry in document["figures"].items():
        if entry["better"] not in ("less", "more"):
            raise ValueError(f"better: {entry['better']!r}")
        values = [_number(value) for value in entry["values"]]
        if not values:
            raise ValueError(f"{key} has no values")
        results.figures[key] = Figure(key, str(entry["what"]), str(entry["unit"]), entry["better"])
        results.values[key] = values
    for point in document["growth"]:
        figures = {str(key): _number(value) for key, value in point["figures"].items()}
        results.growth.append(Point(int(point["sessions"]), figures))
    results.left_out = _texts(document["left_out"])
    return results


def _texts(found: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in found.items()}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


# --- beside another run --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A figure in two runs. ``word`` is empty where their rounds overlap or there is but one, as
    then nothing is proved; ``ratio`` is now ÷ before, None where that can't be said."""

    figure: Figure
    before: float  # medians
    now: float
    ratio: float | None
    word: Literal["better", "worse", ""]


def compare(now: Results, before: Results) -> list[Change]:
    """A row for each figure both have, in the order of ``now``."""
    return [
        _change(figure, now.values[key], before.values[key])
        for key, figure in now.figures.items()
        if key in before.values
    ]


def _change(figure: Figure, now: list[float], before: list[float]) -> Change:
    new, old = statistics.median(now), statistics.median(before)
    word: Literal["better", "worse", ""] = ""
    if min(len(now), len(before)) < 2:
        pass
    elif max(now) < min(before):
        word = "better" if figure.better == "less" else "worse"
    elif min(now) > max(before):
        word = "worse" if figure.better == "less" else "better"
    return Change(figure, old, new, new / old if old else None, word)


def differences(now: Results, before: Results) -> list[str]:
    """What makes two runs hard to compare, in words."""
    found = []
    if now.quick != before.quick:
        found.append("one was quick, the other was not")
    for name, value in now.machine.items():
        other = before.machine.get(name, "unknown")
        if name not in CHANGES_BY_ITSELF and other != value:
            found.append(f"{name}: {other} before, {value} now")
    return found
