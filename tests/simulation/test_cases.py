"""What the simulation once found stays mended, and would be found again."""

from __future__ import annotations

import pytest

from tests.simulation.cases import CASES, Found
from tests.simulation.guards import GUARDS
from tests.simulation.shrink import kind_of, story


@pytest.mark.parametrize("found", CASES, ids=lambda found: found.guard)
def test_a_case_is_mended_and_its_guard_is_why(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = found.case.run(story=True)
    assert outcome.error is None, "\n".join(story(outcome))
    (guard,) = (guard for guard in GUARDS if guard.name == found.guard)
    with monkeypatch.context() as patch:
        guard.take_away(patch)
        assert kind_of(found.case.run().error) in guard.noticed_by
