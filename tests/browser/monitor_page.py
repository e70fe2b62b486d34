"""A monitor to look at: its process, its page, and what the tests read off it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.processes import eventually, free_port, listening, running

LOAD_MS = 40_000  # for a first page on a busy machine
# Bokeh's ping finds a connection closed, lets go of its session, and then reads its last messages
KNOWN = "assert self._session is not None"


@contextmanager
def serving_monitor(bus: str, directory: Path, *flags: str) -> Iterator[str]:
    """``python -m monitor`` at this broker; its address. It must end well."""
    port = free_port()
    words = ["-m", "monitor", "--server", bus, "--port", str(port), *flags]
    with running(words, directory / f"monitor-{port}.log") as process:
        eventually(lambda: listening(port) or not process.running, "the monitor serves", 60)
        assert process.running, process.log()
        yield f"http://127.0.0.1:{port}/"
        assert process.stop() == 0
        log = process.log()
        assert log.count("Traceback") == log.count(KNOWN), log


class MonitorPage:
    """One open page, and all that went wrong in it."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        prepare: Callable[[Page], object] | None = None,
        **context: Any,
    ) -> None:
        """``prepare`` is called with the page before it is opened."""
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, **context)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(error.stack or str(error)))
        self.page.on("console", lambda line: self._console(line.type, line.text))
        self.page.on("request", lambda request: self._requested(request.url))
        self._host = re.sub(r"^http(://[^/]+).*$", r"\1", url)
        if prepare is not None:
            prepare(self.page)
        self.page.goto(url)

    def _console(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)

    def _requested(self, url: str) -> None:
        if not url.startswith((f"http{self._host}", f"ws{self._host}", "data:", "blob:")):
            self.foreign.append(url)

    def close(self) -> None:
        self.context.close()

    # --- reading -----------------------------------------------------------------------------

    @property
    def rows(self) -> Locator:
        return self.page.locator("perspective-viewer-datagrid tbody tr[data-id]")

    def row(self, session_id: str) -> Locator:
        return self.page.locator(f"perspective-viewer-datagrid tr[data-id='{session_id}']")

    def selected(self) -> set[str]:
        """Ids of the rows that are painted as chosen."""
        found = self.page.locator("perspective-viewer-datagrid tr[data-selected]")
        return {str(row.get_attribute("data-id")) for row in found.all()}

    def figure(self, key: str) -> Locator:
        return self.page.locator(f"button[data-figure='{key}']")

    def number(self, key: str) -> str:
        return self.figure(key).locator("b").inner_text()

    def button(self, name: str, *, exact: bool = False) -> Locator:
        return self.page.get_by_role("button", name=name, exact=exact)

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def wait_live(self) -> None:
        expect(self.page.locator(".state")).to_have_text("Live", timeout=LOAD_MS)

    def wait_row(self, session_id: str) -> None:
        expect(self.row(session_id)).to_be_visible(timeout=LOAD_MS)

    # --- doing -------------------------------------------------------------------------------

    def choose(self, session_id: str, **more: Any) -> None:
        """Click the row, outside of its box."""
        self.row(session_id).locator("td").first.click(**more)

    def restore(self, layout: str) -> None:
        """Arrange the table by Perspective's own call; ``layout`` is JavaScript."""
        self.page.locator("perspective-viewer").evaluate(f"viewer => viewer.restore({layout})")

    def confirm(self, reason: str = "") -> None:
        """Fill in the reason and press the button that ends."""
        if reason:
            self.dialog.get_by_role("textbox").first.fill(reason)
        self.dialog.get_by_role("button", name=re.compile("^End ")).click()
