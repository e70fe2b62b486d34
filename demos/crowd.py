"""``python -m demos.crowd``: a crowd of plausible live sessions, to look at and to kill."""

from __future__ import annotations

import json
import math
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import IO, Final

import click

from demos.crowd_plan import APPS, shares
from sessionclient import Misuse, __version__
from sessionclient.address import DEFAULT_URL, check_url

MAX_SESSIONS: Final = 40_000
MAX_PER_PROCESS: Final = 10_000  # as many as the client keeps
MAX_PROCESSES: Final = 64
MAX_NAME: Final = 255  # characters of an app's name
TELL_EVERY: Final = 10.0  # seconds between two status lines
FIRST_TELL: Final = 3.0  # seconds until the first one
STOP_TIME: Final = 10.0  # seconds the processes have to end; they need about one
MAX_MINUTES: Final = 100_000.0


def _server(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return check_url(value)
    except Misuse as error:
        raise click.BadParameter(str(error)) from error


def _apps(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    if not names:
        raise click.BadParameter("give at least one app name")
    if any(len(name) > MAX_NAME for name in names):
        raise click.BadParameter(f"an app name has at most {MAX_NAME} characters")
    return names


def _minutes(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    if math.isnan(value):  # compares as within any range
        raise click.BadParameter("nan is not a number")
    return value


@click.command(
    context_settings={"auto_envvar_prefix": "PANELBUS", "show_default": True},
    help="Play a crowd of users: sessions that come and go, work, fail now and then, and can be"
    " killed. Every option can also be set as PANELBUS_<OPTION>.",
)
@click.option(
    "--server",
    envvar=["PANELBUS_SERVER", "PANELBUS_URL"],
    default=DEFAULT_URL,
    callback=_server,
    help="The broker's address.",
)
@click.option(
    "--sessions",
    default=200,
    type=click.IntRange(1, MAX_SESSIONS),
    help="About so many sessions are alive at any time.",
)
@click.option(
    "--processes",
    default=4,
    type=click.IntRange(1, MAX_PROCESSES),
    help=f"Processes that hold them, at most {MAX_PER_PROCESS:,} sessions each.",
)
@click.option(
    "--apps", default=",".join(APPS), callback=_apps, help="App names, with commas between."
)
@click.option(
    "--seed", type=int, help="The same seed plays the same crowd.", show_default="a new one"
)
@click.option(
    "--minutes",
    default=0.0,
    type=click.FloatRange(0.0, MAX_MINUTES),
    callback=_minutes,
    help="Minutes until it ends by itself; 0 is never.",
)
@click.version_option(__version__, prog_name="panelbus crowd", allow_from_autoenv=False)
def main(
    server: str, sessions: int, processes: int, apps: list[str], seed: int | None, minutes: float
) -> None:
    processes = min(processes, sessions)
    if sessions > processes * MAX_PER_PROCESS:
        raise click.UsageError(
            f"{processes} processes hold at most {processes * MAX_PER_PROCESS:,} sessions;"
            " give more --processes"
        )
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    parent = Parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: parent.stop())
    try:
        for index, size in enumerate(shares(sessions, processes)):
            parent.start([server, str(size), f"{seed}/{index}", *apps])
        tell(
            f"{sessions} sessions in {processes} processes at {server}, seed {seed};"
            f" Ctrl-C or kill {os.getpid()} stops them"
        )
        status = parent.watch(sessions, math.inf if minutes == 0 else minutes * 60)
    finally:
        parent.end()
    sys.exit(status)


class Parent:
    """The members' processes, and what each has told last."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []
        self._states: dict[int, dict[str, int]] = {}
        # of processes that have ended, by number; None: stop
        self._inbox: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def stop(self) -> None:
        """May be called in a signal handler."""
        self._inbox.put(None)

    def start(self, arguments: list[str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "demos.crowd_member", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends all in order
        )
        number = len(self._processes)
        self._processes.append(process)
        reader = threading.Thread(target=self._read, args=(number, process.stdout), daemon=True)
        self._readers.append(reader)
        reader.start()

    def _read(self, number: int, lines: IO[str]) -> None:
        for line in lines:
            self._states[number] = json.loads(line)
        self._inbox.put(number)

    def watch(self, wanted: int, seconds: float) -> int:
        """Print a line now and then until it is time to stop; returns the exit status."""
        started = time.monotonic()
        tell_at = started + FIRST_TELL
        while (left := started + seconds - time.monotonic()) > 0:
            try:
                number = self._inbox.get(timeout=max(0.0, min(left, tell_at - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= tell_at:
                    tell(status_line(list(self._states.values()), wanted))
                    tell_at = time.monotonic() + TELL_EVERY
                continue
            if number is None:
                return 0
            status = self._processes[number].wait()
            tell(f"process {number + 1} has ended with status {status}; stopping the others")
            return 1
        return 0

    def end(self) -> None:
        """Let every process end its sessions; one that does not is killed."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # being stopped already
        tell("stopping ...")
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        deadline = time.monotonic() + STOP_TIME
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                tell(f"process {process.pid} did not end in time and is killed")
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.join()  # its pipe is closed with its process
        for process in self._processes:
            if process.stdout is not None:
                process.stdout.close()


def status_line(states: list[dict[str, int]], wanted: int) -> str:
    """All processes in one line."""
    total: Counter[str] = Counter()
    for state in states:
        total.update(state)
    line = (
        f"{total['sessions']} of {wanted} sessions, {total['running']} working;"
        f" so far {total['arrived']} came, {total['tasks']} tasks done, {total['failed']} failed,"
        f" {total['killed']} killed"
    )
    missing = total["sessions"] - total["online"]
    return line if missing == 0 else f"{line}; the broker does not have {missing} of them yet"


def tell(text: str) -> None:
    click.echo(f"crowd: {text}", err=True)


if __name__ == "__main__":
    main(prog_name="python -m demos.crowd")
