"""Long runs of the simulation, one run in detail, and shrinking: python -m tests.simulation."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from multiprocessing import Pool

import click

from tests.simulation.fleet import run
from tests.simulation.plan import make_plan
from tests.simulation.shrink import MAX_LINES, Case, kind_of, report, story

Found = tuple[int, str | None, Counter[str]]


def _one(seed: int) -> Found:
    outcome = run(make_plan(seed))
    return seed, kind_of(outcome.error), outcome.counts


def _many(seeds: range, workers: int) -> Iterator[Found]:
    if workers == 1:
        yield from map(_one, seeds)
        return
    with Pool(workers) as pool:
        yield from pool.imap(_one, seeds, chunksize=20)


def _tell(seed: int, about: str | None) -> None:
    """One run: its story, and if it fails everything there is to know."""
    outcome = Case(make_plan(seed)).run(story=True)
    if about is not None:
        click.echo("\n".join(story(outcome, frozenset((about,)))))
    if outcome.error is None:
        click.echo(f"seed {seed} keeps every promise")
        return
    click.echo(report(Case(make_plan(seed))))
    sys.exit(1)


@click.command()
@click.option("--seeds", default=1_000, show_default=True, help="How many seeds to run.")
@click.option("--first", default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=int, help="Run this one only, and report it if it fails.")
@click.option(
    "--story",
    "about",
    metavar="SESSION",
    help=f"With --seed: what happened to this session or command (the last {MAX_LINES} lines).",
)
@click.option("--workers", default=1, show_default=True, help="Processes that run seeds.")
@click.option("--counts/--no-counts", default=True, help="Show how often what happened.")
def main(
    seeds: int, first: int, seed: int | None, about: str | None, workers: int, counts: bool
) -> None:
    """Run the simulation over many seeds; report and shrink the first that fails."""
    if seed is not None:
        _tell(seed, about)
        return
    if about is not None:
        raise click.UsageError("--story tells of one run: name it with --seed")
    total: Counter[str] = Counter()
    failed: list[tuple[int, str]] = []
    every = range(first, first + seeds)
    with click.progressbar(_many(every, workers), length=seeds, label="seeds") as results:
        for number, kind, counted in results:
            total.update(counted)
            if kind is not None:
                failed.append((number, kind))
    if counts:
        for name, count in sorted(total.items()):
            click.echo(f"{count:10} {name}")
    click.echo(f"{seeds} seeds, {len(failed)} failed: {failed[:20]}")
    if failed:
        click.echo(report(Case(make_plan(failed[0][0]))))
        sys.exit(1)


if __name__ == "__main__":
    main()
