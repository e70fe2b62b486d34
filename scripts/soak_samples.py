"""What the soak has measured, and its file: JSON to draw and judge again, CSV for anything else."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from scripts.levels import KINDS, Kind, Level, judge


@dataclass(slots=True)
class Series:
    """One quantity of one part. Parts of a ``group`` are shown together, but judged alone."""

    part: str
    kind: Kind
    group: str | None = None
    values: list[float] = field(default_factory=list)


class Row(NamedTuple):
    """One line of the verdict."""

    name: str
    kind: Kind
    level: Level
    off: bool  # whether it has levelled off; for a group, all of it


@dataclass(slots=True)
class Samples:
    """Everything of one run. Every series has a value for each time of ``at``."""

    settings: dict[str, Any]  # how it was run
    at: list[float] = field(default_factory=list)  # seconds since the first sample
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)  # what went on, by the broker's counts
    processor: dict[str, list[float]] = field(default_factory=dict)  # seconds at first and at last

    def add(self, part: str, kind: Kind, value: float, group: str | None = None) -> None:
        """One value of the newest sample."""
        key = (part, kind.name)
        if key not in self.series:
            self.series[key] = Series(part, kind, group)
        self.series[key].values.append(value)

    def spent(self, part: str, seconds: float) -> None:
        """Processor time of a part since it was started."""
        first = self.processor.get(part, [seconds])[0]
        self.processor[part] = [first, seconds]

    def count(self, messages: dict[str, int], kills: dict[str, int]) -> None:
        """What the broker has counted so far."""
        self.totals = {
            "began": messages.get("register", 0),
            "ended": messages.get("end", 0),
            "status changes": messages.get("status", 0),
            "killed": kills.get("completed", 0),
        }

    def summary(self) -> str:
        """What went on, and what it took, in two lines."""
        minutes = (self.at[-1] - self.at[0]) / 60
        went = ", ".join(f"{count:,.0f} {what}" for what, count in self.totals.items())
        shares: dict[str, float] = {}
        for part, (first, last) in self.processor.items():
            name = "apps" if part.startswith("app ") else part
            shares[name] = shares.get(name, 0.0) + (last - first) / (minutes * 60)
        cores = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        return (
            f"{minutes:.1f} minutes; sessions and kills: {went}\n"
            f"of one core: {cores}; together {sum(shares.values()):.0%}"
        )

    def drop_half(self) -> None:
        """Leave out a sample that was interrupted while it was taken."""
        whole = min((len(series.values) for series in self.series.values()), default=0)
        del self.at[whole:]
        for series in self.series.values():
            del series.values[whole:]

    def together(self) -> list[tuple[str, Series, list[Series]]]:
        """(name, what to show, its members): a group is the sum of its members."""
        found: dict[tuple[str, str], list[Series]] = {}
        for series in self.series.values():
            key = (series.group or series.part, series.kind.name)
            found.setdefault(key, []).append(series)
        return [
            (
                f"{len(members)} {name}" if members[0].group else name,
                Series(
                    name,
                    members[0].kind,
                    members[0].group,
                    [sum(values) for values in zip(*(m.values for m in members), strict=True)],
                ),
                members,
            )
            for (name, _), members in found.items()
        ]

    def verdict(self) -> list[Row]:
        """A row for each part, each group, and each member of a group that does not level off.

        Raises:
            ValueError: there are too few samples.
        """
        rows = []
        for name, shown, members in self.together():
            grow = [
                Row(member.part, member.kind, level, False)
                for member in members
                if not (level := judge(member.kind, self.at, member.values)).off
            ]
            rows.append(Row(name, shown.kind, judge(shown.kind, self.at, shown.values), not grow))
            if len(members) > 1:
                rows += grow
        return rows

    def save(self, file: Path) -> None:
        document = {
            "settings": self.settings,
            "totals": self.totals,
            "processor": self.processor,
            "at": self.at,
            "series": [
                {"part": s.part, "kind": s.kind.name, "group": s.group, "values": s.values}
                for s in self.series.values()
            ],
        }
        file.write_text(json.dumps(document) + "\n")

    def save_csv(self, file: Path) -> None:
        """A line for each sample, a column for each series."""
        with file.open("w", newline="") as output:
            writer = csv.writer(output)
            titles = [
                f"{s.part}: {s.kind.name} {s.kind.unit}".strip() for s in self.series.values()
            ]
            writer.writerow(["seconds", *titles])
            columns = [s.values for s in self.series.values()]
            writer.writerows(zip(self.at, *columns, strict=True))


def load(file: Path) -> Samples:
    """What `Samples.save` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    document = json.loads(file.read_text())
    samples = Samples(
        document["settings"],
        document["at"],
        totals=document["totals"],
        processor=document["processor"],
    )
    for row in document["series"]:
        kind = KINDS[row["kind"]]
        key = (row["part"], kind.name)
        samples.series[key] = Series(row["part"], kind, row["group"], row["values"])
    return samples
