"""Panel and Bokeh: which page the code runs in, when it goes away, and how to end it for good.

Panel is never imported from here: when the app uses it, it is loaded already, and when it is not,
there is no page. Everything that leans on private names of Bokeh stands in `_discard`; the
versions it was written for are pinned in pyproject.toml, and a test fails when the names change.

asyncio, too, is imported where it is used: Panel has loaded it, and an app without Panel would wait
for it at its start.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("sessionclient")

SHOW_TIME: Final = 5.0  # seconds a connected page has to say that it shows its end
SEEN: Final = "panelbus: shown"  # what it says
ARRIVAL_TIME: Final = 5.0  # seconds a page that is just being loaded has to open its connection
CLOSE_TIME: Final = 3.0  # seconds websockets have to close by themselves
STEP: Final = 0.1  # seconds between looks while waiting for a browser
END_TIME: Final = 2 * ARRIVAL_TIME + SHOW_TIME + CLOSE_TIME  # all that on a loop that is free

# Shown over the whole page. The reason is set as text, never as markup. Reconnecting is switched
# off in the page itself, or BokehJS would come back with the same session id.
_ENDED_JS: Final = """
if (document.getElementById("panelbus-ended")) { cb_obj.name = seen; return; }
const config = cb_obj.document && cb_obj.document.config;
// in this page only: the server does not know this model by its id and would log an error
if (config) {
  const off = { reconnect_session: false, notify_connection_status: false };
  config.setv(off, { sync: false });
}
const style = document.createElement("style");
style.textContent = `
  #panelbus-ended { position: fixed; inset: 0; z-index: 2147483647; display: flex;
    align-items: center; justify-content: center; padding: 24px; box-sizing: border-box;
    background: #f3f5f8; color: #1c2430; font: 16px/1.5 system-ui, sans-serif; }
  #panelbus-ended .card { max-width: 460px; width: 100%; padding: 36px 40px; box-sizing: border-box;
    background: #fff; border-radius: 14px; box-shadow: 0 12px 40px rgba(20, 30, 50, .14);
    border-top: 4px solid #c2410c; }
  #panelbus-ended h1 { margin: 0 0 10px; font-size: 22px; line-height: 1.3; font-weight: 650; }
  #panelbus-ended p { margin: 0 0 14px; overflow-wrap: anywhere; }
  #panelbus-ended .reason { padding: 10px 14px; border-radius: 8px; background: #f3f5f8;
    white-space: pre-wrap; max-height: 40vh; overflow: auto; }
  #panelbus-ended button { margin-top: 6px; padding: 10px 18px; border: 0; border-radius: 8px;
    background: #1d4ed8; color: #fff; font: inherit; font-weight: 600; cursor: pointer; }
  #panelbus-ended button:hover { background: #1e40af; }
  #panelbus-ended button:focus-visible { outline: 3px solid #93b4ff; outline-offset: 2px; }
  @media (prefers-color-scheme: dark) {
    #panelbus-ended { background: #12161d; color: #e6eaf0; }
    #panelbus-ended .card { background: #1c222c; box-shadow: 0 12px 40px rgba(0, 0, 0, .5); }
    #panelbus-ended .reason { background: #12161d; }
  }`;
