"""The processes of the soak: a broker with its children, the apps, an operator; ended with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import click
import psutil

from scripts.ports import free_ports, listens
from scripts.soak_operator import WATCHING
from sessionclient import Operator

START_TIMEOUT: Final = 180.0  # seconds for everything to start and all sessions to be there
STOP_TIMEOUT: Final = 20.0  # seconds a part has to end by itself
TIMEOUT: Final = 60.0  # seconds for an answer of the broker
RETENTION_DAYS: Final = "0.01"  # the least there is, 14.4 minutes
TAIL: Final = 2_000  # characters of a log that are shown when its part has failed
OWN_PREFIX: Final = "PANELBUS_"  # what the user has set for a broker of theirs is not for this one


class Stage:
    """Everything that runs. ``processes`` are those to measure, by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = directory / "sessions.db"
        self.processes: dict[str, psutil.Process] = {}
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        ports = free_ports(4)
        self.bus, self._feed = (f"tcp://127.0.0.1:{port}" for port in ports[:2])
        self.http, self._monitor_port = f"127.0.0.1:{ports[2]}", ports[3]
        self._operator = Operator(self.bus, timeout=TIMEOUT)

    # --- starting ----------------------------------------------------------------------------

    def start_broker(self, *, monitor: bool) -> None:
        """The broker and its children; returns when all of them serve."""
        arguments = ["broker", "--bus", self.bus, "--feed", self._feed, "--http", self.http]
        arguments += ["--db", str(self.database), "--retention-days", RETENTION_DAYS]
        children = {"gateway": int(self.http.rpartition(":")[2])}
        if monitor:
            arguments.append("--monitor")
            children["monitor"] = self._monitor_port
        self._start("broker", arguments)
        for name, port in children.items():
            self._wait_for(partial(listens, port), f"the {name} does not listen")
            self.processes[name] = self._child(f"broker.{name}" if name == "gateway" else name)

    def start_apps(self, apps: int, sessions: int, life: tuple[float, float], seed: int) -> None:
        """App processes that hold the sessions; returns when the broker has about all of them."""
        share, more = divmod(sessions, apps)
        for index in range(apps):
            size = share + (index < more)
            arguments = [self.bus, f"app-{index + 1}", str(size), *map(str, life)]
            self._start(f"app {index + 1}", ["scripts.soak_app", *arguments, f"{seed}/{index}"])

        def there() -> bool:
            return self._operator.list_sessions(limit=1).total >= sessions * 0.95

        self._wait_for(there, "the sessions do not come")

    def start_operator(self, kills: float, seed: int) -> None:
        """The operator; returns when it has the list."""
        arguments = [self.bus, self.http, str(kills), str(seed)]
        self._start("operator", ["scripts.soak_operator", *arguments])
        self._wait_for(lambda: WATCHING in self._tail("operator"), "the operator has no list")

    def _start(self, name: str, arguments: list[str]) -> None:
        ours = {k: v for k, v in os.environ.items() if not k.startswith(OWN_PREFIX)}
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # a session of its own: Ctrl-C reaches this script alone, which then ends all
                start_new_session=True,
                env={**ours, f"{OWN_PREFIX}PORT": str(self._monitor_port)},
            )
        self._started[name] = process
        self.processes[name] = psutil.Process(process.pid)

    def _child(self, module: str) -> psutil.Process:
        for child in self.processes["broker"].children():
            if module in child.cmdline():
                return child
        raise click.ClickException(f"the broker has no child {module}: {self._tail('broker')}")

    def _wait_for(self, condition: Callable[[], bool], trouble: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise click.ClickException(f"{trouble} after {START_TIMEOUT:g} s")
            time.sleep(0.1)

    # --- while it runs -----------------------------------------------------------------------

    def check(self) -> None:
        """Raises ClickException when a part has ended."""
        for name, process in self._started.items():
            if process.poll() is not None:
                raise click.ClickException(
                    f"{name} ended with status {process.returncode}: {self._tail(name)}"
                )
        for name, watched in self.processes.items():
            if not watched.is_running():  # a child of the broker
                raise click.ClickException(f"{name} ended: {self._tail('broker')}")

    def stats(self) -> dict[str, object]:
        """The broker's counts."""
        return self._operator.stats()

    def _log(self, name: str) -> Path:
        return self.directory / f"{name.replace(' ', '-')}.log"

    def _tail(self, name: str) -> str:
        return self._log(name).read_text(errors="replace")[-TAIL:].strip() or "it said nothing"

    # --- stopping ----------------------------------------------------------------------------

    def stop(self) -> None:
        """End all parts in order; one that does not end in time is killed."""
        self._operator.close()
        clients = [name for name in self._started if name != "broker"]
        for name in clients:
            stdin = self._started[name].stdin
            if stdin is not None:
                stdin.close()
        self._end(clients)
        if "broker" in self._started:
            self._started["broker"].terminate()
            self._end(["broker"])

    def _end(self, names: list[str]) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT
        for name in names:
            process = self._started.pop(name)
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                click.echo(f"{name} did not end in time and is killed", err=True)
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
