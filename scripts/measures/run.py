"""Carry groups of measures out: warm up, then round after round, each measure in its turn."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import psutil
import zmq
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from scripts.measures.figures import Group, Measure, Round, Scale, Setting
from scripts.measures.machine import describe
from scripts.measures.results import Point, Results
from sessionclient import PanelbusError

# what may go wrong with processes, sockets, files and what they say; a slip of ours is a traceback
FAILURES: Final = (
    click.ClickException,
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    PanelbusError,
    psutil.Error,
    sqlite3.Error,
    subprocess.SubprocessError,
    zmq.ZMQError,
)

Tell = Callable[[str, int], None]  # what goes on, and how many rounds of measures are over


# measures how figures grow with the sessions; tells where it is
Grow = Callable[[Setting, Callable[[str], None]], Sequence[Point]]


class Failed(click.ClickException):
    """A measure could not be carried out; the text names it."""


@dataclass(slots=True)
class _Run:
    """One run under way."""

    scale: Scale
    directory: Path
    tell: Tell
    results: Results
    done: int = 0  # rounds of measures
    doing: str = field(default="the benchmark")  # the measure that is at work

    def group(self, group: Group) -> None:
        chosen = [measure for measure in group.measures if self._can_run(measure)]
        with ExitStack() as stack:
            running = [
                (measure, stack.enter_context(self._started(group, measure))) for measure in chosen
            ]
            for _ in range(self.scale.warm_up if group.rounds is None else 0):
                for measure, play in running:
                    self._begin(group, measure)
                    play()
                    self.done += 1
            for _ in range(group.rounds or self.scale.rounds):
                for measure, play in running:
                    self._begin(group, measure)
                    self.results.add(measure.figures, play())
                    self.done += 1

    def _can_run(self, measure: Measure) -> bool:
        why = measure.available()
        if why is not None:
            self.results.left_out[measure.name] = why
        return why is None

    @contextmanager
    def _started(self, group: Group, measure: Measure) -> Iterator[Round]:
        self._begin(group, measure)
        directory = self.directory / measure.name.replace(" ", "-")
        directory.mkdir()
        with measure.start(Setting(self.scale, directory)) as play:
            yield play

    def _begin(self, group: Group, measure: Measure) -> None:
        self.doing = measure.name
        self.tell(f"{group.name}: {measure.name}", self.done)

    def growth(self, grow: Grow) -> None:
        self.doing = "growth"
        directory = self.directory / "growth"
        directory.mkdir()
        self.results.growth = list(
            grow(
                Setting(self.scale, directory), lambda text: self.tell(f"growth: {text}", self.done)
            )
        )


def run(
    groups: Sequence[Group], scale: Scale, directory: Path, tell: Tell, grow: Grow | None = None
) -> Results:
    """Measure all of them, one group after the other.

    Raises:
        Failed: a measure could not be carried out. All that was started for it has been ended.
    """
    run = _Run(scale, directory, tell, Results(scale.quick, describe(directory)))
    try:
        for group in groups:
            run.group(group)
        if grow is not None:
            run.growth(grow)
    except FAILURES as error:
        raise Failed(f"{run.doing}: {_said(error)}") from error
    return run.results


def _said(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    return f"{type(error).__name__}: {error}"


def steps(groups: Sequence[Group], scale: Scale) -> int:
    """How many rounds of measures a run has, those that warm up included."""
    return sum(
        (group.rounds or scale.rounds + scale.warm_up)
        * sum(measure.available() is None for measure in group.measures)
        for group in groups
    )


@contextmanager
def showing(console: Console, total: int) -> Iterator[Tell]:
    """A progress bar while the block runs; without a terminal, a line for each thing that goes
    on."""
    told: set[str] = set()
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task("starting", total=total)

        def tell(text: str, done: int) -> None:
            progress.update(bar, completed=done, description=text)
            if progress.disable and text not in told:
                told.add(text)
                click.echo(text, err=True)

        yield tell
