"""Hold thousands of sessions that come and go for an hour, and see that nothing grows.

Starts a broker with its gateway and monitor, app processes and an operator of its own, and samples
memory, threads, open descriptors, the database's size and the broker's queues. After a warm-up (the
first third) each of them must grow by less than 10 % of its level, or a small amount that goes with
its kind, over the length of the run. Exits with 0 if all do, 1 if not. Nothing of it is left
behind, unless --keep names a directory.
"""

from __future__ import annotations

import math
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import psutil
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from scripts import levels
from scripts.soak_samples import Row, Samples
from scripts.soak_stage import Stage

# A system's /tmp may be memory, and it is a disk that is to be tried.
DISK: Final = Path("/var/tmp")
MEGABYTE: Final = 1e6  # bytes
TELL_EVERY: Final = 60.0  # seconds between two lines where there is no terminal
MAX_PER_APP: Final = 10_000  # sessions, as many as the client keeps
TABLE_WIDTH: Final = 120  # characters, where there is no terminal


def _number(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    for number in value if isinstance(value, tuple) else (value,):
        if math.isnan(number):  # compares as within any range
            raise click.BadParameter("nan is not a number", param=parameter)
    return value


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option(
    "--minutes",
    default=60.0,
    type=click.FloatRange(0.05, 10_080),
    callback=_number,
    help="Minutes it is sampled, from when all sessions are there.",
)
@click.option(
    "--sessions", default=10_000, type=click.IntRange(1, 640_000), help="Sessions live at any time."
)
@click.option(
    "--apps", default=10, type=click.IntRange(1, 64), help="App processes that hold them."
)
@click.option(
    "--life",
    nargs=2,
    default=(30.0, 120.0),
    type=click.FloatRange(0.1, 86_400),
    callback=_number,
    metavar="SHORTEST LONGEST",
    help="Seconds a session lives.",
)
@click.option(
    "--kills",
    default=60.0,
    type=click.FloatRange(0, 6_000),
    callback=_number,
    help="Kills a minute, half over the bus and half over REST.",
)
@click.option(
    "--every",
    default=10.0,
    type=click.FloatRange(0.1, 3_600),
    callback=_number,
    help="Seconds between two samples.",
)
@click.option("--monitor/--no-monitor", default=True, help="Run the live monitor, too.")
@click.option("--seed", default=1, help="The same seed plays the same users.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the database and the logs, which are then kept; must not hold them yet.",
    show_default="one under /var/tmp that is removed",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="File for samples."
)
@click.option(
    "--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="File for samples."
)
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the chart, light and dark; needs matplotlib.",
)
def main(
    json_file: Path | None, csv_file: Path | None, pictures: Path | None, **options: Any
) -> None:
    check(options)
    samples = Samples({k: v for k, v in options.items() if k != "keep"})

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell starts what it puts into the background with that one ignored
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    whole = True
    with directory(options["keep"]) as place:
        try:
            play(place, samples, options)
        except KeyboardInterrupt:
            whole = False
            click.echo("stopping ...", err=True)
        finally:
            samples.drop_half()
            if samples.at:
                save(samples, json_file, csv_file, pictures)
    if len(samples.at) < levels.MIN_SAMPLES:
        raise click.ClickException("stopped before there was anything to judge")
    rows = samples.verdict()
    tell(samples, rows)
    if not whole:
        raise click.ClickException("stopped before the end, so nothing is proved")
    sys.exit(0 if all(row.off for row in rows) else 1)


def check(options: dict[str, Any]) -> None:
    """Raises UsageError for what does not go together."""
    if options["sessions"] < options["apps"]:
        raise click.UsageError("there must be at least as many --sessions as --apps")
    if options["sessions"] > options["apps"] * MAX_PER_APP:
        raise click.UsageError(
            f"{options['apps']} apps hold at most {options['apps'] * MAX_PER_APP:,} sessions; give"
            " more --apps"
        )
    if options["life"][0] > options["life"][1]:
        raise click.UsageError("--life wants the shortest life first")
    if options["minutes"] * 60 < options["every"] * levels.MIN_SAMPLES:
        raise click.UsageError(
            f"--minutes must be long enough for {levels.MIN_SAMPLES} samples, one --every"
            f" {options['every']:g} seconds"
        )
    keep: Path | None = options["keep"]
    if keep is not None and (keep / "sessions.db").exists():
        raise click.UsageError(f"--keep {keep} holds a sessions.db already; choose another")


