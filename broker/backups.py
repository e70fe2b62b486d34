"""The thread that copies the database for an operator: one copy at a time, beside everything."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from broker.registry.effects import BackUp
from broker.store import CopyRefused, Store, StoreError

log = logging.getLogger("panelbus.broker")

STOP_TIMEOUT: Final = 2.0  # seconds an unfinished copy has to notice that it is given up

Done = tuple[str, int] | StoreError  # (file, bytes), or why not


class Backups:
    """Copies on request, each in a thread of its own: its disk may be slow, even hang."""

    def __init__(self, store: Store, wake: Callable[[], None]) -> None:
        """``wake`` is called, maybe in that thread, when there is something in `done`."""
        self.done: deque[tuple[BackUp, Done]] = deque()  # bounded by the requests of one turn
        self._store = store
        self._wake = wake
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether a copy is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, asked: BackUp) -> None:
        """Make a copy, unless one is under way."""
        if self.busy:
            self._tell(asked, CopyRefused("another one is under way", "conflict"))
            return
        self._thread = threading.Thread(
            target=self._copy, args=(asked,), name="panelbus-backup", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Give up what is unfinished; nothing of it stays."""
        self._stopping = True
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT)

    def _copy(self, asked: BackUp) -> None:
        try:
            path, size = self._store.copy(asked.file, lambda: not self._stopping)
        except StoreError as error:
            log.warning("no backup was made: %s", error)
            self._tell(asked, error)
            return
        log.info("backup made: %s, %d bytes", path, size)
        self._tell(asked, (path, size))

    def _tell(self, asked: BackUp, done: Done) -> None:
        self.done.append((asked, done))
        self._wake()
