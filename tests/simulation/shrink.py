"""A failing run made small, and told: its seed, the invariant, the story, and a case to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from tests.simulation.fleet import Outcome, run
from tests.simulation.plan import Plan, Step
from tests.simulation.world import Broken, Line

MAX_LINES: Final = 60  # of a story
MAX_RUNS: Final = 600  # spent on shrinking one failure

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """A plan, and the faults by chance that happen in it; None for all that the dice want."""

    plan: Plan
    faults: tuple[str, ...] | None = None

    def run(self, *, story: bool = False) -> Outcome:
        only = None if self.faults is None else frozenset(self.faults)
        return run(self.plan, only=only, story=story)


def kind_of(error: Exception | None) -> str | None:
    """What a failure is a failure of, so that shrinking does not wander to another."""
    if error is None:
        return None
    return error.invariant if isinstance(error, Broken) else type(error).__name__


class _Shrinker:
    def __init__(self, invariant: str | None) -> None:
        self._invariant = invariant
        self._left = MAX_RUNS

    def fails(self, case: Case) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        return kind_of(case.run().error) == self._invariant

    def fewest(self, items: Sequence[T], fails: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
        """Delta debugging: leave out ever smaller pieces as long as it still fails."""
        kept = tuple(items)
        if kept and fails(()):
            return ()
        size = max(1, len(kept) // 2)
        while kept:
            start, shorter = 0, False
            while start < len(kept):
                without = kept[:start] + kept[start + size :]
                if fails(without):
                    kept, shorter = without, True
                else:
                    start += size
            if size == 1 and not shorter:
                break
            size = max(1, size // 2) if not shorter or size > 1 else 1
        return kept


def shrink(case: Case) -> Case:
    """The same failure with as few steps and faults as could be found."""
    first = case.run()
    shrinker = _Shrinker(kind_of(first.error))
    if case.faults is None:
        pinned = replace(case, faults=first.injected)
        case = pinned if shrinker.fails(pinned) else case
    before = None
    while before != case:
        before = case
        case = _fewest_faults(shrinker, _fewest_steps(shrinker, case))
    return case


def _fewest_steps(shrinker: _Shrinker, case: Case) -> Case:
    def with_steps(steps: tuple[Step, ...]) -> Case:
        return replace(case, plan=replace(case.plan, steps=steps))

    kept = shrinker.fewest(case.plan.steps, lambda steps: shrinker.fails(with_steps(steps)))
    return with_steps(kept)


def _fewest_faults(shrinker: _Shrinker, case: Case) -> Case:
    def with_faults(faults: tuple[str, ...]) -> Case:
        return replace(case, faults=faults)

    if case.faults is None:
        return case
    kept = shrinker.fewest(case.faults, lambda faults: shrinker.fails(with_faults(faults)))
    return with_faults(kept)


# --- telling -----------------------------------------------------------------------------------


def story(outcome: Outcome, about: frozenset[str] | None = None) -> list[str]:
    """The lines about the sessions and commands concerned, with the faults between them."""
    error = outcome.error
    if about is None:
        about = error.about if isinstance(error, Broken) else frozenset()
    told = [line for line in outcome.lines if not about.isdisjoint(line.about)][-MAX_LINES:]
    faults = [line for line in outcome.lines if line.fault]
    room = MAX_LINES - len(told)
    lines = sorted([*told, *(faults[-room:] if room else ())], key=lambda line: line.at)
    return [_show(line) for line in lines]


def _show(line: Line) -> str:
    return f"  {line.at - 1000.0:9.4f} {'!' if line.fault else ' '} {line.text}"


def report(case: Case) -> str:
    """Everything somebody needs who meets this failure in the morning."""
    seed = case.plan.seed
    outcome = case.run(story=True)
    small = shrink(case)
    end = small.run(story=True)
    return "\n".join(
        (
            f"seed {seed} ({case.plan.profile}): {type(outcome.error).__name__}: {outcome.error}",
            f"run it again: python -m tests.simulation --seed {seed} --story SESSION",
            "",
            f"shrunk to {len(small.plan.steps)} steps: {type(end.error).__name__}: {end.error}",
            *story(end),
            "",
            "as a case for tests/simulation/cases.py:",
            as_code(small),
        )
    )


def as_code(case: Case) -> str:
    """The case as it stands in cases.py."""
    plan = case.plan
    steps = "".join(
        f"            Step({step.at}, {step.what!r}, {step.args!r}),\n" for step in plan.steps
    )
    faults = (
        "None"
        if case.faults is None
        else "(" + "".join(f"{fault!r}, " for fault in case.faults) + ")"
    )
    return (
        f"    Case(\n        Plan({plan.seed}, {plan.profile!r}, (\n{steps}        ),"
        f" sqlite={plan.sqlite}),\n        {faults},\n    ),"
    ).replace("'", '"')
