"""The private names of Bokeh that ending a page leans on: an upgrade that changes them shows here.

No browser is needed.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version

from bokeh.server.connection import ServerConnection
from bokeh.server.contexts import ApplicationContext
from bokeh.server.session import ServerSession
from bokeh.server.views.ws import WSHandler


def test_what_ending_a_page_uses_is_there() -> None:
    session_init = inspect.getsource(ServerSession.__init__)
    assert "self._subscribed_connections = set()" in session_init
    on_close = inspect.getsource(WSHandler.on_close)
    assert "if self.connection is not None:" in on_close
    assert "self.application.client_lost(self.connection)" in on_close
    connection_init = inspect.getsource(ServerConnection.__init__)
    assert "self._socket" in connection_init
    assert inspect.iscoroutinefunction(ApplicationContext._discard_session)
    assert list(inspect.signature(ApplicationContext._discard_session).parameters) == [
        "self",
        "session",
        "should_discard",
    ]
    assert "self._sessions" in inspect.getsource(ApplicationContext.__init__)


def test_the_versions_are_those_it_was_written_for() -> None:
    assert version("bokeh").startswith("3.9.")
    assert version("panel").startswith("1.9.")
