"""How long a kill takes: from an operator's call to the start of the app's callback.

Starts a broker and an app process of its own with many sessions, kills some of them one after the
other, and prints the median and the spread. Everything talks over this machine's loopback and ends
by itself.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.progress import track

from sessionclient import Operator, SessionClient

READY_TIMEOUT: Final = 60.0  # seconds for the broker to start and to have all sessions
PAUSE: Final = 0.02  # seconds between two kills, so that each is measured alone


@click.command(help=__doc__)
@click.option("--sessions", default=10_000, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--kills", default=200, show_default=True, type=click.IntRange(2, 10_000))
@click.option("--app-at", hidden=True, help="Be the app of this broker.")
def main(sessions: int, kills: int, app_at: str | None) -> None:
    if app_at is not None:
        be_the_app(app_at, sessions)
        return
    if kills > sessions:
        raise click.UsageError("there must be as many --sessions as --kills")
    with (
        tempfile.TemporaryDirectory() as directory,
        broker(Path(directory)) as bus,
        app(bus, sessions) as process,
        Operator(bus, timeout=READY_TIMEOUT) as operator,
    ):
        wait_for(operator, sessions)
        taken = [measure(operator, process, sid) for sid in to_kill(operator, kills)]
    report(taken, sessions)


def be_the_app(bus: str, sessions: int) -> None:
    """Hold the sessions and tell when the callback of one has started, until stdin ends."""
    for _ in range(sessions):
        tracker = SessionClient("bench", server_url=bus)

        def killed(session_id: str = tracker.session_id) -> None:
            print(time.monotonic(), session_id, flush=True)

        tracker.on_kill(killed)
    sys.stdin.read()


@contextmanager
def broker(directory: Path) -> Iterator[str]:
    """A broker with its defaults, gateway aside; its bus address."""
    bus, feed = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    command = [sys.executable, "-m", "broker", "--bus", bus, "--feed", feed, "--no-gateway"]
    command += ["--db", str(directory / "sessions.db"), "--log-level", "warning"]
    process = subprocess.Popen(command)
    try:
        yield bus
    finally:
        process.terminate()
        process.wait()


@contextmanager
def app(bus: str, sessions: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, "--app-at", bus, "--sessions", str(sessions)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(operator: Operator, sessions: int) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while (total := operator.list_sessions(limit=1).total) < sessions:
        if time.monotonic() > deadline:
            raise click.ClickException(f"only {total} of {sessions} sessions are registered")
        time.sleep(0.1)


def to_kill(operator: Operator, kills: int) -> Iterator[str]:
    """Ids from everywhere in the list."""
    found = [row["session_id"] for row in operator.get_all_sessions("bench")]
    chosen = found[:: len(found) // kills][:kills]
    yield from track(chosen, description="Killing", transient=True)


def measure(operator: Operator, process: subprocess.Popen[str], session_id: str) -> float:
    """Seconds from the call to the callback. Both clocks are this machine's monotonic one."""
    time.sleep(PAUSE)
    called = time.monotonic()
    operator.request_kill(session_id, "measured")
    if process.stdout is None:
        raise RuntimeError("the app has no stdout")
    started, killed = process.stdout.readline().split()
    if killed != session_id:
        raise click.ClickException(f"killed {session_id}, but {killed} was")
    return float(started) - called


def report(taken: list[float], sessions: int) -> None:
    cuts = statistics.quantiles(taken, n=100)
    click.echo(f"{len(taken)} kills, one broker with {sessions:,} sessions, commits included")
    for name, seconds in (
        ("median", statistics.median(taken)),
        ("p95", cuts[94]),
        ("p99", cuts[98]),
        ("slowest", max(taken)),
    ):
        click.echo(f"  {name:<8} {seconds * 1000:7.2f} ms")


if __name__ == "__main__":
    main()
