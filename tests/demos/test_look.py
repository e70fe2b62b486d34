"""What a demo's threads change on its page is shown, whatever the page is doing meanwhile."""

from __future__ import annotations

import asyncio

import panel as pn
from bokeh.document import Document
from panel.io.state import set_curdoc

from demos.look import Doc
from tests.support.document import hold, in_a_thread, served

TIMEOUT = 20.0  # seconds


def nothing(document: Document) -> None:
    del document


def test_a_change_is_shown_although_events_are_held_back() -> None:
    async def scenario() -> int:
        async with served(nothing) as session:
            shown = asyncio.Event()
            bar = pn.indicators.Progress(value=0)
            bar.param.watch(lambda _event: shown.set(), "value")
            with set_curdoc(session.document):
                page = Doc()
            hold(session.document)
            in_a_thread(lambda: page.show(bar, value=100))
            session.document.unhold()
            await asyncio.wait_for(shown.wait(), TIMEOUT)
            return int(bar.value)

    assert asyncio.run(scenario()) == 100


def test_nothing_changes_once_the_page_is_gone() -> None:
    async def scenario() -> int:
        async with served(nothing) as session:
            bar = pn.indicators.Progress(value=0)
            with set_curdoc(session.document):
                page = Doc()
            session.destroy()
            in_a_thread(lambda: page.show(bar, value=100))
            for _ in range(5):  # turns of the loop, more than it would take
                await asyncio.sleep(0)
            return int(bar.value)

    assert asyncio.run(scenario()) == 0


def test_without_a_server_a_change_is_made_at_once() -> None:
    bar = pn.indicators.Progress(value=0)
    Doc().show(bar, value=7)
    assert bar.value == 7
