"""Real processes under faults: a broker with its gateway, apps and operators at work, while parts
of it are killed, frozen, restarted and cut off at random. At the end all that was promised is held
against what was written down meanwhile.

Exit status: 0 when nothing was lost, doubled or missing, 1 when something was, 2 for wrong usage,
130 after Ctrl-C. The same seed gives the same faults in the same order; what they meet differs.
Everything talks over this machine's loopback and ends by itself.
"""

from __future__ import annotations

import json
import secrets
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scripts.faults.run import Options, Outcome, Run

MAX_FAULTS: Final = 100_000
MAX_APPS: Final = 32
MAX_SESSIONS: Final = 2_000  # of each app
MAX_MINUTES: Final = 100_000.0
INTERRUPTED: Final = 130
STOPS: Final = (signal.SIGINT, signal.SIGTERM)


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--faults", default=100, type=click.IntRange(1, MAX_FAULTS), help="How many.")
@click.option("--seed", type=click.IntRange(0), help="Of the faults.", show_default="a new one")
@click.option("--apps", default=4, type=click.IntRange(1, MAX_APPS), help="App processes.")
@click.option(
    "--sessions", default=50, type=click.IntRange(1, MAX_SESSIONS), help="Live ones of each app."
)
@click.option(
    "--minutes",
    default=60.0,
    type=click.FloatRange(0.0, MAX_MINUTES, min_open=True),
    help="Minutes after which no more faults begin.",
)
@click.option("--monitor", is_flag=True, help="Run, kill and freeze the monitor as well.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the outcome to this file, too.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the database, the logs and all records in this new or empty directory.",
)
def main(
    faults: int,
    seed: int | None,
    apps: int,
    sessions: int,
    minutes: float,
    monitor: bool,
    json_file: Path | None,
    keep: Path | None,
) -> None:
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    console = Console(stderr=True)
    for number in STOPS:
        signal.signal(number, _interrupt)
    with _directory(keep) as directory:
        options = Options(seed, faults, apps, sessions, minutes, monitor, directory)
        try:
            outcome = _play(options, console)
        except KeyboardInterrupt:
            console.print(f"interrupted; the seed was {seed}", highlight=False)
            sys.exit(INTERRUPTED)
    _print(outcome, seed)
    if json_file is not None:
        json_file.write_text(json.dumps(_as_json(outcome, options), indent=2) + "\n")
    for text in outcome.verdict.violations:
        click.echo(f"violated: {text}", err=True)
    if outcome.verdict.violations:
        click.echo(f"to see it again: --seed {seed} --faults {faults} --keep DIRECTORY", err=True)
        sys.exit(1)


def _interrupt(*_: object) -> None:
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)  # once is enough: everything is being ended
    raise KeyboardInterrupt


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="panelbus-chaos-") as directory:
            yield Path(directory)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise click.UsageError(f"--keep {keep} is not empty; give a new directory")
    except OSError as error:
        raise click.UsageError(f"--keep {keep} can't be used: {error.strerror}") from error
    yield keep


def _play(options: Options, console: Console) -> Outcome:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
    )
    console.print(f"seed {options.seed}, {options.faults} faults", highlight=False)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=options.faults, now="")

        def tell(now: str, done: int) -> None:
            progress.update(task, completed=done, now=now)

        with Run(options, tell) as run:
            return run.play()


# --- the outcome -----------------------------------------------------------------------------


def _figures(outcome: Outcome) -> dict[str, str]:
    """The table's second part, in words."""
    verdict, times = outcome.verdict, outcome.reattach
    figures = {name: f"{count:,}" for name, count in verdict.counts.items()}
    figures["kills without an answer"] = f"{outcome.unanswered:,}"
    if verdict.slowest is not None:
        figures["slowest delivery of a kill"] = f"{verdict.slowest:.1f} s"
    if times:
        figures["apps re-attached after a restart"] = f"{len(times):,} times"
        figures["re-attach time, median"] = f"{statistics.median(times):.2f} s"
        figures["re-attach time, worst"] = f"{max(times):.2f} s"
    figures["times all had to be true again"] = f"{len(outcome.settled):,}"
    if outcome.settled:
        figures["until it was, worst"] = f"{max(outcome.settled):.1f} s"
    return figures


def _print(outcome: Outcome, seed: int) -> None:
    table = Table(box=MARKDOWN)
    table.add_column(f"seed {seed}")
    table.add_column("", justify="right")
    for kind, count in sorted(outcome.injected.items()):
        table.add_row(kind, f"{count:,}")
    table.add_row("faults", f"{sum(outcome.injected.values()):,}")
    for name, figure in _figures(outcome).items():
        table.add_row(name, figure)
    Console(width=max(80, Console().width)).print(table)


def _as_json(outcome: Outcome, options: Options) -> dict[str, Any]:
    verdict = outcome.verdict
    return {
        "seed": options.seed,
        "apps": options.apps,
        "sessions": options.sessions,
        "faults": outcome.injected,
        "counts": verdict.counts,
        "violations": verdict.violations,
        "unanswered": outcome.unanswered,
        "slowest_delivery_seconds": verdict.slowest,
        "reattach_seconds": outcome.reattach,
        "settled_seconds": outcome.settled,
    }


if __name__ == "__main__":
    main()
