"""The one thread that follows the broker for all pages: watch, board, table, and who is told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from monitor import columns
from monitor.board import Board, Delta, Figures
from monitor.history import History, Series, kills_by_minute
from monitor.table import LiveTable
from sessionclient import Operator
from sessionclient.watching import Watch

log = logging.getLogger("panelbus.monitor")

FLUSH_INTERVAL: Final = 0.05  # seconds changes are gathered before the table has them
TELL_INTERVAL: Final = 0.25  # seconds between two words to the pages that something has changed
TICK_INTERVAL: Final = 1.0  # seconds between looks at who has become stale
CHANGES_A_TURN: Final = 5_000  # taken before the table gets its turn
CLOSE_TIMEOUT: Final = 3.0  # seconds

Listener = Callable[[], None]


class Live:
    """The broker's list, live, for any number of pages. Thread-safe."""

    def __init__(self, server_url: str | None, key_file: str | Path | None = None) -> None:
        """Does not wait for the broker.

        Raises:
            Misuse: the address or the key file is wrong.
        """
        self.operator = Operator(server_url, key_file=key_file)
        self.table = LiveTable()
        self._board = Board(self.operator.stale_after)
        self._history = History()
        self._lock = threading.RLock()  # over the board and the history
        self._listeners: set[Listener] = set()
        self._watch: Watch | None = None
        self._thread: threading.Thread | None = None
        self._pending = Delta()
        self._shown: set[str] = set()  # ids the table has
        self._trouble: str | None = None  # why the broker refuses us, as last told

    # --- for pages ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow; idempotent."""
        with self._lock:
            if self._thread is None:
                self._watch = self.operator.watch()
                self._thread = threading.Thread(
                    target=self._run, args=(self._watch,), name="panelbus-live", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Stop following and disconnect; idempotent."""
        if self._watch is not None:
            self._watch.close()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT)
        self.operator.close()
        self.table.close()

    def resync(self) -> None:
        """Take a new snapshot from the broker."""
        if self._watch is not None:
            self._watch.resync()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener``, in the live thread, when something has changed, at most four times
        a second and at least once; returns what stops that."""
        with self._lock:
            self._listeners.add(listener)
        return lambda: self._leave(listener)

    def _leave(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.discard(listener)

    def read(self, look: Callable[[Board], Any]) -> Any:
        """What ``look`` finds on the board; it must be quick and keep nothing of it."""
        with self._lock:
            return look(self._board)

    def figures(self) -> Figures:
        with self._lock:
            return self._board.figures(datetime.now(UTC))

    def series(self) -> Series:
        with self._lock:
            return self._history.series()

    def kills(self) -> tuple[list[datetime], list[int]]:
        with self._lock:
            return kills_by_minute(self._board.commands.values(), datetime.now(UTC))

    @property
    def listeners(self) -> int:
        """How many pages are told of changes."""
        return len(self._listeners)

    # --- the thread --------------------------------------------------------------------------

    def _run(self, watch: Watch) -> None:
        flush_at = tell_at = tick_at = time.monotonic()
        news = True
        while not watch.finished:
            now = time.monotonic()
            due = min(flush_at if self._pending else tick_at, tell_at if news else tick_at, tick_at)
            news |= self._take(watch, max(0.0, due - now))
            now = time.monotonic()
            if now >= tick_at:
                tick_at = now + TICK_INTERVAL
                news |= self._tick()
            if self._pending and now >= flush_at:
                self._flush()
                flush_at = time.monotonic() + FLUSH_INTERVAL
            if news and now >= tell_at:
                news, tell_at = False, now + TELL_INTERVAL
                self._tell()
        self._tell()

    def _take(self, watch: Watch, timeout: float) -> bool:
        """Apply what has come, waiting for the first; whether anything has."""
        change = watch.get(timeout)
        taken = 0
        while change is not None:
            with self._lock:
                if change.kind == "state":  # only a broker that is found anew has another
                    self._board.stale_after = timedelta(seconds=self.operator.stale_after)
                self._merge(self._board.apply(change, datetime.now(UTC)))
            taken += 1
            change = watch.get(0) if taken < CHANGES_A_TURN else None
        return taken > 0

    def _tick(self) -> bool:
        now = datetime.now(UTC)
        news = self._look_for_trouble()
        with self._lock:
            if self._board.state == "live":
                self._merge(self._board.tick(now))
            if not self._board.ready:
                return news
            return self._history.sample(self._board.by_app, now) or news

    def _look_for_trouble(self) -> bool:
        """Whether the broker has begun, or ceased, to refuse us."""
        trouble = self.operator.trouble
        if trouble == self._trouble:
            return False
        self._trouble = trouble
        if trouble is not None:
            log.warning("the broker at %s refuses us: %s", self.operator.address, trouble)
        return True

    def _merge(self, delta: Delta) -> None:
        pending = self._pending
        pending.everything |= delta.everything
        pending.changed |= delta.changed
        pending.removed |= delta.removed

    def _flush(self) -> None:
        """Write what has changed to the table; the lock is held only to read."""
        if self.table.worn:
            self.table.renew()
            self._shown, self._pending = set(), Delta(everything=True)
        with self._lock:
            pending, self._pending = self._pending, Delta()
            sessions = self._board.sessions
            live = set(sessions) if pending.everything else pending.changed & sessions.keys()
            rows = [columns.row(sessions[sid]) for sid in live]
        touched = self._shown if pending.everything else pending.removed | pending.changed
        gone = (touched - live) & self._shown
        self._shown |= live
        self._shown -= gone
        self.table.remove(gone)
        self.table.put(rows)

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener()
            except Exception:  # whatever is wrong with one page, the others are told
                log.exception("a page could not be told of changes")
