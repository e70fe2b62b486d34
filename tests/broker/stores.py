"""Rows for stores, and a store of dicts beside which every other store must behave the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from broker.store import (
    AuditRow,
    Batch,
    CommandRow,
    CopyRefused,
    Kept,
    Loaded,
    ProcessRow,
    SessionRow,
    StoreUnavailable,
    TaskRow,
)
from broker.store_purge import PURGE_ROWS
from tests.support.bench import Rows

EVERYTHING = 1_000_000  # a limit that is none

T = TypeVar("T")


def process(instance: str = "p", **more: Any) -> ProcessRow:
    return ProcessRow(instance, "bus", b"\x00\xffhash", "host1", 42, 10.0)._replace(**more)


def session(session_id: str = "s", seq: int = 1, **more: Any) -> SessionRow:
    """A live session of the process "p"."""
    row = SessionRow(
        session_id, seq, "sales", "ann", "p", 9.5, "idle", None, None, None, None, None, None, None
    )
    return row._replace(**more)


def ended(
    session_id: str = "s", seq: int = 1, at: float = 20.0, reason: str = "closed", **more: Any
) -> SessionRow:
    return session(session_id, seq, ended_at=at, end_reason=reason, **more)


def task(number: int, session_id: str = "s", **more: Any) -> TaskRow:
    return TaskRow(session_id, number, f"task {number}", 1.0, 2.0, "ok", None)._replace(**more)


def command(command_id: str = "c", at: float = 11.0, **more: Any) -> CommandRow:
    """An unfinished kill of the session "s"."""
    row = CommandRow(
        command_id=command_id,
        kind="kill",
        app_name=None,
        targets=("s",),
        reason="why",
        key=None,
        digest=None,
        requested_by="operator op on host1 pid 7",
        requested_at=at,
        finished_at=None,
        stage="requested",
        delivered=0,
        completed=0,
        failed=0,
    )
    return row._replace(**more)


def audit_row(number: int, at: float = 11.0, **more: Any) -> AuditRow:
    """The row of a kill of the session "s"."""
    row = AuditRow(number, at, "key ann", "kill", "requested", None, ("s",), "why", "c", None)
    return row._replace(**more)


def finished(command_id: str, at: float, **more: Any) -> CommandRow:
    """A kill asked for at ``at`` and completed a second later."""
    fields = {"finished_at": at + 1.0, "stage": "completed", "completed": 1, **more}
    return command(command_id, at, **fields)


class DictStore:
    """`broker.store.Store` over `Rows`: what it does in the plainest words there are."""

    def __init__(self) -> None:
        self._rows = Rows()
        self._last_seq = self._last_audit = 0

    def load(self, *, max_tombstones: int, max_commands: int, max_gone: int) -> Loaded:
        loaded = self._rows.load()
        done = [row for row in loaded.commands if row.finished_at is not None]
        done.sort(key=lambda row: row.finished_at or 0.0)
        kept = {row.command_id for row in _last(done, max_commands)}
        loaded.commands = [
            row for row in loaded.commands if row.finished_at is None or row.command_id in kept
        ]
        loaded.tombstones.sort(key=lambda row: (row.ended_at, row.seq))
        loaded.tombstones = _last(loaded.tombstones, max_tombstones)
        loaded.gone = _last(loaded.gone, max_gone)
        loaded.last_seq, loaded.last_audit = self._last_seq, self._last_audit
        badly = list(loaded.ended_badly)
        loaded.ended_badly = {sid: loaded.ended_badly[sid] for sid in _last(badly, max_commands)}
        return loaded

    def commit(self, batch: Batch) -> Kept:
        kept = self._rows.commit(batch)
        self._last_seq = max(self._last_seq, *(row.seq for row in batch.sessions), 0)
        more = False
        if batch.purge_before is not None:
            more = self._purge(batch.purge_before)
        self._last_audit = max(self._last_audit, *self._rows.audit, 0)
        if batch.purge_audit_before is not None:
            limit = int(batch.purge_audit_before)
            old = sorted(
                (row.at, row.number) for row in self._rows.audit.values() if row.at < limit
            )
            for _, number in old[:PURGE_ROWS]:
                del self._rows.audit[number]
            more = more or len(old) >= PURGE_ROWS
        return kept._replace(more_to_purge=more)

    def check(self, *, probe: bool) -> StoreUnavailable | None:
        return None

    def copy(self, file: str, go_on: Callable[[], bool]) -> tuple[str, int]:
        raise CopyRefused(f"{file} can't hold a store of dicts", "bad_request")

    def _purge(self, before: float) -> bool:
        rows = self._rows
        ended = _first(
            r for r in rows.sessions.values() if r.ended_at is not None and r.ended_at < before
        )
        for row in ended:
            del rows.sessions[row.session_id]
            for key in [key for key in rows.tasks if key[0] == row.session_id]:
                del rows.tasks[key]
        orders = _first(c for c in rows.commands.values() if _is_history(c, before))
        for old in orders:
            del rows.commands[old.command_id]
        owners = {row.process for row in rows.sessions.values()}
        silent = (p for p in rows.processes.values() if p.heard_at < before)
        unowned = _first(p for p in silent if p.instance not in owners)
        for gone in unowned:
            del rows.processes[gone.instance]
        return PURGE_ROWS in (len(ended), len(orders), len(unowned))

    def tasks(self, session_id: str, limit: int) -> list[TaskRow]:
        mine = [row for row in self._rows.tasks.values() if row.session_id == session_id]
        return _last(sorted(mine, key=lambda row: row.task_no), limit)

    def audit(self, before: int | None, limit: int) -> list[AuditRow]:
        rows = sorted(self._rows.audit.values(), key=lambda row: -row.number)
        return [row for row in rows if before is None or row.number < before][:limit]

    def close(self) -> None:
        """Nothing to release."""


def _is_history(row: CommandRow, before: float) -> bool:
    if row.stage == "refused":
        return row.requested_at < before
    return row.finished_at is not None and row.finished_at < before


def _first(rows: Iterable[T]) -> list[T]:
    return list(rows)[:PURGE_ROWS]


def _last(rows: list[T], limit: int) -> list[T]:
    return rows[-limit:] if limit else []
