"""Which seeds the tests run: PANELBUS_SEEDS says how many, PANELBUS_SEED names a single one."""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.simulation.fleet import run
from tests.simulation.plan import make_plan
from tests.simulation.shrink import Case, report

PARTS: Final = 4  # test files that share the seeds, so that several workers can
CHUNK: Final = 50  # seeds in one test
COUNTED: Final = 400  # the first ones are run by test_coverage.py, which counts what they do
TOTAL: Final = int(os.environ.get("PANELBUS_SEEDS", "2000"))
# Every line is met by tests of its own, and to count lines would make these 2.7 times as slow.
MARKS: Final = [
    pytest.mark.no_cover,
    pytest.mark.timeout(600),  # seconds; it is all computing, and shares its core
]
ONE: Final = os.environ.get("PANELBUS_SEED")


def chunks(part: int) -> list[range]:
    """The seeds of one test file, from ``part`` 0 on."""
    if ONE is not None:
        return [range(int(ONE), int(ONE) + 1)] if part == 0 else []
    share = range(COUNTED + part * CHUNK, TOTAL, PARTS * CHUNK)
    return [range(first, min(first + CHUNK, TOTAL)) for first in share]


def name(seeds: range) -> str:
    return f"{seeds.start}-{seeds.stop - 1}"


def check(seeds: range) -> None:
    """Every run of these keeps every promise, or the first that does not is reported."""
    for seed in seeds:
        plan = make_plan(seed)
        if run(plan).error is not None:
            pytest.fail(report(Case(plan)), pytrace=False)
