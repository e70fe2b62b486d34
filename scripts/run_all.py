"""``make run``: broker with REST gateway, the monitor and the demos, until Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

import click

BUS: Final = "tcp://127.0.0.1:5760"
GATEWAY: Final = "http://127.0.0.1:8000"
MONITOR: Final = "http://127.0.0.1:5006"
DEMOS: Final = "http://127.0.0.1:5007"
CROWD: Final = 40  # pretended sessions, so that there is something to see
START_TIMEOUT: Final = 60.0  # seconds a part has to answer; a first start imports a lot
STOP_TIMEOUT: Final = 5.0  # seconds a part has to end by itself
PAUSE: Final = 0.1  # seconds between two looks


@dataclass
class Part:
    """One process, and the page that shows it is there; without one, running is enough."""

    name: str
    arguments: list[str]
    page: str | None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # a session of its own: Ctrl-C reaches this script alone, which then ends all in order
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self.arguments], start_new_session=True
        )

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return None if self.process is None else self.process.poll()

    def answers(self) -> bool:
        if self.page is None:
            return self.status is None
        try:
            with urllib.request.urlopen(self.page, timeout=1.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def stop(self) -> None:
        if self.process is None or self.status is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            click.echo(f"{self.name} did not end in time and is killed", err=True)
            self.process.kill()
            self.process.wait()


def parts() -> list[Part]:
    """What there is to start, in order."""
    crowd = ["demos.crowd", "--server", BUS, "--sessions", str(CROWD)]
    return [
        Part("broker", ["broker"], f"{GATEWAY}/readyz"),
        Part("demos", ["demos", "--server", BUS], f"{DEMOS}/app"),
        Part("monitor", ["monitor", "--server", BUS], MONITOR),
        Part("crowd", crowd, None),
    ]


def wait_until_up(part: Part) -> None:
    """Returns when its page answers; raises ClickException when it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while not part.answers():
        if part.status is not None:
            raise click.ClickException(f"the {part.name} could not start; see its message above")
        if time.monotonic() > deadline:
            raise click.ClickException(f"the {part.name} does not answer at {part.page}")
        time.sleep(PAUSE)


@click.command(help=__doc__)
def main() -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    started: list[Part] = []
    try:
        for part in parts():
            part.start()
            started.append(part)
            if part.name == "broker":  # the others may come meanwhile, but their bus comes first
                wait_until_up(part)
        for part in started:
            wait_until_up(part)
        tell(started)
        watch(started)
    except KeyboardInterrupt:
        click.echo("\nstopping ...", err=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # being stopped already
        for part in reversed(started):
            part.stop()


def tell(started: list[Part]) -> None:
    """Where to look."""
    click.echo("\nPanelbus is up. Ctrl-C stops everything.\n")
    for name, address in (
        ("monitor", MONITOR),
        ("demo apps", DEMOS),
        ("REST", f"{GATEWAY}/docs"),
        ("bus", BUS),
    ):
        click.echo(f"  {name:<10} {address}")
    click.echo(
        f"\nA crowd of {CROWD} pretended sessions is at work; to be alone: {stop_crowd(started)}"
    )
    click.echo("For more of them: .venv/bin/python -m demos.crowd --sessions 200")
    click.echo("In another terminal, in this folder: .venv/bin/panelbus sessions\n")


def stop_crowd(started: list[Part]) -> str:
    """How to end the crowd and nothing else."""
    pids = [part.process.pid for part in started if part.name == "crowd" and part.process]
    return " ".join(["kill", *map(str, pids)])


def watch(started: list[Part]) -> None:
    """Returns never, unless a part ends, which ends all."""
    while True:
        for part in started:
            if part.status is not None and part.name != "crowd":  # which may be sent away
                raise click.ClickException(f"the {part.name} ended with status {part.status}")
        time.sleep(PAUSE * 5)


if __name__ == "__main__":
    main()
