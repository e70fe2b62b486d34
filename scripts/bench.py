"""Measure how fast Panelbus is, beside what the machine and others can do in the same minutes.

Starts brokers, apps and whatever else is measured on this machine's loopback, one group after the
other; rounds of a group take turns, so that what disturbs one disturbs all. Prints what must be
reached and what is aimed at, then every figure. Everything ends by itself, and nothing is left.

Exit status: 0 when all that must be reached was, or with --quick, which is too short to judge; 1
when something was missed or could not be measured to its end; 2 for wrong usage; 130 after Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click
import psutil
from rich.console import Console

from scripts.measures import catalogue, report
from scripts.measures.figures import QUICK, WHOLE, Scale
from scripts.measures.goals import judge_all
from scripts.measures.results import NotResults, Results, load
from scripts.measures.run import run, showing, steps
from scripts.measures.stage import OWN_PREFIX

# A system's /tmp may be memory, and it is a disk whose commits are measured.
DISK: Final = Path("/var/tmp")
TABLE_WIDTH: Final = 140  # characters, where there is no terminal
INTERRUPTED: Final = 130
STRAYS_TIMEOUT: Final = 5.0  # seconds
STOPS: Final = (signal.SIGINT, signal.SIGTERM)


def _target(_context: click.Context, parameter: click.Parameter, value: Path | None) -> Any:
    """A file that can be written in the end; to learn otherwise then would cost the whole run."""
    if value is not None and not os.access(value if value.exists() else value.parent, os.W_OK):
        raise click.BadParameter(f"{value} can't be written", param=parameter)
    return value


def _before(_context: click.Context, parameter: click.Parameter, value: Path | None) -> Any:
    try:
        return None if value is None else load(value)
    except NotResults as error:
        raise click.BadParameter(str(error), param=parameter) from error


FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.option(
    "--quick",
    is_flag=True,
    help="The same parts, but small: in under two minutes, whether they work.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(catalogue.names()),
    help="Measure this group and no other; may be repeated.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1_000),
    show_default=f"{WHOLE.rounds}, with --quick {QUICK.rounds}",
    help="Rounds of each group, unless it has a number of its own.",
)
@click.option(
    "--json", "json_file", type=FILE, callback=_target, help="Write the results to this file, too."
)
@click.option(
    "--compare",
    "before",
    type=FILE,
    callback=_before,
    metavar="FILE",
    help="Hold the results against those that --json wrote before.",
)
@click.option(
    "--markdown",
    "markdown_file",
    type=FILE,
    callback=_target,
    help="Write the tables to this file, as Markdown.",
)
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw the growth into this directory, light and dark.",
)
@click.option("--list", "listing", is_flag=True, help="Say what is measured, and measure nothing.")
def main(
    quick: bool,
    only: tuple[str, ...],
    rounds: int | None,
    json_file: Path | None,
    before: Results | None,
    markdown_file: Path | None,
    pictures: Path | None,
    listing: bool,
) -> None:
    if listing:
        tell_all()
        return
    if pictures is not None and only and catalogue.GROWTH not in only:
        raise click.UsageError(f"--pictures needs --only {catalogue.GROWTH}, or no --only at all")
    scale = QUICK if quick else WHOLE
    if rounds is not None:
        scale = dataclasses.replace(scale, rounds=rounds)
    results = measure(scale, only)
    if json_file is not None:
        results.save(json_file)
    if markdown_file is not None:
        markdown_file.write_text(report.markdown(results, before))
    if pictures is not None:
        # only now, because it loads what draws, which takes its time
        from scripts.measures.growth_chart import draw_both

        draw_both(results.growth, pictures)
    console = Console()
    report.show(results, console if console.is_terminal else Console(width=TABLE_WIDTH), before)
    missed = any(verdict.word == "missed" for verdict in judge_all(results))
    sys.exit(1 if missed and not quick else 0)


def measure(scale: Scale, only: tuple[str, ...]) -> Results:
    """The groups with these names, or all."""
    for name in [name for name in os.environ if name.startswith(OWN_PREFIX)]:
        del os.environ[name]  # what the user has set for a broker of theirs is not for ours
    for number in STOPS:
        signal.signal(number, _interrupt)
    groups = [group for group in catalogue.GROUPS if not only or group.name in only]
    grow = catalogue.GROW if not only or catalogue.GROWTH in only else None
    console = Console(stderr=True)
    try:
        with (
            tempfile.TemporaryDirectory(
                prefix="panelbus-bench-", dir=DISK if DISK.is_dir() else None
            ) as directory,
            showing(console, steps(groups, scale)) as tell,
        ):
            return run(groups, scale, Path(directory), tell, grow)
    except KeyboardInterrupt:
        _end_strays()
        click.echo("interrupted; all parts have been ended", err=True)
        sys.exit(INTERRUPTED)


def _end_strays() -> None:
    """A process that is just being started when a signal comes is left to nobody."""
    strays = psutil.Process().children(recursive=True)
    for stray in strays:
        with suppress(psutil.NoSuchProcess):
            stray.kill()
    psutil.wait_procs(strays, timeout=STRAYS_TIMEOUT)


def _interrupt(*_: object) -> None:
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)  # once is enough: everything is being ended
    raise KeyboardInterrupt


def tell_all() -> None:
    """All groups with their figures, and what can't be measured here."""
    for group in catalogue.GROUPS:
        click.echo(group.name)
        for one in group.measures:
            why = one.available()
            click.echo(f"  {one.name}" + (f" (not here: {why})" if why is not None else ""))
            for figure in one.figures:
                click.echo(f"    {figure.key:<24} {figure.what}")
    if catalogue.GROW is not None:
        click.echo(catalogue.GROWTH)


if __name__ == "__main__":
    main()
