"""How long until a change in an app is seen in the browser, while many others change beside it.

The page is opened by a process of its own, which is the app too, so one clock times both ends.
"""

from __future__ import annotations

import itertools
import random
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import zmq

from scripts import chromium
from scripts.measures import stage
from scripts.measures.figures import Figure, Measure, Round, Sample, Setting
from scripts.measures.fleet import Fleet, Peer, pace
from scripts.ports import free_port, listens
from sessionclient import Operator, SessionClient

if TYPE_CHECKING:
    from playwright.sync_api import Page

RATE: Final = 1_000  # changes a second beside the one that is looked at
PROCESSES: Final = 10  # that hold the other sessions
STEP: Final = 7919  # a prime: neighbouring changes are far apart in the table
LOOK_EVERY: Final = 50  # changes between two looks whether it is over
SAMPLES: Final = 40  # in one round
QUICK_SAMPLES: Final = 8
PAUSE: Final = (0.05, 0.25)  # seconds between two samples
MILLISECONDS: Final = 1e3

# whether this session's row shows this text; Playwright's own waiting looks too seldom for this
SHOWS: Final = """([id, text]) => {
  const inside = (root) => {
    for (const el of root.querySelectorAll("*")) {
      if (el.tagName === "PERSPECTIVE-VIEWER-DATAGRID") return el;
      const found = el.shadowRoot && inside(el.shadowRoot);
      if (found) return found;
    }
    return null;
  };
  window.grid ??= inside(document);
  const row = window.grid?.shadowRoot.querySelector(`tr[data-id='${id}']`);
  return row?.textContent.includes(text) ?? false;
}"""
LOOK_MS: Final = 10
SORT: Final = 'viewer => viewer.restore({sort: [["App", "asc"], ["Session", "asc"]]})'
FIRST: Final = "aaa-probe"  # an app's name that is sorted before all others


# --- the parts -----------------------------------------------------------------------------------


def be_the_load(bus: str, sessions: int) -> None:
    """Hold the sessions and change them in turn, at `RATE`, until stdin ends."""
    fleet = Fleet(bus, PROCESSES, sessions)
    held = [(peer, session_id) for peer in fleet.peers for session_id in peer.sessions]
    print("{}", flush=True)
    for number in pace(RATE):
        peer, session_id = held[number * STEP % sessions]
        if number // sessions % 2:
            peer.say("status", s=session_id, status="idle")
        else:
            peer.say("status", s=session_id, status="running", task=f"Task {number}", task_age=0.0)
        if number % LOOK_EVERY == 0:
            for other in fleet.peers:
                _forget(other)
            if _is_over():
                break
    fleet.close()


def _is_over() -> bool:
    """Whether stdin has ended; asked only while no order can be there."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def _forget(peer: Peer) -> None:
    """Read what the broker has acknowledged, so that it does not pile up."""
    try:
        while True:
            peer.socket.recv(zmq.NOBLOCK)
    except zmq.Again:
        pass


def be_the_page(url: str, bus: str, others: int) -> None:
    """An open page and an app with one session, which changes when it is ordered to."""
    from playwright.sync_api import sync_playwright

    probe = SessionClient(FIRST, "probe", bus)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium.find(), args=chromium.FLAGS)
        page = opened.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(stage.TIMEOUT * MILLISECONDS)
        page.goto(url)
        live = page.locator("button[data-figure='live'] b")
        live.filter(has_text=f"{others + 1:,}").wait_for()
        page.locator("perspective-viewer").evaluate(SORT)
        _await(page, probe, FIRST)
        numbers = itertools.count(1)
        pauses = random.Random(1)
        print("{}", flush=True)
        stage.serve(lambda order: _look(page, probe, order["samples"], numbers, pauses))
        opened.close()
    probe.stop()


def _await(page: Page, probe: SessionClient, text: str) -> None:
    page.wait_for_function(SHOWS, arg=[probe.session_id, text], polling=LOOK_MS)


def _look(
    page: Page, probe: SessionClient, samples: int, numbers: Iterator[int], pauses: random.Random
) -> dict[str, Any]:
    """Milliseconds from the app's call to when its task stands in the page, up to `LOOK_MS` and a
    call's way back included."""
    taken = []
    for number in itertools.islice(numbers, samples):
        if _is_over():
            sys.exit(0)
        # at any moment: right after one was seen, the next would always have to wait for a turn
        time.sleep(pauses.uniform(*PAUSE))
        began = time.monotonic()
        with probe.task(f"Look {number}!"):
            _await(page, probe, f"Look {number}!")
            taken.append((time.monotonic() - began) * MILLISECONDS)
    cuts = statistics.quantiles(taken, n=20, method="inclusive")
    return {"p50": statistics.median(taken), "p95": cuts[-1]}


