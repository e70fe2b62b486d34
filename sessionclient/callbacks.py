"""Running an app's callbacks: once each, in order, each bounded, on threads of their own.

A callback that raises is logged and reported; one that hangs is left behind after its time, thread
and all, and the next one runs on another. No callback runs on the I/O thread or on the app's event
loop, so they run even while that loop is blocked.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from sessionclient.errors import Misuse
from sessionclient.text import sendable

log = logging.getLogger("sessionclient")

Callback = Callable[[], object]
Job = Callable[[], None]

DEFAULT_TIMEOUT: Final = 10.0  # seconds one callback may take
TIMEOUT_VARIABLE: Final = "PANELBUS_CALLBACK_TIMEOUT"
MAX_RUNNERS: Final = 256  # sessions whose callbacks run at the same time
MAX_CALLERS: Final = 10_000  # callbacks that run at the same time, with those left behind
MAX_EAGER: Final = 256  # of them, beyond which a kill's first one waits for its turn
RUNNER_IDLE: Final = 5.0  # seconds an idle runner thread stays
START_PATIENCE: Final = 0.001  # seconds a callback's thread is left alone to begin
MAX_ERROR_CHARS: Final = 300  # of one callback's error in a report


def callback_timeout() -> float:
    """Seconds one callback may take, from PANELBUS_CALLBACK_TIMEOUT or the default.

    Raises:
        Misuse: the variable is not a positive number.
    """
    text = os.environ.get(TIMEOUT_VARIABLE)
    if not text:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise Misuse(f"{TIMEOUT_VARIABLE}={text!r} must be a number of seconds above 0")
    return seconds


class Calls:
    """An end's callbacks: once each, in order, each on a thread of its own while it runs."""

    def __init__(self, callbacks: list[Callback], callers: Runners) -> None:
        self._left = deque(callbacks)
        self._callers = callers
        self._begun: _Call | None = None

    def begin(self) -> None:
        """Start the first one, if there is any, so that it need not wait for the thread of `run`.

        Keeps still for at most `START_PATIENCE` until it has begun: Python runs one thread at a
        time, and that of the callback would wait for this one after it has woken up.
        """
        if self._begun is None and self._left:
            call = _Call(self._left[0])
            if self._callers.offer(call, MAX_EAGER):
                del self._left[0]
                self._begun = call
                call.has_begun.acquire(timeout=START_PATIENCE)

    def run(self, timeout: float) -> list[str]:
        """Run them all and return what went wrong, a text for each that failed.

        Blocks for at most ``timeout`` seconds for each callback. One for which no thread can be
        had, as when the interpreter is shutting down, runs here and takes as long as it takes.
        """
        errors: list[str] = []
        while (call := self._next()) is not None:
            error = call.outcome(timeout)
            if error is not None:
                errors.append(error)
        return errors

    def _next(self) -> _Call | None:
        """One that was begun before, or is now; None when all are done."""
        call, self._begun = self._begun, None
        if call is None and self._left:
            call = _Call(self._left.popleft())
            if not self._callers.offer(call, MAX_CALLERS):
                call()
        return call


class _Call:
    """One callback, to be called once on any thread."""

    __slots__ = ("_callback", "_error", "_running", "has_begun")

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self._error: str | None = None
        # held until it is so; to make an Event takes five times as long
        self.has_begun, self._running = threading.Lock(), threading.Lock()
        self.has_begun.acquire()
        self._running.acquire()

    def __call__(self) -> None:
        self.has_begun.release()
        try:
            self._callback()
        except BaseException as error:
            name = _name(self._callback)
            log.exception("the callback %s failed", name)
            self._error = f"{name} raised {describe(error, MAX_ERROR_CHARS)}"
        finally:
            self._running.release()

    def outcome(self, timeout: float) -> str | None:
        """What went wrong; waits for its end for at most ``timeout`` seconds."""
        if self._running.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            return self._error
        text = f"{_name(self._callback)} did not end within {timeout:g} s"
        log.error("the callback %s; it is left behind", text)
        return text


def _name(callback: Callback) -> str:
    name = getattr(callback, "__qualname__", None)
    return sendable((name if isinstance(name, str) else type(callback).__name__)[:100])


def describe(error: BaseException, limit: int) -> str:
    """An exception as text of at most ``limit`` characters; never raises."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - __str__ of a user's exception may fail as well
        text = "(no text)"
    return sendable(f"{type(error).__name__}: {text}"[:limit])


class Runners:
    """A few threads, grown when needed and gone when idle, that run jobs in the background. A job
    must not raise."""

    def __init__(
        self, name: str = "panelbus-runner", limit: int = MAX_RUNNERS, idle: float = RUNNER_IDLE
    ) -> None:
        """``limit``: how many jobs of `submit` run at the same time."""
        self._name, self._limit, self._idle = name, limit, idle
        # bounded by the sessions of the process: each hands in a job or two in its life
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._open = 0  # jobs that were handed in and are not done

    def submit(self, job: Job) -> None:
        """Run ``job`` soon. Never blocks on other jobs, unless this process can't have a single
        thread more: then it runs at once, because a kill must be done."""
        if self.offer(job, self._limit):
            return
        with self._lock:
            waits = self._threads > 0
            self._open += waits
        if waits:
            self._jobs.put(job)
        else:
            job()

    def offer(self, job: Job, limit: int) -> bool:
        """Run ``job`` now on a thread that is free or new, unless ``limit`` jobs run already or
        there is no thread to be had: False then."""
        with self._lock:
            grow = self._open >= self._threads
            if self._open >= limit:
                return False
            self._open += 1
            self._threads += grow
        if not grow:
            self._jobs.put(job)
            return True
        # the job goes along, so that it has begun by the time that the start is known here
        thread = threading.Thread(target=self._work, args=(job,), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had, or the interpreter is shutting down
            with self._lock:
                self._open -= 1
                self._threads -= 1
            return False
        return True

    def _work(self, job: Job | None) -> None:
        while job is not None:
            try:
                job()
            finally:
                with self._lock:
                    self._open -= 1
            job = self._next()

    def _next(self) -> Job | None:
        """The next job; None when there was none for so long that the thread is to end."""
        while True:
            try:
                return self._jobs.get(timeout=self._idle)
            except queue.Empty:
                with self._lock:
                    # as long as jobs outnumber the threads that stay, one is on its way to us
                    if self._open < self._threads:
                        self._threads -= 1
                        return None
