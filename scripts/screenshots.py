"""Take the pictures of the documents: the monitor, light and dark, with a crowd of sessions.

Starts a broker, a monitor and a crowd of its own on free ports, and needs Chromium. Everything
ends by itself; the pictures go to docs/pictures.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import click
from playwright.sync_api import Browser, sync_playwright

from scripts import chromium
from scripts.ports import free_port, listens
from sessionclient import Operator

START_TIMEOUT: Final = 60.0  # seconds
SESSIONS: Final = 160
CHART_TIME: Final = 45.0  # seconds until the charts have something to show
SIZE: Final = {"width": 1280, "height": 800}


@click.command(help=__doc__)
@click.option(
    "--to",
    default="docs/pictures",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder the pictures are written to.",
)
def main(to: Path) -> None:
    path = chromium.find()
    if path is None:
        raise click.ClickException(chromium.MISSING)
    to.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bus, feed, port = free_port(), free_port(), free_port()
        server = f"tcp://127.0.0.1:{bus}"
        addresses = ["--bus", server, "--feed", f"tcp://127.0.0.1:{feed}", "--no-gateway"]
        stack.enter_context(part("broker", *addresses, "--db", str(directory / "sessions.db")))
        stack.enter_context(part("monitor", "--server", server, "--port", str(port)))
        crowd = ["--server", server, "--sessions", str(SESSIONS), "--seed", "7"]
        stack.enter_context(part("demos.crowd", *crowd))
        operator = stack.enter_context(Operator(server, timeout=START_TIMEOUT))
        wait_for(lambda: operator.list_sessions(limit=1).total > SESSIONS * 0.8, "the crowd")
        wait_for(lambda: listens(port), "the monitor")
        live_a_little(operator)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        for theme in ("light", "dark"):
            picture(browser, f"http://127.0.0.1:{port}/", theme, to / f"monitor-{theme}.png")
        browser.close()


@contextmanager
def part(module: str, *words: str) -> Iterator[None]:
    """One of our programs, ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise click.ClickException(f"{what} did not start within {START_TIMEOUT:g} s")
        time.sleep(0.1)


def live_a_little(operator: Operator) -> None:
    """Time for the charts, with some kills in it."""
    end = time.monotonic() + CHART_TIME
    with click.progressbar(length=int(CHART_TIME), label="Letting the crowd live") as bar:
        while time.monotonic() < end:
            sessions = operator.list_sessions(limit=1).sessions
            if sessions and int(end - time.monotonic()) % 15 == 0:
                operator.request_kill(sessions[0]["session_id"], "maintenance")
            time.sleep(1.0)
            bar.update(1)


def picture(browser: Browser, url: str, theme: str, file: Path) -> None:
    context = browser.new_context(viewport=SIZE, color_scheme=theme, device_scale_factor=1)  # type: ignore[arg-type]  # "light" or "dark"
    page = context.new_page()
    page.goto(url)
    busy = page.locator("perspective-viewer-datagrid tr:has(td[data-status='running'])")
    busy.first.wait_for(timeout=START_TIMEOUT * 1000)
    busy.nth(1).locator("td").first.click()
    page.locator(".task").first.wait_for(timeout=START_TIMEOUT * 1000)
    page.wait_for_timeout(1500)  # for the charts to be drawn
    page.screenshot(path=file)
    click.echo(f"wrote {file}")
    context.close()


if __name__ == "__main__":
    main()