@contextmanager
def directory(keep: Path | None) -> Iterator[Path]:
    """Where the database and the logs are."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(
        prefix="panelbus-soak-", dir=DISK if DISK.is_dir() else None
    ) as made:
        yield Path(made)


def play(place: Path, samples: Samples, options: dict[str, Any]) -> None:
    """Start everything, sample it for its time, end everything."""
    stage = Stage(place)
    try:
        click.echo("starting the broker and its children ...", err=True)
        stage.start_broker(monitor=options["monitor"])
        click.echo(f"starting {options['sessions']:,} sessions ...", err=True)
        stage.start_apps(options["apps"], options["sessions"], options["life"], options["seed"])
        stage.start_operator(options["kills"], options["seed"])
        watch(stage, samples, options["minutes"] * 60, options["every"])
    finally:
        click.echo("ending all parts ...", err=True)
        stage.stop()


def watch(stage: Stage, samples: Samples, seconds: float, every: float) -> None:
    """Sample all parts for so many seconds."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("soaking"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[news]}"),
        console=console,
        disable=not console.is_terminal,
    )
    started, told = time.monotonic(), -math.inf
    with progress:
        bar = progress.add_task("soaking", total=seconds, news="")
        for number in range(int(seconds / every) + 1):
            time.sleep(max(0.0, started + number * every - time.monotonic()))
            now = time.monotonic() - started
            take(stage, samples, now)
            progress.update(bar, completed=now, news=news(samples))
            if progress.disable and now - told >= TELL_EVERY:
                click.echo(f"{now / 60:6.1f} of {seconds / 60:g} min: {news(samples)}", err=True)
                told = now


def take(stage: Stage, samples: Samples, now: float) -> None:
    """One sample of everything.

    Raises:
        ClickException: a part has ended.
    """
    stage.check()
    stats: dict[str, Any] = stage.stats()
    samples.at.append(round(now, 2))
    try:
        for name, process in stage.processes.items():
            with process.oneshot():
                group = "apps" if name.startswith("app ") else None
                memory = round(process.memory_info().rss / MEGABYTE, 2)
                samples.add(name, levels.MEMORY, memory, group)
                samples.add(name, levels.THREADS, process.num_threads(), group)
                samples.add(name, levels.DESCRIPTORS, process.num_fds(), group)
                cpu = process.cpu_times()
                samples.spent(name, cpu.user + cpu.system)
    except psutil.NoSuchProcess:
        stage.check()
        raise
    for file in (stage.database, stage.database.with_name(f"{stage.database.name}-wal")):
        size = file.stat().st_size if file.exists() else 0
        samples.add(file.name, levels.DATABASE, round(size / MEGABYTE, 2))
    samples.add("broker", levels.SESSIONS, sum(count for _, _, count in stats["sessions"]))
    for queue, waiting in stats["queues"].items():
        samples.add(f"queue {queue}", levels.QUEUE, waiting)
    samples.count(stats["messages"], stats["kills"])


def news(samples: Samples) -> str:
    """The newest sample in a few words."""
    sessions = samples.series["broker", levels.SESSIONS.name].values[-1]
    memory = samples.series["broker", levels.MEMORY.name].values[-1]
    return f"{sessions:,.0f} sessions, broker {memory:.0f} MB"


def save(
    samples: Samples, json_file: Path | None, csv_file: Path | None, pictures: Path | None
) -> None:
    if json_file is not None:
        samples.save(json_file)
    if csv_file is not None:
        samples.save_csv(csv_file)
    if pictures is not None:
        from scripts.soak_chart import draw_both  # matplotlib is heavy, and not always there

        draw_both(samples, pictures)


def tell(samples: Samples, rows: list[Row]) -> None:
    """The verdict, as a table that can also go into a document."""
    table = Table(box=box.MARKDOWN)
    table.add_column("what", no_wrap=True)
    for title in ("at the start", "after warm-up", "at the end", "slope an hour", "may grow by"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for row in rows:
        unit, level = row.kind.unit, row.level
        numbers = (level.start, level.warm, level.end, level.per_hour, level.allowed)
        cells = [f"{value:+,.2f}" if i == 3 else f"{value:,.1f}" for i, value in enumerate(numbers)]
        what = f"{row.name}: {row.kind.name}" + (f" ({unit})" if unit else "")
        table.add_row(what, *cells, "level" if row.off else "GROWS")
    console = Console()
    (console if console.is_terminal else Console(width=TABLE_WIDTH)).print(table)
    click.echo(samples.summary())


if __name__ == "__main__":
    main()
