"""The processes of the benchmark: a broker as it is released, and parts of our own beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import psutil

from scripts.ports import free_ports, listens
from sessionclient import Operator

TIMEOUT: Final = 120.0  # seconds for whatever should have happened long before
STOP_TIMEOUT: Final = 20.0  # seconds a process has to end by itself
OWN_PREFIX: Final = "PANELBUS_"  # what the user has set for a broker of theirs is not for this one
POLL: Final = 0.01  # seconds between two looks at something that is waited for


class Running:
    """A process that was started for a measure, and what it costs."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self.popen, self.name = process, name
        self.watched = psutil.Process(process.pid)

    def cpu(self) -> float:
        """Seconds of a core it has used so far, its children aside."""
        if sys.platform == "linux":
            # To the nanosecond, where cpu_times counts hundredths of a second, which some measures
            # don't last: the number of that process's CPU clock, as clock_getcpuclockid makes it.
            return time.clock_gettime((~self.popen.pid << 3) | 2)
        times = self.watched.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        """Resident bytes, its children aside."""
        return int(self.watched.memory_info().rss)

    def tell(self, **message: Any) -> None:
        """One line of JSON to its stdin; raises ClickException when it has ended."""
        if self.popen.stdin is None:
            raise RuntimeError(f"{self.name} has no stdin")
        try:
            self.popen.stdin.write(json.dumps(message) + "\n")
            self.popen.stdin.flush()
        except BrokenPipeError as error:
            raise self._has_ended() from error

    def hear(self) -> dict[str, Any]:
        """The next line of JSON from its stdout; raises ClickException when it has ended."""
        if self.popen.stdout is None:
            raise RuntimeError(f"{self.name} has no stdout")
        line = self.popen.stdout.readline()
        if not line:
            raise self._has_ended()
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, **message: Any) -> dict[str, Any]:
        """`tell`, then `hear`."""
        self.tell(**message)
        return self.hear()

    def _has_ended(self) -> click.ClickException:
        return click.ClickException(f"{self.name} ended with status {self.popen.wait()}")


@contextmanager
def process(module: str, *arguments: object, name: str | None = None) -> Iterator[Running]:
    """``python -m module arguments``; ended by closing its stdin, and killed if that is not enough.

    It speaks lines of JSON over stdin and stdout; see `Running.ask` and `serve`.
    """
    with subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then ends all
        env=environment(),
    ) as popen:
        try:
            yield Running(popen, name or module)
        finally:
            if popen.stdin is not None:
                with suppress(BrokenPipeError):  # it has ended, with something unread
                    popen.stdin.close()
            end(popen)


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The other side of `Running.ask`: answer lines of JSON until stdin ends."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(OWN_PREFIX)}


def end(popen: subprocess.Popen[str]) -> None:
    """Wait until it has ended, as it was told to; kill it after `STOP_TIMEOUT`."""
    try:
        popen.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


@dataclass
class Broker:
    """A broker with its defaults: synchronous=FULL, feed and gateway on."""

    running: Running
    bus: str
    feed: str
    http: str  # host:port of the gateway
    database: Path


@contextmanager
def broker(
    directory: Path, *options: str, bus: str | None = None, wait: bool = True
) -> Iterator[Broker]:
    """A broker of its own that serves, with its files in ``directory``; ended with SIGTERM.

    Without ``wait`` it has only just been started; see `await_broker`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    ports = free_ports(3)
    bus, feed = bus or f"tcp://127.0.0.1:{ports[0]}", f"tcp://127.0.0.1:{ports[1]}"
    http, database = f"127.0.0.1:{ports[2]}", directory / "sessions.db"
    command = [sys.executable, "-m", "broker", "--bus", bus, "--feed", feed, "--http", http]
    command += ["--db", str(database), "--log-level", "warning", *options]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, text=True, start_new_session=True, env=environment()
    ) as popen:
        try:
            made = Broker(Running(popen, "the broker"), bus, feed, http, database)
            if wait:
                await_broker(made, gateway="--no-gateway" not in options)
            yield made
        finally:
            popen.terminate()
            end(popen)


def await_broker(made: Broker, *, gateway: bool = True) -> None:
    """Until it answers, and its gateway too; raises ClickException when it has ended."""
    popen = made.running.popen
    with Operator(made.bus, timeout=TIMEOUT) as operator:
        operator.stats()
    if gateway:
        port = int(made.http.rpartition(":")[2])
        wait_for(lambda: popen.poll() is not None or listens(port), "the gateway listens")
    if popen.poll() is not None:
        raise click.ClickException(f"the broker ended with status {popen.returncode}")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Look until it is so; raises ClickException after `TIMEOUT`."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise click.ClickException(f"not within {TIMEOUT:g} s: {what}")
        time.sleep(POLL)


def wait_for_sessions(bus: str, count: int) -> None:
    """Until the broker has ``count`` sessions or more."""
    with Operator(bus, timeout=TIMEOUT) as operator:
        wait_for(
            lambda: operator.list_sessions(limit=1).total >= count, f"{count} sessions are there"
        )
