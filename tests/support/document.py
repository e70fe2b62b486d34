"""A served document without a browser, and what its own thread may be doing to it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.document.events import DocumentChangedEvent
from bokeh.server.contexts import ApplicationContext
from bokeh.server.session import ServerSession
from tornado.ioloop import IOLoop


@asynccontextmanager
async def served(build: Callable[[Document], None]) -> AsyncIterator[ServerSession]:
    """A Bokeh session as a server makes it, on the running loop."""
    context = ApplicationContext(Application(FunctionHandler(build)), io_loop=IOLoop.current())
    session = await context.create_session_if_needed("a-page")
    yield session
    if not session.destroyed:
        session.destroy()


class Emptied(DocumentChangedEvent):
    """Held back while the document's own thread ends its hold, as another thread adds to it.

    Bokeh asks each held event whether it can take in the new one, and then adds that to the list it
    began with; Panel puts a new list in its place when it has taken what was held.
    """

    kind = "Emptied"

    def combine(self, event: DocumentChangedEvent) -> bool:
        del event
        self.document.callbacks._held_events = []
        return False


def hold(document: Document) -> None:
    """Let the document hold back its events, and lose those that another thread adds."""
    document.hold("combine")
    document.callbacks._held_events = [Emptied(document)]


def in_a_thread(work: Callable[[], Any]) -> None:
    """Run this in a thread of its own, to its end."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
