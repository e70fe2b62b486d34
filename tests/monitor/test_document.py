"""What other threads have for a page reaches it, whatever the page's own thread is doing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from bokeh.document import Document

from monitor.document import browsers, in_turn
from monitor.grid import LiveGrid
from monitor.table import LiveTable
from tests.support.document import hold, in_a_thread, served

MONITOR = Path(__file__).resolve().parents[2] / "monitor"
TIMEOUT = 20.0  # seconds


def nothing(document: Document) -> None:
    del document


def test_what_is_added_while_events_are_held_back_runs() -> None:
    async def scenario() -> None:
        async with served(nothing) as session:
            ran = asyncio.Event()
            hold(session.document)
            in_a_thread(lambda: in_turn(session.document, ran.set))
            session.document.unhold()
            await asyncio.wait_for(ran.wait(), TIMEOUT)

    asyncio.run(scenario())


def test_it_runs_in_order_in_the_page_s_own_thread() -> None:
    async def scenario() -> list[tuple[int, int]]:
        async with served(nothing) as session:
            done = asyncio.Event()
            ran: list[tuple[int, int]] = []

            def note(number: int) -> None:
                ran.append((number, threading.get_ident()))

            def add() -> None:
                for number in range(100):
                    in_turn(session.document, partial(note, number))
                in_turn(session.document, done.set)

            in_a_thread(add)
            await asyncio.wait_for(done.wait(), TIMEOUT)
            return ran

    assert asyncio.run(scenario()) == [(number, threading.get_ident()) for number in range(100)]


@pytest.mark.parametrize("when", ["before", "on its way"])
def test_a_page_that_has_gone_is_left_in_peace(when: str) -> None:
    async def scenario() -> list[str]:
        async with served(nothing) as session:
            document = session.document
            ran: list[str] = []
            if when == "before":
                session.destroy()
            in_turn(document, partial(ran.append, "ran"))
            if when == "on its way":
                session.destroy()
            assert browsers(document) == 0
            for _ in range(5):  # turns of the loop, more than it would take
                await asyncio.sleep(0)
            return ran

    assert asyncio.run(scenario()) == []


@pytest.fixture
def table() -> Iterator[LiveTable]:
    made = LiveTable()
    yield made
    made.close()


class Page:
    """A grid in a document of its own, and what is sent to its browser."""

    def __init__(
        self, table: LiveTable, document: Document, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.grid = LiveGrid(table)
        self.grid._doc = document
        monkeypatch.setattr(
            self.grid, "_send_msg", lambda message: self.sent.put_nowait(message["data"])
        )


def test_an_answer_reaches_a_page_that_is_being_changed(
    table: LiveTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.grid.browsers", lambda _document: 1)

    async def scenario() -> bytes:
        async with served(nothing) as session:
            page = Page(table, session.document, monkeypatch)
            hold(session.document)
            in_a_thread(lambda: page.grid._answer(b"an answer"))
            session.document.unhold()
            return await asyncio.wait_for(page.sent.get(), TIMEOUT)

    assert asyncio.run(scenario()) == b"an answer"


def test_an_answer_to_a_page_that_has_gone_goes_nowhere(
    table: LiveTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> bool:
        async with served(nothing) as session:
            page = Page(table, session.document, monkeypatch)
            session.destroy()
            in_a_thread(lambda: page.grid._answer(b"an answer"))
            return page.sent.empty()

    assert asyncio.run(scenario())


def test_nothing_else_adds_to_a_document() -> None:
    adding = [path.name for path in MONITOR.glob("*.py") if "next_tick" in path.read_text()]
    assert adding == ["document.py"]
