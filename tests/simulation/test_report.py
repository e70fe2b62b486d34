"""The report of a failure: equal runs, the story of a session, a case small enough to read."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from broker.registry.ledger import Ledger
from tests.simulation.__main__ import main
from tests.simulation.plan import PROFILES, Plan, Step, make_plan
from tests.simulation.seeds import MARKS
from tests.simulation.shrink import MAX_LINES, Case, kind_of, report, shrink, story

pytestmark = MARKS


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Case:
    """A run that fails, because kills that were refused may come to life."""
    monkeypatch.setattr(Ledger, "refused", lambda *_: None)
    cases = (Case(make_plan(seed)) for seed in range(3, 800, len(PROFILES)))  # the disk's profile
    return next(case for case in cases if case.run().error is not None)


def test_one_seed_is_one_life() -> None:
    one, other = (Case(make_plan(7)).run(story=True) for _ in range(2))
    assert one.lines == other.lines
    assert one.counts == other.counts
    assert one.lines != Case(make_plan(15)).run(story=True).lines


def test_without_faults_by_chance_only_the_steps_are_left() -> None:
    assert Case(make_plan(7)).run().injected
    assert Case(make_plan(7), ()).run().injected == ()


def test_a_failure_shrinks_to_a_case_that_fails_in_the_same_way(failing: Case) -> None:
    small, kind = shrink(failing), kind_of(failing.run().error)
    assert kind in ("I4", "I8")
    assert kind_of(small.run().error) == kind
    assert len(small.plan.steps) < len(failing.plan.steps) / 4
    assert small.faults is not None
    # every step and fault that is left is needed
    for step in small.plan.steps:
        fewer = tuple(other for other in small.plan.steps if other != step)
        plan = Plan(small.plan.seed, small.plan.profile, fewer, small.plan.sqlite)
        assert kind_of(Case(plan, small.faults).run().error) != kind


def test_a_report_names_the_seed_the_invariant_and_the_way_to_run_it_again(failing: Case) -> None:
    text, seed, error = report(failing), failing.plan.seed, failing.run().error
    for part in (f"seed {seed} (disk)", str(error), f"python -m tests.simulation --seed {seed}"):
        assert part in text
    assert "broker starts" in text
    code = text.partition("as a case for tests/simulation/cases.py:\n")[2].strip()
    again = eval(code, {"Case": Case, "Plan": Plan, "Step": Step})[0]
    assert kind_of(again.run().error) == kind_of(error)


def test_a_story_is_of_one_session_and_bounded() -> None:
    outcome = Case(make_plan(7)).run(story=True)
    told = story(outcome, frozenset({"p0-s1"}))
    assert any("p0-s1 opens" in line for line in told)
    assert any("the faults stop" in line for line in told)
    assert not any("p1-s1 opens" in line for line in told)
    everybody = frozenset(name for line in outcome.lines for name in line.about)
    assert len(story(outcome, everybody)) == len(told) == MAX_LINES


def test_the_runner_counts_and_tells() -> None:
    runner = CliRunner()
    done = runner.invoke(main, ["--seeds", "4", "--first", "8"])
    assert done.exit_code == 0
    assert "4 seeds, 0 failed" in done.output
    assert "kill acknowledged" in done.output
    done = runner.invoke(main, ["--seed", "7", "--story", "p0-s1"])
    assert done.exit_code == 0
    assert "p0-s1 opens" in done.output
    assert runner.invoke(main, ["--story", "p0-s1"]).exit_code == 2


def test_the_runner_reports_a_failure(failing: Case) -> None:
    seed = str(failing.plan.seed)
    for options in (["--seed", seed], ["--first", seed, "--seeds", "1"]):
        done = CliRunner().invoke(main, options)
        assert done.exit_code == 1
        assert "as a case for" in done.output
