"""What the registry knows: processes, sessions, commands and peers, and the clock it judges by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from broker.registry.sizes import weigh
from broker.store import CommandRow, ProcessRow, SessionRow, StatusRow

Route = bytes  # the ROUTER's own name for one connection

FINAL_STAGES: Final = ("completed", "failed")


class Now(NamedTuple):
    """The time of an event: ``mono`` decides timeouts, ``wall`` is only stored and shown."""

    mono: float  # seconds of a monotonic clock
    wall: float  # seconds since the Unix epoch, UTC


@dataclass(frozen=True, slots=True)
class Settings:
    """The registry's bounds and times; seconds unless the name says otherwise."""

    stale_after: float = 120.0
    cleanup_after: float = 600.0
    retention: float = 30 * 86400.0  # how long ended sessions and finished commands are kept
    audit_retention: float = 365 * 86400.0  # how long it is kept who did what
    flush_interval: float = 1.0  # heartbeats, status and task records reach the disk this often
    heard_interval: float = 10.0  # a process's "last heard" is published and stored this often
    redeliver_after: float = 5.0  # a command nobody acknowledged is pushed again
    ask_hello_after: float = 2.0  # a process that goes on without a hello is asked again
    retry_interval: float = 1.0  # pause after a failed commit
    sweep_interval: float = 1.0  # how often silence is judged
    purge_interval: float = 3600.0
    purge_pause: float = 0.2  # before a purge that left something goes on
    max_clock_step: float = 5.0  # a longer gap between two events was our own sleep, not silence
    peer_silence: float = 300.0  # an operator connection unheard this long is forgotten
    max_sessions: int = 1_000_000
    max_sessions_per_process: int = 10_000
    max_sessions_per_owner: int = 200_000  # of one key, or of one user of REST
    max_greeting_parts: int = 500  # messages of one hello; 10,000 of the longest states need 300
    max_gone: int = 100_000  # processes without sessions whose secret is remembered
    max_processes: int = 100_000
    max_processes_per_owner: int = 20_000  # of one key, or REST sessions of one user
    max_peers: int = 100_000
    max_waiters: int = 10_000
    max_waiters_per_peer: int = 2_000  # a gateway waits for all of its users
    max_open_commands: int = 10_000
    max_commands_kept: int = 10_000  # finished ones, for repeats of their idempotency keys
    max_tombstones: int = 100_000
    max_unsaved_ended: int = 100_000  # ended sessions a failing store has not taken yet
    max_unsaved_tasks: int = 100_000
    rows_per_flush: int = 256  # a few milliseconds, which a kill may have to wait

    @property
    def clock_step(self) -> float:
        """The longest that may pass between two events and still count as silence (seconds).

        Well below what any silence is judged by, however short that was set; the loop turns
        more often than this.
        """
        return min(self.max_clock_step, self.stale_after / 4, self.cleanup_after / 4)


@dataclass(slots=True)
class Greeting:
    """A hello whose parts are still coming: what each says is applied at once, so that only the
    names of the sessions are kept."""

    number: int  # of the hello itself
    parts: int = 0
    held: set[str] = field(default_factory=set)  # sessions it has named


@dataclass(slots=True, eq=False)
class Process:
    """One life of a client process, or the stand-in that owns one REST session."""

    instance: str
    source: str  # "bus" or "rest"
    secret_hash: bytes | None
    host: str
    pid: int
    heard: float  # observed clock
    heard_wall: float
    owner: str | None = None  # the key or the REST user it belongs to; None where none is asked for
    route: Route | None = None
    number: int | None = None  # of the last message applied; None: not heard since we started
    acked: int = 0  # number up to which everything is durable
    asked_hello: float | None = None  # observed; when it was last asked to say hello
    greeting: Greeting | None = None  # while a hello is unfinished
    heard_published: float = 0.0
    heard_stored: float = 0.0
    tasks_waiting: int = 0  # finished tasks of its sessions that are not stored yet
    sessions: dict[str, Session] = field(default_factory=dict)
    undelivered: dict[str, float] = field(default_factory=dict)  # command id -> observed, pushed

    def row(self) -> ProcessRow:
        return ProcessRow(
            self.instance,
            self.source,
            self.secret_hash,
            self.host,
            self.pid,
            self.heard_wall,
            self.owner,
        )


