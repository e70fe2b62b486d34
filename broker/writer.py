"""The thread that waits for the disk, so that the bus never does: one batch at a time."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from broker.store import ALL_WELL, Batch, Kept, Store, StoreError

log = logging.getLogger("panelbus.broker")

MAX_READS: Final = 100  # questions to the store that wait for their turn

Read = Callable[[Store], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch, and how long it took (seconds)."""

    error: StoreError | None
    seconds: float
    kept: Kept = ALL_WELL


@dataclass(frozen=True, slots=True)
class Checked:
    """How the store is: why it takes nothing, or soon won't; None when all is well."""

    trouble: StoreError | None


class Writer:
    """Commits batches in a thread of its own, and reads history between them."""

    def __init__(self, store: Store, on_done: Callable[[Outcome | Checked], None]) -> None:
        """``on_done`` is called in the writer's thread after each batch and each check."""
        self._store = store
        self._on_done = on_done
        # one batch, the reads, of which `read` takes MAX_READS at most, and the word to stop
        self._queue: queue.SimpleQueue[Batch | Read | None] = queue.SimpleQueue()
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="panelbus-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether a batch may be submitted."""
        return not self._busy

    def submit(self, batch: Batch) -> None:
        """Commit a batch; raises RuntimeError while another one is under way."""
        if self._busy:
            raise RuntimeError("the writer is busy with a batch")
        self._busy = True
        self._queue.put(batch)

    def read(self, read: Read) -> bool:
        """Run ``read`` on the store in the writer's thread; False when too many wait already."""
        if self._queue.qsize() >= MAX_READS:
            return False
        self._queue.put(read)
        return True

    def check(self, *, probe: bool) -> bool:
        """Look how the store is, when it is its turn; False when too much waits already."""
        return self.read(partial(self._check, probe))

    def _check(self, probe: bool, store: Store) -> None:
        try:
            trouble: StoreError | None = store.check(probe=probe)
        except StoreError as error:
            trouble = error
        self._on_done(Checked(trouble))

    def close(self, timeout: float) -> bool:
        """Finish what is queued and close the store; True if that was done in time (seconds)."""
        if self._thread.ident is None:
            self._store.close()
            return True
        if self._thread.is_alive():
            self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Batch):
                outcome = self._commit(item)
                self._busy = False
                self._on_done(outcome)
            else:
                item(self._store)
        self._store.close()

    def _commit(self, batch: Batch) -> Outcome:
        started = time.perf_counter()
        try:
            kept = self._store.commit(batch)
        except StoreError as error:
            return Outcome(error, time.perf_counter() - started)
        return Outcome(None, time.perf_counter() - started, kept)
