"""What the store does not have yet, and what is to be said once it has.

Urgent rows (registrations, ends, commands) ask for a commit at once; lazy ones (status, heartbeats,
finished tasks) are coalesced and go about once a second. While one batch is being committed the
next one gathers here: that is the whole of group commit. Sessions go in bounded pieces, so that a
kill does not wait for the ends of ten thousand others.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

from broker.registry.audit import Trail
from broker.registry.model import Command, Now, Process, Session, Settings
from broker.store import Batch, CommandRow, ProcessRow, SessionRow, StatusRow, TaskRow

MOST_PIECES: Final = 16  # in which waiting sessions go, as their number stands
PIECES_IN_ORDER: Final = 20  # of a flush that are sorted together, in a millisecond or two

Rows = list[str]  # session ids
Done = Callable[[Now], None]
Failed = Callable[[Now, str], None]


@dataclass(slots=True)
class _Flight:
    """The batch that is being committed, and what depends on it."""

    batch: Batch
    after: list[tuple[Done, Failed]]
    acks: dict[Process, int]
    behind: int  # how many that wait for later rows may have some in this batch, too
    tasks: list[tuple[TaskRow, Process]] = field(default_factory=list)


@dataclass(slots=True)
class Ledger:
    settings: Settings
    urgent: dict[str, Session | SessionRow] = field(default_factory=dict)
    urgent_of: Counter[str] = field(default_factory=Counter)  # how many of each process
    lazy: dict[str, Session] = field(default_factory=dict)
    in_order: list[Session] = field(default_factory=list)  # those of it that go next, at its end
    processes: dict[str, Process | ProcessRow] = field(default_factory=dict)
    heard: dict[str, Process] = field(default_factory=dict)
    commands: dict[str, Command | CommandRow] = field(default_factory=dict)
    tasks: deque[tuple[TaskRow, Process]] = field(default_factory=deque)
    after: list[tuple[Done, Failed]] = field(default_factory=list)  # go with the next batch
    behind: list[tuple[Rows, Done, Failed]] = field(default_factory=list)  # with their last row
    acks: dict[Process, None] = field(default_factory=dict)  # those to be told of the next commit
    lazy_commands: dict[str, Command] = field(default_factory=dict)
    trail: Trail = field(default_factory=Trail)
    flight: _Flight | None = None
    next_flush: float = 0.0  # monotonic
    hurry: bool = False  # the broker stops: everything at once
    flush_put_off: bool = False  # it was due, and a command went before it
    next_purge: float = 0.0
    retry_at: float = 0.0  # monotonic; after a failed commit nothing is tried before
    dropped: int = 0

    # --- what happened ---------------------------------------------------------------------

    def registered(self, session: Session) -> None:
        self._enter(session.session_id, session)
        self.processes[session.process.instance] = session.process
        self.acks[session.process] = None

    def changed(self, session: Session) -> None:
        if session.session_id not in self.urgent:
            self.lazy[session.session_id] = session

    def greeted(self, process: Process, now: Now) -> None:
        """A process is (back) here. It counts itself as back when all it stated is durable, so its
        finished tasks do not wait for the next flush."""
        self.acks[process] = None
        self.processes.setdefault(process.instance, process)
        self.next_flush = min(self.next_flush, now.mono)

    def ended(self, session: Session, row: SessionRow) -> None:
        self.lazy.pop(session.session_id, None)
        self._enter(session.session_id, row)
        self.acks[session.process] = None
        if len(self.urgent) > self.settings.max_unsaved_ended:
            self._drop_oldest_ended()

    def finished(self, task: TaskRow, process: Process) -> None:
        if len(self.tasks) >= self.settings.max_unsaved_tasks:
            self.tasks.popleft()[1].tasks_waiting -= 1
            self.dropped += 1
        process.tasks_waiting += 1
        self.tasks.append((task, process))

    def command(self, command: Command) -> None:
        """A new command, or one that is finished."""
        self.lazy_commands.pop(command.command_id, None)
        self.commands[command.command_id] = command

    def progress(self, command: Command) -> None:
        """A command's counts moved; not worth a commit of its own, since ends are stored too."""
        self.lazy_commands[command.command_id] = command

    def refused(self, row: CommandRow) -> None:
        """Make sure a command whose commit failed, perhaps half, can't come to life later."""
        self.lazy_commands.pop(row.command_id, None)
        self.commands[row.command_id] = row

    def _enter(self, session_id: str, row: Session | SessionRow) -> None:
        waiting = self.urgent.get(session_id)
        if waiting is not None and process_of(waiting) != process_of(row):
            self._take(session_id)  # long ended and forgotten, then made anew by another
            waiting = None
        if waiting is None:
            self.urgent_of[process_of(row)] += 1
        self.urgent[session_id] = row

    def _take(self, session_id: str) -> Session | SessionRow:
        row = self.urgent.pop(session_id)
        process = process_of(row)
        self.urgent_of[process] -= 1
        if not self.urgent_of[process]:
            del self.urgent_of[process]
        return row

    def _drop_oldest_ended(self) -> None:
        for session_id, row in self.urgent.items():
            if isinstance(row, SessionRow):
                self._take(session_id)
                self.dropped += 1
                return

    def tasks_of(self, session_id: str) -> list[TaskRow]:
        """Finished tasks of a session that are not stored yet."""
        away = self.flight.tasks if self.flight is not None else []
        return [row for row, _ in (*away, *self.tasks) if row.session_id == session_id]

    def concerns(self, process: Process) -> bool:
        """Whether anything this process said still waits to become durable."""
        away = self.flight is not None and process in self.flight.acks
        return away or process in self.acks or process.tasks_waiting > 0

    # --- committing ------------------------------------------------------------------------

    def pending(self) -> int:
        """Rows that wait for the disk."""
        return (
            len(self.urgent)
            + len(self.lazy)
            + len(self.processes)
            + len(self.heard)
            + len(self.commands)
            + len(self.lazy_commands)
            + len(self.tasks)
            + len(self.trail.rows)
        )

    def due(self, now: Now) -> float | None:
        """When the next batch wants to be committed (monotonic), None for not at all."""
        if self.flight is not None:
            return None
        urgent = self.urgent or self.processes or self.commands or self.after or self.behind
        lazy = self.lazy or self.heard or self.tasks or self.lazy_commands or self.trail.rows
        if not urgent and not lazy:
            return max(self.next_purge, self.retry_at)
        return max(now.mono if urgent else self.next_flush, self.retry_at)

    def begin(self, now: Now) -> Batch | None:
        """The next batch to commit, or None when there is nothing to do yet."""
        due = self.due(now)
        if due is None or due > now.mono:
            return None
        batch = Batch(
            processes=[p.row() if isinstance(p, Process) else p for p in self.processes.values()],
            sessions=self._take_urgent(),
            commands=[c.row() if isinstance(c, Command) else c for c in self.commands.values()],
            # all of it with every batch, so that a command and its row are never apart
            audit=self.trail.take(),
        )
        # a number covers the rows below it too, and the finished tasks, so it waits for those
        acks = {
            p: p.number or 0
            for p in self.acks
            if not p.tasks_waiting and p.instance not in self.urgent_of
        }
        for process in acks:
            del self.acks[process]
        after = self.after + self._take_behind()
        self.flight = _Flight(batch, after, acks, len(self.behind))
        self.processes, self.commands, self.after = {}, {}, []
        if now.mono >= self.next_flush:
            # somebody waits for a command: lazy rows don't make that longer, but wait only once
            self.flush_put_off = bool(batch.commands) and not self.flush_put_off
            if not self.flush_put_off:
                self._add_lazy(self.flight)
                # the rest of a long flush follows at once, in a batch of its own
                more = self.lazy or self.heard or self.tasks or self.lazy_commands
                self.next_flush = now.mono + (0.0 if more else self.settings.flush_interval)
        if now.mono >= self.next_purge:
            batch.purge_before = now.wall - self.settings.retention
            batch.purge_audit_before = now.wall - self.settings.audit_retention
            self.next_purge = now.mono + self.settings.purge_interval
        return batch

    def _take_urgent(self) -> list[SessionRow]:
        """Rows of sessions for the next batch: the oldest, and those that its commands are about,
        which a crash would let forget those sessions if they came to the disk first."""
        # the more there are, the larger the pieces, or a slow disk would never catch up
        limit = max(self.settings.rows_per_flush, len(self.urgent) // MOST_PIECES)
        if len(self.urgent) <= limit or self.hurry:
            taken, self.urgent, self.urgent_of = list(self.urgent.values()), {}, Counter()
        else:
            targets = (sid for c in self.commands.values() for sid in c.targets)
            chosen = dict.fromkeys(chain(islice(self.urgent, limit), targets))
            taken = [self._take(sid) for sid in chosen if sid in self.urgent]
        return [row.row() if isinstance(row, Session) else row for row in taken]

    def _take_behind(self) -> list[tuple[Done, Failed]]:
        """What may be said with the next batch, because it takes the last row it waited for."""
        ready, waiting = [], []
        for rows, done, failed in self.behind:
            while rows and rows[-1] not in self.urgent:
                rows.pop()
            if rows:
                waiting.append((rows, done, failed))
            else:
                ready.append((done, failed))
        self.behind = waiting
        return ready

    def _add_lazy(self, flight: _Flight) -> None:
        batch, limit = flight.batch, self.settings.rows_per_flush
        self._add_statuses(batch.statuses, limit)
        for key in list(self.heard)[:limit]:
            process = self.heard.pop(key)
            batch.heard.append((process.instance, process.heard_wall))
        for key in list(self.lazy_commands)[:limit]:
            batch.commands.append(self.lazy_commands.pop(key).row())
        for _ in range(min(limit, len(self.tasks))):
            task, process = self.tasks.popleft()
            process.tasks_waiting -= 1
            batch.tasks.append(task)
            flight.tasks.append((task, process))
            if process.tasks_waiting:
                continue
            if process.instance in self.urgent_of:
                self.acks[process] = None
            else:
                flight.acks[process] = process.number or 0
                self.acks.pop(process, None)

    def _add_statuses(self, rows: list[StatusRow], limit: int) -> None:
        """In the order of registration, in which they lie in the database: rows that share a page
        are then written as one page instead of many."""
        while self.lazy and len(rows) < limit:
            if not self.in_order:
                chosen = islice(self.lazy.values(), limit * PIECES_IN_ORDER)
                self.in_order = sorted(chosen, key=lambda session: session.seq, reverse=True)
            # by its id: the session may have ended and come back since
            session = self.lazy.pop(self.in_order.pop().session_id, None)
            if session is not None:
                rows.append(session.status_row())

    def committed(self, now: Now) -> dict[Process, int]:
        """The batch is durable. Returns which processes may be told so, and up to which number."""
        flight, self.flight = self._landed(), None
        for done, _ in flight.after:
            done(now)
        return flight.acks

    def purge_soon(self, now: Now) -> None:
        """A purge removed a full piece: the next follows soon, not an hour later."""
        self.next_purge = now.mono + self.settings.purge_pause

    def failed(self, now: Now, why: str, live: dict[str, Session]) -> None:
        """The batch was not kept: everything in it waits again, behind whatever is newer."""
        flight, self.flight = self._landed(), None
        batch = flight.batch
        for row in batch.sessions:
            if row.session_id in live:
                self._enter(row.session_id, live[row.session_id])
                self.lazy.pop(row.session_id, None)
            elif row.session_id not in self.urgent:
                self._enter(row.session_id, row)
        for status in batch.statuses:
            if status.session_id in live:  # or its last row waits already
                self.changed(live[status.session_id])
        for process_row in batch.processes:
            self.processes.setdefault(process_row.instance, process_row)
        # a batch may hold a command twice: as an earlier failed one had it, and as it is now
        newest = {command_row.command_id: command_row for command_row in batch.commands}
        for command_id, command_row in newest.items():
            self.commands.setdefault(command_id, command_row)
        for task, process in reversed(flight.tasks):
            process.tasks_waiting += 1
            self.tasks.appendleft((task, process))
        self.trail.put_back(batch.audit)
        self.acks.update(dict.fromkeys(flight.acks))
        self.retry_at = now.mono + self.settings.retry_interval
        behind, self.behind = self.behind[: flight.behind], self.behind[flight.behind :]
        for refuse in (*(f for _, f in flight.after), *(f for _, _, f in behind)):
            refuse(now, why)

    def _landed(self) -> _Flight:
        if self.flight is None:
            raise RuntimeError("no batch is being committed")
        return self.flight


def process_of(row: Session | SessionRow) -> str:
    """The instance of the process that has or had this session."""
    return row.process.instance if isinstance(row, Session) else row.process