const view = document.createElement("div");
view.id = "panelbus-ended";
view.setAttribute("role", "alertdialog");
view.setAttribute("aria-labelledby", "panelbus-ended-title");
const card = document.createElement("div");
card.className = "card";
const add = (tag, text, cls) => {
  const el = document.createElement(tag);
  el.textContent = text;
  if (cls) { el.className = cls; }
  card.appendChild(el);
  return el;
};
add("h1", "This session was ended by an operator").id = "panelbus-ended-title";
if (reason) { add("p", reason, "reason"); }
add("p", "Whatever it was still working on has been told to stop.");
const button = add("button", "Start a new session");
button.type = "button";
button.addEventListener("click", () => window.location.reload());
view.appendChild(card);
for (const el of document.body.children) { el.inert = true; }
document.body.append(style, view);
document.body.style.overflow = "hidden";
button.focus();
cb_obj.name = seen;
"""


def current_page() -> Page | None:
    """The Panel or Bokeh session whose code is running now, or None outside one."""
    panel = sys.modules.get("panel")
    if panel is not None and hasattr(panel, "state"):
        doc = panel.state.curdoc
        user = panel.state.user if doc is not None else None
    elif "bokeh.io" in sys.modules:
        doc, user = sys.modules["bokeh.io"].curdoc(), None
    else:
        return None
    context = getattr(doc, "session_context", None)
    if doc is None or context is None or not getattr(context, "id", None):
        return None
    return Page(doc, context, user if isinstance(user, str) and 0 < len(user) <= 255 else None)


class Page:
    """One browser page and the Bokeh session behind it. ``user`` is who logged in, if anybody."""

    def __init__(self, doc: Any, context: Any, user: str | None) -> None:
        self.id = str(context.id)
        self.user = user
        self._doc = doc
        self._context = context
        self._lock = threading.Lock()
        self._destroyed = False
        self._callbacks: list[Callable[[], None]] = []
        self._listening = False

    def on_destroyed(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once when Bokeh destroys the session: tab closed, reload, `end`."""
        with self._lock:
            self._callbacks.append(callback)
        self._listen()

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            self._doc.on_session_destroyed(self._on_destroyed)

    def _on_destroyed(self, session_context: Any) -> None:  # the name is checked by Bokeh
        del session_context
        with self._lock:
            self._destroyed = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def end(
        self,
        reason: str | None,
        done: Callable[[str | None], None],
        began: Callable[[], None] = lambda: None,
    ) -> None:
        """End this page for good; returns at once, from any thread.

        On the server's event loop, as soon as it runs: the page shows that it was ended and why,
        its websockets are closed, and the session is destroyed and forgotten by Bokeh.

        Args:
            reason: shown to the user, as text.
            done: called once, on the loop: with None when the session is gone, else with why not.
            began: called before, on the loop, when it has begun, unless there is nothing to end.
        """
        self._listen()
        application = self._context.server_context.application_context
        if self._destroyed or application is None:
            done(None)
            return
        ending = self._end(application, reason, done, began)
        try:
            application.io_loop.asyncio_loop.call_soon_threadsafe(_start, ending)
        except RuntimeError as error:  # the loop has been closed: the server is going down
            ending.close()
            done(f"the app's event loop is gone: {error}")

    async def _end(
        self,
        application: Any,
        reason: str | None,
        done: Callable[[str | None], None],
        began: Callable[[], None],
    ) -> None:
        began()
        try:
            session = await self._session()
            if session is not None:
                await self._show(session, reason)
                await _discard(application, session)
        # whatever Bokeh raises must be told to the operator, not lost in the loop
        except Exception as error:
            log.exception("the page of Bokeh session %s could not be ended", self.id)
            done(f"the page could not be ended: {type(error).__name__}: {error}"[:500])
        else:
            done(None)

    async def _session(self) -> Any:
        """The Bokeh session, which exists only after the code that builds the page has run."""
        import asyncio

        waited = 0.0
        while self._context.session is None and not self._destroyed and waited < ARRIVAL_TIME:
            await asyncio.sleep(STEP)
            waited += STEP
        return None if self._destroyed else self._context.session

    async def _show(self, session: Any, reason: str | None) -> None:
        """Let every connected page show its end, waiting for one that is just being loaded."""
        import asyncio

        from bokeh.models import ColumnDataSource, CustomJS

        trigger = ColumnDataSource()
        seen = asyncio.Event()

        def answered(_attribute: str, _old: str | None, new: str | None) -> None:
            if new == SEEN:
                seen.set()

        def prepare() -> None:
            script = CustomJS(args={"reason": reason or "", "seen": SEEN}, code=_ENDED_JS)
            trigger.js_on_change("tags", script)
            trigger.on_change("name", answered)
            self._doc.add_root(trigger)
            self._doc.config.reconnect_session = False

        def pull(count: int) -> None:
            trigger.tags = [count]

        await session.with_document_locked(prepare)
        new = session.milliseconds_since_last_unsubscribe < ARRIVAL_TIME * 1000
        waited = 0.0
        while new and session.connection_count == 0 and waited < ARRIVAL_TIME:
            await asyncio.sleep(STEP)
            waited += STEP
        # pulled until it answers: a page that is still fetching its document misses the first
        for count in range(round(SHOW_TIME / STEP)):
            if session.connection_count == 0 or session.destroyed or seen.is_set():
                break
            await session.with_document_locked(pull, count + 1)
            await asyncio.sleep(STEP)


_running: set[asyncio.Task[None]] = set()  # an asyncio loop itself holds tasks only weakly


def _start(ending: Any) -> None:
    import asyncio

    task = asyncio.ensure_future(ending)
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _discard(application: Any, session: Any) -> None:
    """Close a session's websockets, destroy it, and make Bokeh forget it.

    Private names of Bokeh 3.9: ServerSession._subscribed_connections, ServerConnection._socket,
    WSHandler.connection, ApplicationContext._discard_session and ._sessions.
    """
    import asyncio

    for connection in list(session._subscribed_connections):
        connection._socket.close(1000, "session ended")
    waited = 0.0
    while session.connection_count > 0 and waited < CLOSE_TIME:
        await asyncio.sleep(STEP)
        waited += STEP
    for connection in list(session._subscribed_connections):  # a browser that does not answer
        handler = connection._socket
        # what the handler does when its websocket closes, which is then not to be done again
        handler.application.client_lost(connection)
        handler.connection = None
    if not session.destroyed and session.id in application._sessions:
        await application._discard_session(session, lambda _session: True)
    if session.id in application._sessions:
        raise RuntimeError("Bokeh kept the session")
