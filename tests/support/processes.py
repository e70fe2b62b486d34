"""Real broker processes for tests: started on free ports, waited for, and always ended by pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 60.0  # seconds; generous, for a busy machine
PATIENCE = 60.0  # seconds until what should have come at once has not; generous for the same reason


def free_port() -> int:
    """A TCP port of 127.0.0.1 nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    """Wait until ``condition`` is true; fails naming ``what`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.01)  # the pause of a bounded poll, never a guess at a duration


def listening(port: int) -> bool:
    """Whether somebody accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """One Python process of ours; its output goes to a file."""

    def __init__(self, arguments: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        """Everything it has printed."""
        return self._log.read_text(errors="replace")

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The JSON lines of this event it has printed."""
        lines = [line for line in self.log().splitlines() if line.startswith("{")]
        return [event for line in lines if (event := json.loads(line)).get("event") == kind]

    def wait_for(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until it has printed so many events of this kind."""
        eventually(lambda: len(self.events(kind)) >= count, f"{count} {kind!r}: {self.log()}")
        return self.events(kind)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Its exit status."""
        return self._process.wait(timeout)

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.running:
            self._process.terminate()
        return self.wait()

    def kill(self) -> None:
        """kill -9."""
        if self.running:
            self._process.kill()
        self._process.wait()


class BrokerProcess(Process):
    """``python -m broker`` on ports of its own, which it keeps over restarts."""

    def __init__(self, directory: Path, flags: tuple[str, ...]) -> None:
        self.bus_port, self.feed_port, self.http_port = free_port(), free_port(), free_port()
        self.bus = f"tcp://127.0.0.1:{self.bus_port}"
        self.feed = f"tcp://127.0.0.1:{self.feed_port}"
        self.http = f"http://127.0.0.1:{self.http_port}"
        self.database = directory / "sessions.db"
        self._flags = flags
        self._log_path = directory / f"broker-{self.bus_port}.log"
        self.start()

    def start(self) -> None:
        """Start (again), without waiting for it."""
        arguments = ["-m", "broker", "--bus", self.bus, "--feed", self.feed]
        arguments += ["--http", f"127.0.0.1:{self.http_port}", "--db", str(self.database)]
        super().__init__([*arguments, *self._flags], self._log_path)

    def wait_until_serving(self) -> None:
        def ready() -> bool:
            if not self.running:
                raise AssertionError(f"the broker ended: {self.log()}")
            ports = [self.bus_port]
            if "--no-gateway" not in self._flags:
                ports.append(self.http_port)
            return all(map(listening, ports))

        eventually(ready, "the broker listens", START_TIMEOUT)

    def restart(self) -> None:
        """kill -9, start again, wait until it serves."""
        self.kill()
        self.start()
        self.wait_until_serving()


@contextmanager
def running_broker(directory: Path, *flags: str) -> Iterator[BrokerProcess]:
    """A broker that serves; by default without its gateway. ``flags`` replace that default."""
    broker = BrokerProcess(directory, flags or ("--no-gateway",))
    try:
        broker.wait_until_serving()
        yield broker
    finally:
        broker.stop()


@contextmanager
def running(
    arguments: list[str], log: Path, env: dict[str, str] | None = None
) -> Iterator[Process]:
    """Any Python process, ended with the block."""
    process = Process(arguments, log, env)
    try:
        yield process
    finally:
        process.kill()
