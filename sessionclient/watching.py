"""Following changes from another thread or an event loop, bounded and without a silent gap."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final

from sessionclient.mirror import Change

MAX_WAITING: Final = 10_000  # changes kept for a slow reader; more, and it gets a new snapshot


class Watch:
    """An iterator of changes: a snapshot first. Ends when it or its operator is closed.

    A reader that is too slow loses what waited and gets a fresh snapshot instead.
    """

    def __init__(self, resync: Callable[[], None], leave: Callable[[Watch], None]) -> None:
        self._resync, self._leave = resync, leave
        self._ready = threading.Condition()
        self._changes: deque[Change] = deque()
        self._overrun = False
        self._finished = False
        self.notify: Callable[[], None] | None = None  # told, in the I/O thread, of every change

    # --- in the I/O thread -------------------------------------------------------------------

    def push(self, change: Change) -> None:
        """Hand over one change; never blocks."""
        with self._ready:
            if change.kind == "snapshot":
                # it replaces all news but that of the state, which is told before it
                states = [waiting for waiting in self._changes if waiting.kind == "state"]
                self._changes.clear()
                self._changes.extend(states[-1:])
                self._overrun = False
            elif self._overrun and change.kind != "state":
                return
            elif len(self._changes) >= MAX_WAITING:
                self._changes.clear()
                self._overrun = True
                self._resync()
                if change.kind != "state":
                    return
            self._changes.append(change)
            self._ready.notify_all()
        if self.notify is not None:
            self.notify()

    def finish(self) -> None:
        """No more changes will come."""
        with self._ready:
            self._finished = True
            self._ready.notify_all()
        if self.notify is not None:
            self.notify()

    # --- for the reader ----------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> Change | None:
        """The next change; None when the watch has ended or nothing came in ``timeout`` seconds."""
        with self._ready:
            self._ready.wait_for(lambda: self._changes or self._finished, timeout)
            return self._changes.popleft() if self._changes else None

    @property
    def finished(self) -> bool:
        """Whether no more changes will come."""
        return self._finished and not self._changes

    def resync(self) -> None:
        """Ask for a new snapshot; it comes among the changes."""
        self._resync()

    def close(self) -> None:
        """Stop following; idempotent."""
        self._leave(self)
        self.finish()

    def __iter__(self) -> Iterator[Change]:
        while True:
            change = self.get()
            if change is None:
                return
            yield change

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()
