"""The monitor under load: 10,000 rows, 1,000 changes a second."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from scripts.measures.browser import LOOK_MS, SHOWS
from sessionclient import SessionClient
from tests.browser.monitor_page import MonitorPage, serving_monitor
from tests.support.processes import ROOT, eventually, running_broker

pytestmark = [pytest.mark.browser, pytest.mark.process]

ROWS = 10_000
RATE = 1_000  # changes a second
SAMPLES = 20
LONGEST_TASK_MS = 200
# Others that take the page's core for a while make a task of it long. One that does too much at
# once has long ones in every round.
ROUNDS = 3
# A busy machine may be slow as a whole; this only tells a page that keeps up from one that does
# not. The figure itself is printed.
VISIBLE_WITHIN = 5.0  # seconds

LOAD = """
import sys, threading, time
from sessionclient import SessionClient
bus, rows, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
trackers = [SessionClient(f"app{n % 7}", f"user{n % 50}", bus) for n in range(rows)]
while not all(tracker.online for tracker in trackers):
    time.sleep(0.05)
print("ready", flush=True)
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
turn, open_tasks = 0, {}
while not stop.wait(0.05):
    for _ in range(rate // 20):
        turn += 1
        tracker = trackers[turn * 7919 % rows]
        if tracker in open_tasks:
            tracker.end_task(open_tasks.pop(tracker))
        else:
            open_tasks[tracker] = tracker.start_task(f"Task {turn}")
"""
# collects tasks of the page's main thread that took too long to feel smooth
WATCH_TASKS = """() => {
  window.longTasks = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.longTasks.push(entry.duration);
  }).observe({type: "longtask", buffered: false});
}"""

DAWDLE = "() => new Promise((done) => setTimeout(() => { const end = performance.now() + 300;"
DAWDLE += " while (performance.now() < end); done(); }, 0))"


@contextmanager
def load(bus: str) -> Iterator[None]:
    """A process with all the rows, changing them."""
    words = [sys.executable, "-c", LOAD, bus, str(ROWS), str(RATE)]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            process.communicate()


def looked_at(page: MonitorPage, probe: SessionClient) -> float:
    """Wait for changes of one row as a user would; the page's longest task meanwhile, in ms."""
    page.page.evaluate("window.longTasks = []")
    taken = []
    for number in range(SAMPLES):
        began = time.monotonic()
        with probe.task(f"Look {number}!"):
            wanted = [probe.session_id, f"Look {number}!"]
            page.page.wait_for_function(SHOWS, arg=wanted, polling=LOOK_MS)
            taken.append(time.monotonic() - began)
    longest = float(max(page.page.evaluate("window.longTasks"), default=0))
    p95 = statistics.quantiles(taken, n=20)[-1]
    print(
        f"visible after {statistics.median(taken) * 1000:.0f} ms at the median,"
        f" {p95 * 1000:.0f} ms at p95; longest task {longest:.0f} ms"
    )
    assert p95 < VISIBLE_WITHIN
    return longest


def test_ten_thousand_rows_with_a_thousand_changes_a_second(
    browser: Browser, tmp_path: Path
) -> None:
    with (
        running_broker(tmp_path) as broker,
        load(broker.bus),
        serving_monitor(broker.bus, tmp_path) as url,
    ):
        probe = SessionClient("aaa-probe", "probe", broker.bus)
        page = MonitorPage(browser, url)
        page.wait_live()
        eventually(lambda: page.number("live") == f"{ROWS + 1:,}", "all are counted", 60)
        page.restore('{sort: [["App", "asc"], ["Session", "asc"]]}')
        row = page.row(probe.session_id)
        expect(row).to_be_visible(timeout=20_000)
        page.page.evaluate(WATCH_TASKS)
        page.page.evaluate(DAWDLE)  # would the watch see it?
        eventually(lambda: page.page.evaluate("window.longTasks.length") > 0, "it is seen")
        for _ in range(ROUNDS):
            longest = looked_at(page, probe)
            if longest <= LONGEST_TASK_MS:
                break
        assert longest <= LONGEST_TASK_MS
        page.close()
        assert (page.errors, page.foreign) == ([], [])
        probe.stop()