@dataclass(slots=True, eq=False)
class Session:
    """One live session."""

    session_id: str
    seq: int
    app: str
    user: str | None
    process: Process
    started: float  # wall
    status: str
    task: str | None = None
    task_start: float | None = None  # wall
    commands: tuple[Command, ...] = ()  # those that ask it to end, oldest first
    kill_stage: str | None = None
    kill_error: str | None = None

    def row(self, ended: tuple[float, str, str | None] | None = None) -> SessionRow:
        """The row to store; ``ended`` is (wall time, reason, error) once it has ended."""
        at, reason, error = ended or (None, None, None)
        return SessionRow(
            self.session_id,
            self.seq,
            self.app,
            self.user,
            self.process.instance,
            self.started,
            self.status,
            self.task,
            self.task_start,
            self.commands[0].command_id if self.commands else None,
            self.kill_error,
            at,
            reason,
            error,
        )

    def status_row(self) -> StatusRow:
        """What has changed since its row was stored."""
        command = self.commands[0].command_id if self.commands else None
        return StatusRow(
            self.session_id, self.status, self.task, self.task_start, command, self.kill_error
        )

    def weight(self) -> int:
        """Upper bound (bytes) of its row on the wire."""
        reason = self.commands[0].reason if self.commands else None
        host = self.process.host
        return weigh(self.app, self.user, self.status, self.task, host, reason, self.kill_error)

    def wire(self) -> dict[str, Any]:
        """The raw row of docs/PROTOCOL.md, as operators and the feed get it."""
        process = self.process
        return {
            "session_id": self.session_id,
            "seq": self.seq,
            "app_name": self.app,
            "user_id": self.user,
            "start_time": self.started,
            "status": self.status,
            "current_task": self.task,
            "task_start": self.task_start,
            "kill_requested": bool(self.commands),
            "kill_reason": self.commands[0].reason if self.commands else None,
            "kill_stage": self.kill_stage,
            "kill_error": self.kill_error,
            "process": process.instance,
            "host": process.host,
            "pid": process.pid,
            "source": process.source,
            "heard": process.heard,
        }


class Waiter(NamedTuple):
    """An operator who waits for news of a command; answered at ``deadline`` at the latest."""

    route: Route
    deadline: float  # monotonic clock
    seen: int | None  # answer as soon as more targets than this are done; None: when all are
    answer: Callable[[Command], None]


@dataclass(slots=True, eq=False)
class Command:
    """One operator's command. It exists for others only once it is committed."""

    command_id: str
    app: str | None
    targets: tuple[str, ...]
    reason: str | None
    key: str | None
    digest: bytes | None
    requested_by: str
    requested_at: float  # wall
    requested_mono: float | None  # None: loaded from the store, so its latency is unknown
    kind: str = "kill"
    finished_at: float | None = None
    committed: bool = False
    # two ordered sets, so that what is pushed comes in the order of the targets
    pending: dict[str, None] = field(default_factory=dict)  # targets that are not done
    undelivered: dict[str, None] = field(default_factory=dict)  # whose process has not said so
    delivered: int = 0
    completed: int = 0
    failures: dict[str, str] = field(default_factory=dict)  # target -> why
    failed: int = 0
    waiters: list[Waiter] = field(default_factory=list)

    @property
    def stage(self) -> str:
        if self.committed and not self.pending:
            return "failed" if self.failed else "completed"
        return "requested" if self.undelivered or not self.committed else "delivered"

    @property
    def done(self) -> int:
        return self.completed + self.failed

    def row(self, stage: str | None = None) -> CommandRow:
        return CommandRow(
            self.command_id,
            self.kind,
            self.app,
            self.targets,
            self.reason,
            self.key,
            self.digest,
            self.requested_by,
            self.requested_at,
            self.finished_at,
            stage or (self.stage if self.committed else "requested"),
            self.delivered,
            self.completed,
            self.failed,
        )

    def weight(self) -> int:
        """Upper bound (bytes) of its map on the wire."""
        return weigh(self.app, self.reason, self.requested_by)

    def wire(self) -> dict[str, Any]:
        """The command map of docs/PROTOCOL.md."""
        return {
            "command_id": self.command_id,
            "kind": self.kind,
            "app_name": self.app,
            "session_id": self.targets[0] if self.app is None and self.targets else None,
            "reason": self.reason,
            "requested_by": self.requested_by,
            "requested_at": self.requested_at,
            "finished_at": self.finished_at,
            "stage": self.stage,
            "total": len(self.targets),
            "delivered": self.delivered,
            "completed": self.completed,
            "failed": self.failed,
        }


@dataclass(slots=True, eq=False)
class Peer:
    """One greeted connection: an app's process, or an operator or viewer."""

    route: Route
    role: str
    name: str  # who it is, for the audit: instance, host and pid
    heard: float  # observed clock
    process: Process | None = None  # set for the role "app"
    user_id: str | None = None  # what the transport has proved: the public key
    key: str | None = None  # that key's name in the allow-list
