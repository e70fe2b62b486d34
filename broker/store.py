"""What the registry needs kept: the rows, and the small interface every store implements.

The broker's memory is authoritative for what is live; the store is what survives it. Every row
is absolute (it states the whole present truth of its key, never a difference), so committing the
same batch twice is harmless and a commit whose outcome is unknown may simply be repeated.

Times in rows are wall-clock seconds since the Unix epoch (float, UTC).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol


class ProcessRow(NamedTuple):
    """One life of a client process; a REST session has one of its own, under the session's id."""

    instance: str
    source: str  # "bus" or "rest"
    secret_hash: bytes | None  # SHA-256 of the secret chosen at the first hello; None for REST
    host: str
    pid: int
    heard_at: float  # when anything was last heard from it
    owner: str | None = None  # the key or the REST user it belongs to, where those are asked for


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


class StatusRow(NamedTuple):
    """What changes while a session lives. Of one that is not there, or has ended, it is dropped."""

    session_id: str
    status: str
    current_task: str | None
    task_start: float | None
    kill_command: str | None
    kill_error: str | None


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


class AuditRow(NamedTuple):
    """One thing that somebody did, or was refused. Rows are added, never changed."""

    number: int  # counts from 1, over restarts too
    at: float
    actor: str  # who: a key, a REST user, a login
    action: str  # "kill", "kill_all", "cleanup", ...
    outcome: str  # "requested", "completed", "failed", "done", "not accepted" or "refused"
    app_name: str | None
    targets: tuple[str, ...]  # session ids
    reason: str | None
    command_id: str | None
    detail: str | None  # counts, or the cause of a failure


class Tombstone(NamedTuple):
    """What is remembered of an ended session, so that it stays ended."""

    session_id: str
    seq: int
    reason: str
    ended_at: float
    kill_command: str | None
    process: str  # whose session it was: nobody else may speak of it


class EndedBadly(NamedTuple):
    """What went wrong with an ended session under a kill."""

    kill_command: str  # the first one
    kill_error: str | None  # why that failed while the session lived on
    end_error: str | None  # what went wrong at its end


@dataclass(slots=True)
class Batch:
    """What one transaction writes: all of it or nothing. Rows replace the row of the same key."""

    processes: list[ProcessRow] = field(default_factory=list)
    sessions: list[SessionRow] = field(default_factory=list)
    tasks: list[TaskRow] = field(default_factory=list)
    commands: list[CommandRow] = field(default_factory=list)
    heard: list[tuple[str, float]] = field(default_factory=list)  # (instance, heard_at) only
    purge_before: float | None = None  # forget history that ended before this time
    audit: list[AuditRow] = field(default_factory=list)
    purge_audit_before: float | None = None  # forget audit rows older than this time
    statuses: list[StatusRow] = field(default_factory=list)  # written after ``sessions``

    def __bool__(self) -> bool:
        return bool(
            self.processes
            or self.sessions
            or self.statuses
            or self.tasks
            or self.commands
            or self.heard
            or self.audit
            or self.purge_before is not None
            or self.purge_audit_before is not None
        )


@dataclass(slots=True)
class Loaded:
    """What a broker starts from."""

    processes: list[ProcessRow] = field(default_factory=list)  # those with live sessions
    sessions: list[SessionRow] = field(default_factory=list)  # live ones, by ascending seq
    commands: list[CommandRow] = field(default_factory=list)  # unfinished and recent, oldest first
    tombstones: list[Tombstone] = field(default_factory=list)  # newest last
    last_seq: int = 0  # the highest seq ever given out
    # (instance, secret hash) of processes without live sessions, those heard last at the end
    gone: list[tuple[str, bytes]] = field(default_factory=list)
    last_audit: int = 0  # the highest number of an audit row
    ended_badly: dict[str, EndedBadly] = field(default_factory=dict)  # by session id


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


class CopyRefused(StoreError):
    """A copy can't be made where it was asked for; nothing was written.

    ``code`` is one of `sessionclient.wire.ERROR_CODES`.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Kept(NamedTuple):
    """What a commit that succeeded has to tell."""

    # how those sessions ended that the batch would have live again; their rows stay as they were
    refused: tuple[Tombstone, ...] = ()
    # why it is degraded all the same: it lives on its reserve of disk space
    trouble: StoreUnavailable | None = None
    # a purge in it removed a whole piece, so that there may be more
    more_to_purge: bool = False


ALL_WELL: Final = Kept()


class Store(Protocol):
    """A durable place for rows. Used by one thread at a time."""

    def load(self, *, max_tombstones: int, max_commands: int, max_gone: int) -> Loaded:
        """Read what a starting broker needs: at most that many newest tombstones, commands
        (and errors of sessions they ended) and secrets of processes that are gone.

        Unfinished commands are always included, whatever ``max_commands`` is. A command of
        stage "refused" is never included.
        """

    def commit(self, batch: Batch) -> Kept:
        """Write the batch durably and return; afterwards it survives a power cut.

        A session row never reopens a row that has ended, except one whose end_reason is
        "stale" (the broker's own judgement of silence, withdrawn when its process speaks); the
        result names those it would have reopened.
        A purge removes at most a bounded number of rows a time; the rest goes with the next.

        Raises:
            StoreUnavailable: nothing was kept, try again later.
            StoreUnusable: the file is no longer what it was; the broker must stop.
        """

    def check(self, *, probe: bool) -> StoreUnavailable | None:
        """Look whether all is well; why commits fail or will soon, None when all is.

        With ``probe`` something is really written if it was not well before.

        Raises:
            StoreUnusable: as for `commit`.
        """

    def copy(self, file: str, go_on: Callable[[], bool]) -> tuple[str, int]:
        """Write a consistent copy to a new file; returns its whole path and its bytes.

        The one method that another thread may call, beside the others. ``go_on`` is asked every
        now and then; False gives it up.

        Raises:
            CopyRefused: it can't be made there.
            StoreError: it can't be made.
        """

    def tasks(self, session_id: str, limit: int) -> list[TaskRow]:
        """The newest ``limit`` finished tasks of a session, oldest first."""

    def audit(self, before: int | None, limit: int) -> list[AuditRow]:
        """The newest ``limit`` audit rows below number ``before``, newest first."""

    def close(self) -> None:
        """Release everything; idempotent."""
