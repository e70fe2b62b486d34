"""The broker's child processes: started after it listens, restarted when they die, ended first."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Final

log = logging.getLogger("panelbus.broker")

USAGE_STATUS: Final = 2  # a child that can't run as configured says so and exits with this
FIRST_PAUSE: Final = 1.0  # seconds before a child that died is started again
LONGEST_PAUSE: Final = 30.0  # the pause doubles up to this while it keeps dying
PROVED_AFTER: Final = 10.0  # seconds a child must live to have shown that it can run
PORT_PATIENCE: Final = 5.0  # seconds for the children of a broker that was killed to give up ports
STEADY_AFTER: Final = 60.0  # seconds a child must live for its pause to start over
STOP_TIMEOUT: Final = 1.5  # seconds a child has to end by itself


@dataclass(slots=True)
class Child:
    """One module run as ``python -m``, kept alive."""

    name: str
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)  # beside the broker's own
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE  # before the next start, should it die soon
    start_at: float = 0.0
    proved: bool = False  # it has run for a while, so it was not started wrongly
    refused_since: float | None = None  # when it first said that it can't run as configured

    def start(self, now: float) -> None:
        command = [sys.executable, "-m", *self.arguments]
        self.process = subprocess.Popen(command, env={**os.environ, **self.environment})
        self.started = now

    def check(self, now: float) -> str | None:
        """Start it again if it died; returns why the broker should stop, when it never can run."""
        if self.process is None:
            if now >= self.start_at:
                self.start(now)
            return None
        status = self.process.poll()
        if status is None:
            return None
        self.process = None
        lived = now - self.started
        # one that ran at all is configured well enough: a file it needs is broken just now (its
        # certificate, its tokens), or its port is taken, which must not take the bus down
        self.proved = self.proved or lived >= PROVED_AFTER or status != USAGE_STATUS
        if status == USAGE_STATUS and not self.proved:
            return self._refused(now)
        self.refused_since = None
        pause = FIRST_PAUSE if lived > STEADY_AFTER else self.pause
        self.start_at = now + pause
        self.pause = min(pause * 2, LONGEST_PAUSE)
        log.error(
            "the %s ended with status %d; starting it again in %.0f s", self.name, status, pause
        )
        return None

    def _refused(self, now: float) -> str | None:
        """It can't run as configured; or its port is still held by an orphan, which a broker that
        was killed has left and which ends by itself."""
        if self.refused_since is None:
            self.refused_since = now
        if now - self.refused_since >= PORT_PATIENCE:
            return f"the {self.name} can't run as it was started; see its message above"
        self.start_at = now + FIRST_PAUSE
        log.error("the %s can't run as it was started; trying it again", self.name)
        return None

    def ask_to_end(self) -> None:
        if self.process is not None:
            self.process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for it until the deadline (monotonic), then kill it."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("the %s did not end in time and was killed", self.name)
            self.process.kill()
            self.process.wait()
        self.process = None


class Children:
    """All of the broker's children."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children

    def start(self) -> None:
        now = time.monotonic()
        for child in self._children:
            child.start(now)

    def check(self, now: float) -> str | None:
        """Called about once a second; returns why the broker should stop, if it should."""
        for child in self._children:
            trouble = child.check(now)
            if trouble is not None:
                return trouble
        return None

    def stop(self) -> None:
        """End all of them, together, within `STOP_TIMEOUT`."""
        for child in self._children:
            child.ask_to_end()
        deadline = time.monotonic() + STOP_TIMEOUT
        for child in self._children:
            child.end(deadline)
