"""What tracking costs the app itself: time in its threads, memory, threads, and the import.

Each round has a fresh app process, since one that had sessions before keeps their memory.
"""

from __future__ import annotations

import gc
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import click
import psutil

from scripts.measures import stage
from scripts.measures.figures import Figure, Measure, Round, Sample, Scale, Setting
from sessionclient import SessionClient

SESSIONS: Final = 1_000  # in the app, or the scale's where that is fewer
BATCH: Final = 25  # tasks whose mean is one value
# Seconds between two tasks, after which the I/O thread sleeps again and the processor's caches hold
# other things, as in an app. In a row they cost a small part of it, which is told beside.
PAUSE: Final = 0.001
IMPORTS: Final = 5  # in one round
MICROSECONDS: Final = 1e6
MILLISECONDS: Final = 1e3
PERCENTILE: Final = 99

IMPORT: Final = """
import json, sys, time
began = time.perf_counter()
import sessionclient
took = time.perf_counter() - began
print(json.dumps({"took": took, "panel": "panel" in sys.modules or "bokeh" in sys.modules}))
"""


class App:
    """The app process: sessions, and tasks in them."""

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self._process = psutil.Process()
        self._trackers: list[SessionClient] = []

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        if "sessions" in order:
            return self.hold(order["sessions"])
        return self.work(order["seconds"])

    def hold(self, count: int) -> dict[str, float]:
        """Register so many sessions; what they have added once the broker has them all.

        The process's one connection is part of it: an app without sessions has none.
        """
        before = self._state()
        for number in range(count):
            self._trackers.append(SessionClient("bench", f"user-{number}@example.org", self._bus))
        stage.wait_for(
            lambda: all(tracker.online for tracker in self._trackers), f"{count} sessions are there"
        )
        memory, threads, all_threads = (
            now - then for now, then in zip(self._state(), before, strict=True)
        )
        return {
            "client.memory": memory / count,
            "client.threads": threads,
            "client.all_threads": all_threads,
        }

    def _state(self) -> tuple[int, int, int]:
        """(resident bytes, threads that run Python, threads)"""
        gc.collect()
        memory = self._process.memory_info().rss
        return memory, threading.active_count(), self._process.num_threads()

    def work(self, seconds: float) -> dict[str, float]:
        """Empty tasks for so long, the sessions in turn."""
        trackers = itertools.cycle(self._trackers)
        spent = _Spent()
        until = time.monotonic() + seconds
        while not spent.rows or time.monotonic() < until:
            spent.with_pauses(itertools.islice(trackers, BATCH))
            spent.in_a_row(itertools.islice(trackers, BATCH))
        return spent.figures()


class _Spent:
    """What tasks have cost, in seconds: ``each`` alone, the others as means of a batch."""

    def __init__(self) -> None:
        self.each: list[float] = []
        self.means: list[float] = []
        self.processor: list[float] = []
        self.rows: list[float] = []

    def with_pauses(self, trackers: Iterable[SessionClient]) -> None:
        used = 0.0
        for tracker in trackers:
            cpu, began = time.thread_time(), time.perf_counter()
            with tracker.task("Refresh forecast"):
                pass
            self.each.append(time.perf_counter() - began)
            used += time.thread_time() - cpu  # with a microsecond for reading the clocks
            time.sleep(PAUSE)
        self.means.append(statistics.fmean(self.each[-BATCH:]))
        self.processor.append(used / BATCH)

    def in_a_row(self, trackers: Iterable[SessionClient]) -> None:
        began = time.perf_counter()
        for tracker in trackers:
            with tracker.task("Refresh forecast"):
                pass
        self.rows.append((time.perf_counter() - began) / BATCH)
        time.sleep(PAUSE)

    def figures(self) -> dict[str, float]:
        slow = statistics.quantiles(self.each, n=100, method="inclusive")[PERCENTILE - 1]
        found = {
            "client.task": statistics.median(self.means),
            "client.task_cpu": statistics.median(self.processor),
            "client.task_p99": slow,
            "client.task_in_a_row": statistics.median(self.rows),
        }
        return {key: seconds * MICROSECONDS for key, seconds in found.items()}


def be_the_app(bus: str) -> None:
    stage.serve(App(bus).answer)


def import_time() -> float:
    """Seconds that ``import sessionclient`` takes a fresh interpreter, what it needs included.

    Raises:
        ClickException: it can't be imported, or it brings Panel along, which is no light client.
    """
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        capture_output=True,
        text=True,
        check=False,
        env=stage.environment(),
        timeout=stage.TIMEOUT,
    )
    if done.returncode != 0:
        raise click.ClickException(f"import sessionclient failed: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    if found["panel"]:
        raise click.ClickException("import sessionclient imports Panel")
    return float(found["took"])


def _round(bus: str, scale: Scale) -> Sample:
    with stage.process(__name__, bus, name="the app") as app:
        found = app.ask(sessions=min(SESSIONS, scale.sessions))
        found |= app.ask(seconds=scale.seconds)
    imports = [import_time() for _ in range(IMPORTS)]
    return {**found, "client.import": statistics.median(imports) * MILLISECONDS}


@contextmanager
def start(setting: Setting) -> Iterator[Round]:
    with stage.broker(setting.directory, "--no-gateway") as broker:
        yield partial(_round, broker.bus, setting.scale)


CLIENT: Final = Measure(
    "client in an app",
    (
        Figure("client.task", "`with tracker.task(...)`: time of the caller", "µs"),
        Figure("client.task_cpu", "`with tracker.task(...)`: CPU of the caller's thread", "µs"),
        Figure("client.task_p99", "`with tracker.task(...)`: time of the caller, p99", "µs"),
        Figure("client.task_in_a_row", "the same in a row, without a pause", "µs"),
        Figure("client.memory", "memory of one session, of 1,000 in an app process", "B"),
        Figure("client.threads", "1,000 sessions: Python threads more", ""),
        Figure("client.all_threads", "1,000 sessions: threads more, those of libzmq too", ""),
        Figure("client.import", "`import sessionclient` in a fresh interpreter", "ms"),
    ),
    start,
)

if __name__ == "__main__":
    be_the_app(sys.argv[1])
