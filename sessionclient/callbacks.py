"""Running an app's callbacks: once each, in order, each bounded, on threads of their own.

A callback that raises is logged and reported; one that hangs is left behind after its time and the
next one runs on a fresh thread. Nothing here runs on the I/O thread or on the app's event loop, so
callbacks run even while that loop is blocked.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Final

from sessionclient.errors import Misuse
from sessionclient.text import sendable

log = logging.getLogger("sessionclient")

Callback = Callable[[], object]

DEFAULT_TIMEOUT: Final = 10.0  # seconds one callback may take
TIMEOUT_VARIABLE: Final = "PANELBUS_CALLBACK_TIMEOUT"
MAX_RUNNERS: Final = 256  # sessions whose callbacks run at the same time
RUNNER_IDLE: Final = 5.0  # seconds an idle runner thread stays
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


def run_all(callbacks: list[Callback], timeout: float) -> list[str]:
    """Run every callback and return what went wrong, a text for each that failed.

    Blocks for at most ``timeout`` seconds for each callback.
    """
    return [error for callback in callbacks if (error := _run_one(callback, timeout)) is not None]


def _run_one(callback: Callback, timeout: float) -> str | None:
    outcome: list[str] = []

    def call() -> None:
        try:
            callback()
        except BaseException as error:
            log.exception("the callback %s failed", _name(callback))
            outcome.append(f"{_name(callback)} raised {describe(error, MAX_ERROR_CHARS)}")

    thread = threading.Thread(target=call, name="panelbus-callback", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is shutting down and starts no more threads
        call()
        return outcome[0] if outcome else None
    thread.join(timeout)
    if thread.is_alive():
        text = f"{_name(callback)} did not end within {timeout:g} s"
        log.error("the callback %s; it is left behind", text)
        return text
    return outcome[0] if outcome else None


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
    """A few threads, grown when needed and gone when idle, that run jobs in the background."""

    def __init__(self, limit: int = MAX_RUNNERS, idle: float = RUNNER_IDLE) -> None:
        self._limit, self._idle = limit, idle
        # bounded by the sessions of the process: each hands in a job or two in its life
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._open = 0  # jobs that were handed in and are not done

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` soon; it must not raise. Never blocks on other jobs, unless this process
        can't have a single thread more: then it runs at once, because a kill must be done."""
        with self._lock:
            self._open += 1
            grow = self._open > self._threads and self._threads < self._limit
            self._threads += grow
        if grow and not self._start() and self._threads == 0:
            job()
            with self._lock:
                self._open -= 1
            return
        self._jobs.put(job)

    def _start(self) -> bool:
        thread = threading.Thread(target=self._work, name="panelbus-runner", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had; those there are will do it
            with self._lock:
                self._threads -= 1
            return False
        return True

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._idle)
            except queue.Empty:
                with self._lock:
                    # as long as jobs outnumber the threads that stay, one is on its way to us
                    if self._open >= self._threads:
                        continue
                    self._threads -= 1
                    return
            try:
                job()
            finally:
                with self._lock:
                    self._open -= 1
