"""Take the guards out one by one, each in a private copy of the tree, and see a test go red.

Exit status: 0 when every guard was noticed, 1 when one was not (or the tests fail as they are),
2 for wrong usage, 130 after Ctrl-C.
"""

from __future__ import annotations

import json
import queue
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scripts.mutation.guard import Guard
from scripts.mutation.guards import GUARDS
from scripts.mutation.trial import Mistaken, Result, copy_tree, run_tests, try_out

ROOT: Final = Path(__file__).resolve().parents[1]
MAX_JOBS: Final = 32
BEFORE_SECONDS: Final = 1_800.0  # for all tests as they are
INTERRUPTED: Final = 130


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--jobs", default=1, type=click.IntRange(1, MAX_JOBS), help="Trials at a time.")
@click.option("--only", metavar="TEXT", help="Guards with this in their name, file or faults.")
@click.option("--list", "only_list", is_flag=True, help="List the guards and try nothing.")
@click.option(
    "--timeout",
    default=120.0,
    metavar="SECONDS",
    type=click.FloatRange(1.0, 3600.0),
    help="For the tests of one guard.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the outcome to this file.",
)
@click.option(
    "--markdown",
    "markdown_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the table to this file.",
)
def main(
    jobs: int,
    only: str | None,
    only_list: bool,
    timeout: float,
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    guards = [guard for guard in GUARDS if only is None or _is_about(guard, only)]
    if not guards:
        raise click.UsageError(f"no guard has {only!r} in its name, file or faults; see --list")
    if only_list:
        for guard in guards:
            click.echo(f"{guard.name}  [{guard.faults}]  {guard.file}")
        return
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        results = run(guards, jobs, timeout, console)
    except Mistaken as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        console.print("interrupted")
        sys.exit(INTERRUPTED)
    if markdown_file is not None:
        markdown_file.write_text(markdown(results), encoding="utf-8")
    if json_file is not None:
        json_file.write_text(json.dumps([_plain(result) for result in results], indent=1) + "\n")
    _show(results, console)
    sys.exit(0 if all(result.judgement.good for result in results) else 1)


def _is_about(guard: Guard, text: str) -> bool:
    return any(text.lower() in field.lower() for field in (guard.name, guard.file, guard.faults))


# --- running -------------------------------------------------------------------------------------


def run(
    guards: Sequence[Guard], jobs: int, timeout: float, console: Console, root: Path = ROOT
) -> list[Result]:
    """Try them all, in the order given.

    Raises:
        Mistaken: a guard does not fit its file, or the tests fail as they are.
    """
    jobs = min(jobs, len(guards))
    stopping = threading.Event()
    with tempfile.TemporaryDirectory(prefix="mutate-") as directory, _progress(console) as bar:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(jobs):
            tree = Path(directory, str(number))
            copy_tree(root, tree)
            trees.put(tree)
        task = bar.add_task("the tests as they are", total=None)
        _must_be_green(guards, Path(directory, "0"), stopping)
        bar.update(task, description="without a guard", total=len(guards))

        def attempt(guard: Guard) -> Result:
            tree = trees.get()
            try:
                return try_out(guard, tree, timeout, stopping)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            try:
                trials = {pool.submit(attempt, guard): guard for guard in guards}
                results = {}
                for trial in as_completed(trials):
                    result = trial.result()
                    results[result.guard.name] = result
                    bar.advance(task)
                    if not result.judgement.good:
                        console.print(
                            f"[red]{result.judgement.value}[/]: {escape(result.guard.name)}"
                        )
                        console.print(result.output, style="dim", markup=False)
            except BaseException:
                stopping.set()  # those that run are ended, those that wait never begin
                pool.shutdown(cancel_futures=True)
                raise
    return [results[guard.name] for guard in guards]


def _must_be_green(guards: Sequence[Guard], tree: Path, stopping: threading.Event) -> None:
    """Run the tests of all guards once, as they are."""
    tests = dict.fromkeys(test for guard in guards for test in guard.tests.split())
    whole = {test for test in tests if "::" not in test}
    named = [test for test in tests if test in whole or test.partition("::")[0] not in whole]
    ran = run_tests(tree, named, BEFORE_SECONDS, stopping)
    if ran.status != 0:
        which = ", ".join(ran.failed + ran.broken) or f"pytest ended with {ran.status}"
        raise Mistaken(f"the tests fail with all guards in place: {which}\n{ran.output}")


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        yield bar


# --- telling -------------------------------------------------------------------------------------

HEADS: Final = ("guard", "faults", "file", "caught by", "seconds")


def _cells(result: Result) -> tuple[str, ...]:
    guard, judgement = result.guard, result.judgement
    by = result.test if judgement.good and result.test else judgement.value
    return guard.name, guard.faults, guard.file, by, f"{result.seconds:.1f}"


def markdown(results: Sequence[Result]) -> str:
    """The table for the documents."""
    lines = [f"| {' | '.join(HEADS)} |", "|---|---|---|---|---:|"]
    for result in results:
        name, faults, file, by, seconds = (cell.replace("|", "\\|") for cell in _cells(result))
        lines.append(f"| {name} | {faults} | `{file}` | `{by}` | {seconds} |")
    return "\n".join(lines) + "\n"


def _plain(result: Result) -> dict[str, Any]:
    guard = result.guard
    return {
        "guard": guard.name,
        "faults": guard.faults,
        "file": guard.file,
        "judgement": result.judgement.name.lower(),
        "test": result.test,
        "seconds": round(result.seconds, 2),
    }


def _show(results: Sequence[Result], console: Console) -> None:
    table = Table(*HEADS)
    for result in results:
        cells = map(escape, _cells(result))  # ids of tests hold brackets
        table.add_row(*cells, style=None if result.judgement.good else "red")
    console.print(table)
    missed = [result.guard.name for result in results if not result.judgement.good]
    console.print(f"{len(results) - len(missed)} of {len(results)} guards were noticed missing")
    for name in missed:
        console.print(f"not noticed: {name}", style="red", markup=False)


if __name__ == "__main__":
    main()
