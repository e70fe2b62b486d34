"""A Panel server in a thread of the test's own process, so that a test can look inside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import panel as pn
from tornado.ioloop import IOLoop

from tests.support.processes import free_port

START_TIMEOUT = 30.0  # seconds
UNUSED_MS = 5_000  # a page on a busy machine needs its time to connect


class PanelServer:
    """Serves one page at ``url``; unused sessions go away after ``UNUSED_MS``."""

    def __init__(self, page: Callable[[], Any]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/app"
        self.loop: IOLoop | None = None
        self._server: Any = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(page,), daemon=True)
        self._thread.start()
        if not self._up.wait(START_TIMEOUT):
            raise AssertionError("the Panel server did not start")

    def _run(self, page: Callable[[], Any]) -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        self.loop = IOLoop.current()
        self._server = pn.serve(
            {"app": page},
            port=self.port,
            address="127.0.0.1",
            websocket_origin="*",
            loop=self.loop,
            show=False,
            start=False,
            verbose=False,
            check_unused_sessions_milliseconds=500,
            unused_session_lifetime_milliseconds=UNUSED_MS,
        )
        self._server.start()
        self.loop.add_callback(self._up.set)
        self.loop.start()
        self._server.stop()

    def sessions(self) -> list[str]:
        """The ids of the Bokeh sessions this server holds."""
        context = self._server._tornado._applications["/app"]
        return list(context._sessions)

    def connected(self, session_id: str) -> bool:
        """Whether this server believes a browser to be there."""
        context = self._server._tornado._applications["/app"]
        return bool(context._sessions[session_id].connection_count)

    def stop(self) -> None:
        if self.loop is not None:
            self.loop.add_callback(self.loop.stop)
        self._thread.join(START_TIMEOUT)


@contextmanager
def serving(page: Callable[[], Any]) -> Iterator[PanelServer]:
    server = PanelServer(page)
    try:
        yield server
    finally:
        server.stop()
