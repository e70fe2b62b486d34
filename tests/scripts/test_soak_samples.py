"""What the soak keeps of its samples, and how it judges them together."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from scripts.levels import MEMORY, SESSIONS
from scripts.soak_samples import load
from tests.scripts.made_up import made_up


def test_each_part_and_each_group_has_a_row_that_is_level() -> None:
    rows = made_up().verdict()
    assert [(row.name, row.kind.name) for row in rows] == [
        ("broker", "memory"),
        ("broker", "threads"),
        ("broker", "descriptors"),
        ("2 apps", "memory"),
        ("sessions.db", "database"),
        ("broker", "live sessions"),
    ]
    assert all(row.off for row in rows)
    assert rows[3].level.end == 60.0


def test_one_of_a_group_that_grows_is_named_and_spoils_the_group() -> None:
    rows = [row for row in made_up(leak=5.0).verdict() if row.kind is MEMORY]
    assert [(row.name, row.off) for row in rows] == [
        ("broker", True),
        ("2 apps", False),
        ("app 2", False),
    ]
    assert rows[1].level.off  # the sum alone would hide it


def test_a_file_brings_it_all_back(tmp_path: Path) -> None:
    samples = made_up(leak=1.0)
    samples.save(tmp_path / "soak.json")
    assert load(tmp_path / "soak.json") == samples


def test_the_table_has_a_line_for_each_sample(tmp_path: Path) -> None:
    made_up().save_csv(tmp_path / "soak.csv")
    with (tmp_path / "soak.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:2] == ["seconds", "broker: memory MB"]
    assert rows[0][-1] == "broker: live sessions"
    assert rows[-1] == ["1800.0", "50.0", "4.0", "20.0", "30.0", "30.0", "5.0", "1000"]
    assert len(rows) == 32


def test_a_sample_that_was_interrupted_is_left_out() -> None:
    samples = made_up()
    samples.at.append(1_860.0)
    samples.add("broker", MEMORY, 99.0)
    samples.drop_half()
    assert samples == made_up()
    samples.series.clear()
    samples.drop_half()
    assert samples.at == []


def test_the_summary_tells_what_went_on_and_what_it_took() -> None:
    went, took = made_up().summary().splitlines()
    assert went == (
        "30.0 minutes; sessions and kills: 9,000 began, 8,000 ended, 20,000 status changes,"
        " 7 killed"
    )
    assert took == "of one core: broker 10.0%, apps 10.0%; together 20%"


def test_too_few_samples_are_not_judged() -> None:
    samples = made_up()
    del samples.at[5:]
    for series in samples.series.values():
        del series.values[5:]
    with pytest.raises(ValueError, match="can't be judged"):
        samples.verdict()
    assert samples.series["broker", SESSIONS.name].values == [1_000] * 5
