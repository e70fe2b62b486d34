"""Simulated disks: what is not synced may be lost, and a commit may fail in every way."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.store import ALL_WELL, AuditRow, Batch, Kept, Loaded, StoreUnavailable, TaskRow
from broker.store_sqlite import SqliteStore
from tests.broker.stores import EVERYTHING, DictStore
from tests.simulation.world import Broken
from tests.support.bench import Rows

WORDS: Final = {
    "full": "no space left",
    "busy": "locked by another program",
    "readonly": "can't be written",
}


class Durable(DictStore):
    """The rows that would be there after a power cut."""

    @property
    def rows(self) -> Rows:
        return self._rows


class SimStore:
    """`broker.store.Store` with a cache: a batch is written first, and durable once synced.

    ``fault`` is what happens to the next commit:

    - ``full``, ``busy``, ``io``, ``readonly``: it fails and nothing is kept;
    - ``kept``: it fails, but everything is kept and durable;
    - ``torn``: it fails, written but not synced: the next commit keeps it, a crash may lose it.
    """

    def __init__(self) -> None:
        self.durable = Durable()
        self.fault: str | None = None
        self._unsynced: list[Batch] = []

    @property
    def rows(self) -> Rows:
        return self.durable.rows

    def load(self, *, max_tombstones: int, max_commands: int, max_gone: int) -> Loaded:
        return self.durable.load(
            max_tombstones=max_tombstones, max_commands=max_commands, max_gone=max_gone
        )

    def commit(self, batch: Batch) -> Kept:
        fault, self.fault = self.fault, None
        kept = ALL_WELL
        if fault is None or fault == "kept":
            self._write(batch)
            kept = self._sync()
        elif fault == "torn":
            self._write(batch)
        if fault is not None:
            cause = fault if fault in WORDS else "io"
            raise StoreUnavailable(WORDS.get(fault, "writing failed"), cause)
        return kept

    def _write(self, batch: Batch) -> None:
        self._unsynced.append(batch)

    def _sync(self) -> Kept:
        """Returns what the last batch is told."""
        kept = ALL_WELL
        for batch in self._unsynced:
            kept = self.durable.commit(batch)
        self._unsynced = []
        return kept

    def power_cut(self, dice: random.Random) -> int:
        """What was not synced is lost, but for a prefix of it; how many batches were lost."""
        survive = dice.randint(0, len(self._unsynced))
        lost = len(self._unsynced) - survive
        del self._unsynced[survive:]
        self._sync()
        return lost

    def tasks(self, session_id: str, limit: int) -> list[TaskRow]:
        return self.durable.tasks(session_id, limit)

    def audit(self, before: int | None, limit: int) -> list[AuditRow]:
        return self.durable.audit(before, limit)

    def check(self, *, probe: bool) -> StoreUnavailable | None:
        return self.durable.check(probe=probe)

    def copy(self, file: str, go_on: Callable[[], bool]) -> tuple[str, int]:
        return self.durable.copy(file, go_on)

    def close(self) -> None:
        """Nothing to release."""


class TwinStore(SimStore):
    """The simulated store beside a real SQLite file that takes the same batches: they must agree
    whenever a broker starts, and at the end."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._real = SqliteStore.open(path)

    def _sync(self) -> Kept:
        kept = ALL_WELL
        for batch in self._unsynced:
            kept = self._real.commit(batch)
        if super()._sync() != kept:
            raise Broken("I10", f"SQLite would reopen others: {kept}")
        return kept

    def power_cut(self, dice: random.Random) -> int:
        lost = super().power_cut(dice)
        self._real.close()
        self._real = SqliteStore.open(self._path)
        return lost

    def load(self, *, max_tombstones: int, max_commands: int, max_gone: int) -> Loaded:
        self.compare()
        return self._real.load(
            max_tombstones=max_tombstones, max_commands=max_commands, max_gone=max_gone
        )

    def compare(self) -> None:
        """Raises Broken when SQLite holds anything else than what was committed."""
        real = self._real.load(
            max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING
        )
        plain = self.durable.load(
            max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING
        )
        for name in Loaded.__slots__:
            one, other = getattr(real, name), getattr(plain, name)
            if name in ("processes", "gone", "commands"):  # in no order where times are equal
                one, other = sorted(one), sorted(other)
            if one != other:
                raise Broken("I8", f"SQLite has other {name}: {one} instead of {other}")

    def tasks(self, session_id: str, limit: int) -> list[TaskRow]:
        return self._real.tasks(session_id, limit)

    def audit(self, before: int | None, limit: int) -> list[AuditRow]:
        return self._real.audit(before, limit)

    def close(self) -> None:
        self._real.close()
