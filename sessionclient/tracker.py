"""SessionClient: one user's session in one app, as the app sees it.

Every method returns at once whatever the broker does: state is kept here, and the process's I/O
thread tells the broker when it can.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Final, Literal

from sessionclient import panel_hooks, process
from sessionclient.arguments import Settings, checked_name
from sessionclient.callbacks import Callback, Calls, describe
from sessionclient.errors import Misuse
from sessionclient.hub import DEFAULT_HEARTBEAT, Hub
from sessionclient.replica import MAX_DONE_WAITING, SessionState, TaskDone
from sessionclient.tasks import TaskStack
from sessionclient.wire import MAX_LONG_TEXT_CHARS

log = logging.getLogger("sessionclient")

PAGE_END_TIMEOUT: Final = 10.0  # seconds the app's loop may be blocked until that is reported


class SessionClient:
    """One session. Attributes: ``session_id``, ``app_name``, ``user_id``, ``killed`` (set by a
    kill), ``kill_reason`` and ``online`` (whether the broker has this session now).

    In a forked child an inherited tracker does nothing: the session is its parent's.
    """

    def __init__(
        self,
        app_name: str,
        user_id: str | None = None,
        server_url: str | None = None,
        heartbeat_interval: float = DEFAULT_HEARTBEAT,
    ) -> None:
        """Register a new session; `get_tracker` is what an app usually wants.

        Args:
            app_name: 1 to 255 characters.
            user_id: 1 to 255 characters, or None.
            server_url: the broker, as tcp://HOST:PORT; default PANELBUS_URL, then
                tcp://127.0.0.1:5760.
            heartbeat_interval: seconds; the process beats at the shortest its sessions ask for.

        Raises:
            Misuse: (a ValueError) an argument is wrong.
        """
        settings = Settings.check(app_name, user_id, server_url, heartbeat_interval)
        self._set_up(settings, None)
        self._register(process.current(), None)

    @classmethod
    def get_tracker(
        cls,
        app_name: str,
        user_id: str | None = None,
        server_url: str | None = None,
        heartbeat_interval: float = DEFAULT_HEARTBEAT,
    ) -> SessionClient:
        """The tracker of the current Panel session, or a new one for it.

        Outside Panel there is one for each app name in the process. Arguments and errors are
        those of the constructor; in Panel ``user_id`` defaults to the logged-in user.
        """
        settings = Settings.check(app_name, user_id, server_url, heartbeat_interval)
        page = panel_hooks.current_page()
        state = process.current()
        key = (settings.url, "app", app_name) if page is None else (settings.url, "page", page.id)
        with state.lock:
            found = state.trackers.get(key)
            if found is not None:
                if found.app_name != app_name:
                    log.warning(
                        "this Panel session is registered as %r already, not as %r",
                        found.app_name,
                        app_name,
                    )
                return found
            tracker = cls.__new__(cls)
            if page is not None and settings.user_id is None:
                settings.user_id = page.user
            tracker._set_up(settings, page)
            was_ended, reason = (False, None) if page is None else state.ended_page(page.id)
            if not was_ended:
                tracker._register(state, key)
                return tracker
            state.trackers[key] = tracker
        tracker._be_dead(reason)
        return tracker

    def _set_up(self, settings: Settings, page: panel_hooks.Page | None) -> None:
        self.session_id = uuid.uuid4().hex
        self.app_name = settings.app_name
        self.user_id = settings.user_id
        self._killed: threading.Event | None = None  # made when it is asked for: it takes 1 kB
        self._was_killed = False
        self.kill_reason: str | None = None
        self.queued = False  # the hub's mark
        self._settings = settings
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._stack = TaskStack()
        self._done: list[TaskDone] = []
        self._callbacks: list[Callback] = []
        self._ending: str | None = None  # why, from the moment the end begins
        self._callbacks_over: threading.Event | None = None  # from that moment on, too
        self._reported = False
        self._kill_errors: list[str] = []
        self._page = page
        self._hub: Hub | None = None
        self._state = process.current()

    def _register(self, state: process.ProcessState, key: process.Key | None) -> None:
        with state.lock:
            if key is not None:
                state.trackers[key] = self
            state.live[self.session_id] = self
        self._hub = state.hubs.get(self._settings.url)
        self._hub.add(self, self._settings.heartbeat_interval)
        if self._page is not None:
            self._page.on_destroyed(self._page_destroyed)

    def _be_dead(self, reason: str | None) -> None:
        """A browser came back to a page whose session was killed: it stays ended."""
        self._ending, self._reported = "killed", True
        self._note_kill(reason)
        if self._page is not None:
            self._page.on_destroyed(lambda: self._state.forget(self))
            self._page.end(reason, lambda _error: None)

    # --- what the app uses -------------------------------------------------------------------

    @property
    def killed(self) -> threading.Event:
        """Set by a kill: what a long task looks at, or waits for."""
        with self._lock:
            if self._killed is None:
                self._killed = threading.Event()
                if self._was_killed:
                    self._killed.set()
            return self._killed

    @property
    def online(self) -> bool:
        """Whether the broker is connected and has this session."""
        return self._hub is not None and not self._foreign() and self._hub.online(self.session_id)

    def task(self, name: str) -> Task:
        """A context manager, for ``with`` and ``async with``: the session runs this task in it.

        Raises:
            Misuse: the name is not text of 1 to 255 characters.
        """
        return Task(self, checked_name("task name", name))

    def on_kill(self, callback: Callable[[], object]) -> None:
        """Run ``callback`` once, on a thread of its own, when the session is killed or ends.

        Any number may be registered; they run in order. One that takes longer than
        PANELBUS_CALLBACK_TIMEOUT (10 s) is left behind. After the end it runs at once.

        Raises:
            Misuse: it can't be called.
        """
        if not callable(callback):
            raise Misuse("on_kill needs something that can be called without arguments")
        if self._foreign():
            return
        with self._lock:
            if self._ending is None:
                self._callbacks.append(callback)
                return
        self._state.runners.submit(lambda: self._run_late(callback))

    def stop(self) -> None:
        """End the session: callbacks, then the broker is told. May be called again, anywhere."""
        calls = None if self._foreign() else self._begin_end("stopped")
        if calls is not None:
            self._run(calls)
            self._report_end("stopped")

    def __repr__(self) -> str:
        return f"<SessionClient {self.app_name!r} {self.session_id[:8]}>"

    # --- tasks -------------------------------------------------------------------------------

    def start_task(self, name: str) -> int:
        """Begin a task by hand; returns its number for `end_task`. `task` is the usual way."""
        if self._hub is None or self._foreign():
            return 0
        with self._lock:
            number = self._stack.start(name, time.monotonic())
        self._hub.changed(self)
        return number

    def end_task(self, number: int, error: BaseException | None = None) -> None:
        """End a task; ``error`` is what its body raised."""
        if self._hub is None or self._foreign():
            return
        now = time.monotonic()
        text = None if error is None else describe(error, MAX_LONG_TEXT_CHARS)
        with self._lock:
            ended = self._stack.end(number)
            if ended is not None:
                outcome = "ok" if error is None else "error"
                name, since = ended
                if len(self._done) >= MAX_DONE_WAITING:
                    del self._done[0]
                self._done.append(
                    TaskDone(self.session_id, number, name, since, now - since, outcome, text)
                )
        self._hub.changed(self)

    # --- ending ------------------------------------------------------------------------------

    def _foreign(self) -> bool:
        """Whether this is a forked child, where the session is not ours."""
        return self._pid != os.getpid()

    def _begin_end(self, reason: str) -> Calls | None:
        """The callbacks, for the one caller that carries the end out; None for all others."""
        with self._lock:
            if self._ending is not None:
                return None
            self._ending, self._callbacks_over = reason, threading.Event()
            callbacks, self._callbacks = self._callbacks, []
        return Calls(callbacks, self._state.callers)

    def _run(self, calls: Calls, timeout: float | None = None) -> list[str]:
        limit = self._settings.callback_timeout
        try:
            return calls.run(limit if timeout is None else min(limit, timeout))
        finally:
            if self._callbacks_over is not None:
                self._callbacks_over.set()

    def _run_late(self, callback: Callback) -> None:
        Calls([callback], self._state.callers).run(self._settings.callback_timeout)

    def _report_end(self, reason: str, error: str | None = None) -> None:
        """Tell the broker, once, and let go of everything."""
        with self._lock:
            if self._reported:
                return
            self._reported = True
        if self._hub is not None:
            self._hub.end(self, reason, error)
        self._state.forget(self)

    def _page_destroyed(self) -> None:
        """Bokeh has destroyed the page: a closed tab, a reload, or our own end of it."""
        if self._foreign():
            return
        calls = self._begin_end("closed")
        if calls is not None:
            self._state.runners.submit(partial(self._close, calls))
        elif self._ending == "killed":
            self._page_gone(None)

    def _close(self, calls: Calls) -> None:
        self._run(calls)
        self._report_end("closed")

    def exit(self, timeout: float) -> None:
        """The process exits; callbacks have this many seconds each. The hub says goodbye."""
        if self._foreign():
            return
        calls = self._begin_end("exit")
        if calls is not None:
            self._run(calls, timeout)
        elif self._callbacks_over is not None:
            # an end that is under way on another thread would be cut off with the process
            self._callbacks_over.wait(timeout)

    # --- being killed ------------------------------------------------------------------------

    def on_command(self, _command_id: str, reason: str | None) -> None:
        """A kill has arrived (called in the I/O thread)."""
        self._note_kill(reason)
        calls = self._begin_end("killed")
        if calls is not None:
            calls.begin()  # before there is a thread that waits for it: the first is what is urgent
            self._state.runners.submit(partial(self._carry_out, calls))

    def _note_kill(self, reason: str | None) -> None:
        with self._lock:
            self.kill_reason, self._was_killed = reason, True
            if self._killed is not None:
                self._killed.set()

    def _carry_out(self, calls: Calls) -> None:
        """Callbacks, then the page; on a runner thread, since either may take its time."""
        self._kill_errors = self._run(calls)
        if self._page is None:
            self._page_gone(None)
            return
        self._state.page_ended(self._page.id, self.kill_reason)
        began, over = threading.Event(), threading.Event()

        def done(error: str | None) -> None:
            self._page_gone(error)
            over.set()
            began.set()  # or there was nothing to begin with

        self._page.end(self.kill_reason, done, began.set)
        # what browsers may take to answer is not the loop's fault
        if began.wait(PAGE_END_TIMEOUT) and over.wait(PAGE_END_TIMEOUT + panel_hooks.END_TIME):
            return
        if self._hub is not None and not self._reported:
            text = (
                f"callbacks have run, but the app's event loop did not for {PAGE_END_TIMEOUT:g} s,"
                " so the page is still open; it ends when the loop is free"
            )
            self._hub.failed(self, "; ".join([text, *self._kill_errors]))

    def _page_gone(self, error: str | None) -> None:
        if error is None:
            self._report_end("killed", "; ".join(self._kill_errors) or None)
        elif self._hub is not None:
            self._hub.failed(self, "; ".join([error, *self._kill_errors]))

    # --- what the hub uses -------------------------------------------------------------------

    def snapshot(self) -> SessionState:
        """The present state (called in the I/O thread)."""
        with self._lock:
            status, task, since = self._stack.current()
        return SessionState(
            self.session_id, self.app_name, self.user_id, self._started, status, task, since
        )

    def take_done(self) -> list[TaskDone]:
        """Tasks that finished since the last call (called in the I/O thread)."""
        with self._lock:
            done, self._done = self._done, []
        return done


class Task:
    """One task of a session; the same object may be entered again after it was left."""

    __slots__ = ("_name", "_numbers", "_tracker")

    def __init__(self, tracker: SessionClient, name: str) -> None:
        self._tracker, self._name = tracker, name
        self._numbers: list[int] = []

    def __enter__(self) -> Task:
        self._numbers.append(self._tracker.start_task(self._name))
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> Literal[False]:
        self._tracker.end_task(self._numbers.pop(), error)
        return False

    async def __aenter__(self) -> Task:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        return self.__exit__(kind, error, trace)
