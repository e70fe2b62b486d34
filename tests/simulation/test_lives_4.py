"""Seeded lives of a fleet, part 4: every invariant after every step, all views equal at the end."""

from __future__ import annotations

import pytest

from tests.simulation.seeds import MARKS, check, chunks, name

pytestmark = MARKS


@pytest.mark.parametrize("seeds", chunks(3), ids=name)
def test_every_promise_is_kept(seeds: range) -> None:
    check(seeds)