# --- the measure ---------------------------------------------------------------------------------


@contextmanager
def monitor(bus: str, directory: Path) -> Iterator[tuple[stage.Running, str]]:
    """``python -m monitor`` at this broker, and its address; ended with SIGTERM."""
    port = free_port()
    log = directory / "monitor.log"
    command = [sys.executable, "-m", "monitor", "--server", bus, "--port", str(port)]
    with (
        log.open("w") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=stage.environment(),
        ) as popen,
    ):
        try:
            stage.wait_for(lambda: popen.poll() is not None or listens(port), "the monitor serves")
            if popen.poll() is not None:
                *_, last = ["", *log.read_text().splitlines()]
                raise click.ClickException(f"the monitor ended: {last}")
            yield stage.Running(popen, "the monitor"), f"http://127.0.0.1:{port}/"
        finally:
            popen.terminate()
            stage.end(popen)


def _round(page: stage.Running, watched: stage.Running, operator: Operator, samples: int) -> Sample:
    cpu, changes, began = watched.cpu(), _changes(operator), time.monotonic()
    found = page.ask(samples=samples)
    cpu, changes = watched.cpu() - cpu, _changes(operator) - changes
    took = time.monotonic() - began
    return {
        "visible.p50": found["p50"],
        "visible.p95": found["p95"],
        "visible.changes": changes / took,
        "visible.monitor": 100.0 * cpu / took,
    }


def _changes(operator: Operator) -> int:
    return int(operator.stats()["messages"].get("status", 0))


@contextmanager
def start(setting: Setting) -> Iterator[Round]:
    sessions = setting.scale.sessions
    samples = QUICK_SAMPLES if setting.scale.quick else SAMPLES
    with (
        stage.broker(setting.directory, "--no-gateway") as broker,
        stage.process(__name__, "load", broker.bus, sessions, name="the load") as load,
        monitor(broker.bus, setting.directory) as (watched, url),
        stage.process(__name__, "page", url, broker.bus, sessions, name="the browser") as page,
        Operator(broker.bus, timeout=stage.TIMEOUT) as operator,
    ):
        load.hear()
        page.hear()
        yield partial(_round, page, watched, operator, samples)


def available() -> str | None:
    """Why there can be no look at a page here, or None."""
    for module, name in (
        ("playwright", "playwright"),
        ("panel", "panel"),
        ("perspective", "perspective-python"),
    ):
        if find_spec(module) is None:
            return f"{name} is not installed"
    return chromium.MISSING if chromium.find() is None else None


VISIBLE: Final = Measure(
    "change to browser",
    (
        Figure("visible.p50", "change in an app to the browser, p50", "ms"),
        Figure("visible.p95", "change in an app to the browser, p95", "ms"),
        Figure("visible.changes", "changes beside it that the broker took", "/s", "more"),
        Figure("visible.monitor", "of a core of the monitor meanwhile", "%"),
    ),
    start,
    available,
)

if __name__ == "__main__":
    if sys.argv[1] == "load":
        be_the_load(sys.argv[2], int(sys.argv[3]))
    else:
        be_the_page(sys.argv[2], sys.argv[3], int(sys.argv[4]))
