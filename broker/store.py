"""What the registry needs kept: the rows, and the small interface every store implements.

The broker's memory is authoritative for what is live; the store is what survives it. Every row
is absolute (it states the whole present truth of its key, never a difference), so committing the
same batch twice is harmless and a commit whose outcome is unknown may simply be repeated.

Times in rows are wall-clock seconds since the Unix epoch (float, UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class ProcessRow(NamedTuple):
    """One life of a client process; a REST session has one of its own, under the session's id."""

    instance: str
    source: str  # "bus" or "rest"
    secret_hash: bytes | None  # SHA-256 of the secret chosen at the first hello; None for REST
    host: str
    pid: int
    heard_at: float  # when anything was last heard from it


class SessionRow(NamedTuple):
    """One session, live while ``ended_at`` is None and history afterwards."""

    session_id: str
    seq: int  # order of registration; unique, kept over restarts, so it can serve as a cursor
    app_name: str
    user_id: str | None
    process: str  # ProcessRow.instance
    start_time: float
    status: str
    current_task: str | None
    task_start: float | None
    kill_command: str | None  # the first CommandRow that asked this session to end
    kill_error: str | None  # why the kill failed although the session lives on
    ended_at: float | None
    end_reason: str | None
    end_error: str | None


class TaskRow(NamedTuple):
    """One finished task of a session; ``task_no`` counts from 1 within the session."""

    session_id: str
    task_no: int
    name: str
    started_at: float
    ended_at: float
    outcome: str  # "ok" or "error"
    error: str | None


class CommandRow(NamedTuple):
    """One operator's command on one or many sessions."""

    command_id: str
    kind: str  # "kill"
    app_name: str | None  # the app of a kill-all, None for a kill of one session
    targets: tuple[str, ...]  # session ids
    reason: str | None
    key: str | None  # idempotency key; unique among commands that have one
    digest: bytes | None  # SHA-256 of what was asked under that key
    requested_by: str
    requested_at: float
    finished_at: float | None
    stage: str  # "requested", "delivered", "completed", "failed", or "refused" (never accepted)
    delivered: int  # how many targets have acknowledged it
    completed: int
    failed: int


class Tombstone(NamedTuple):
    """What is remembered of an ended session, so that it stays ended."""

    session_id: str
    seq: int
    reason: str
    ended_at: float
    kill_command: str | None


@dataclass(slots=True)
class Batch:
    """What one transaction writes: all of it or nothing. Rows replace the row of the same key."""

    processes: list[ProcessRow] = field(default_factory=list)
    sessions: list[SessionRow] = field(default_factory=list)
    tasks: list[TaskRow] = field(default_factory=list)
    commands: list[CommandRow] = field(default_factory=list)
    heard: list[tuple[str, float]] = field(default_factory=list)  # (instance, heard_at) only
    purge_before: float | None = None  # forget history that ended before this time

    def __bool__(self) -> bool:
        return bool(
            self.processes
            or self.sessions
            or self.tasks
            or self.commands
            or self.heard
            or self.purge_before is not None
        )


@dataclass(slots=True)
class Loaded:
    """What a broker starts from."""

    processes: list[ProcessRow] = field(default_factory=list)  # those with live sessions
    sessions: list[SessionRow] = field(default_factory=list)  # live ones, by ascending seq
    commands: list[CommandRow] = field(default_factory=list)  # unfinished and recent, oldest first
    tombstones: list[Tombstone] = field(default_factory=list)  # newest last
    last_seq: int = 0  # the highest seq ever given out


class StoreError(Exception):
    """The store could not do what was asked; the message says what to do about it."""


class StoreUnusable(StoreError):
    """The store can't be opened or trusted at all (wrong file, newer schema, held by another)."""


class StoreUnavailable(StoreError):
    """A commit failed; nothing may be acknowledged, but a later commit may succeed.

    ``cause`` is one word for metrics and health: ``full``, ``busy``, ``io`` or ``readonly``.
    """

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class Store(Protocol):
    """A durable place for rows. Used by one thread at a time."""

    def load(self, *, max_tombstones: int, max_commands: int) -> Loaded:
        """Read what a starting broker needs: at most that many newest tombstones and commands.

        Unfinished commands are always included, whatever ``max_commands`` is. A command of
        stage "refused" is never included.
        """

    def commit(self, batch: Batch) -> None:
        """Write the batch durably and return; afterwards it survives a power cut.

        A session row never reopens a row that has ended, except one whose end_reason is
        "stale" (the broker's own judgement of silence, withdrawn when its process speaks).
        A purge removes at most a bounded number of rows a time; the rest goes with the next.

        Raises:
            StoreUnavailable: nothing was kept, try again later.
            StoreUnusable: the file is no longer what it was; the broker must stop.
        """

    def tasks(self, session_id: str, limit: int) -> list[TaskRow]:
        """The newest ``limit`` finished tasks of a session, oldest first."""

    def close(self) -> None:
        """Release everything; idempotent."""
