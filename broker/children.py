"""The broker's child processes: started after it listens, restarted when they die, ended first."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

log = logging.getLogger("panelbus.broker")

USAGE_STATUS: Final = 2  # a child that can't run as configured says so and exits with this
FIRST_PAUSE: Final = 1.0  # seconds before a child that died is started again
LONGEST_PAUSE: Final = 30.0  # the pause doubles up to this while it keeps dying
STEADY_AFTER: Final = 60.0  # seconds a child must live for its pause to start over
STOP_TIMEOUT: Final = 1.5  # seconds a child has to end by itself


@dataclass(slots=True)
class Child:
    """One module run as ``python -m``, kept alive."""

    name: str
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    start_at: float = 0.0

    def start(self, now: float) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", *self.arguments])
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
        if status == USAGE_STATUS:
            return f"the {self.name} can't run as it was started; see its message above"
        lived = now - self.started
        self.pause = FIRST_PAUSE if lived > STEADY_AFTER else min(self.pause * 2, LONGEST_PAUSE)
        self.start_at = now + self.pause
        log.error(
            "the %s ended with status %d; starting it again in %.0f s",
            self.name,
            status,
            self.pause,
        )
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
