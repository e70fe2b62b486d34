"""The registry's tables, and the few operations on them that every handler shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from broker.registry.effects import Feed, ReadTasks, Send
from broker.registry.ledger import Ledger
from broker.registry.model import Command, Now, Peer, Process, Route, Session, Settings
from broker.registry.stats import Stats
from broker.store import Tombstone


@dataclass(slots=True)
class State:
    """Everything the registry knows. ``observed`` is the clock that silence is judged by.

    The observed clock runs with the monotonic one, but never by more than ``max_clock_step``
    between two events: if the broker itself slept (SIGSTOP, suspend, a starved machine), its
    clients were not silent in that time, it just was not listening.
    """

    settings: Settings
    epoch: str
    feed_address: str
    version: str
    new_id: Callable[[], str]
    started: Now
    ledger: Ledger
    feed: Feed
    observed: float = 0.0
    last_mono: float = 0.0
    last_seq: int = 0
    stats: Stats = field(default_factory=Stats)
    sends: list[Send] = field(default_factory=list)
    reads: list[ReadTasks] = field(default_factory=list)
    peers: dict[Route, Peer] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)  # in the order of seq
    by_app: dict[str, dict[str, Session]] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)  # those open and those finished
    open_commands: dict[str, Command] = field(default_factory=dict)
    finished: dict[str, Command] = field(default_factory=dict)  # oldest first, bounded
    keys: dict[str, Command] = field(default_factory=dict)  # by idempotency key
    waiting: dict[str, Command] = field(default_factory=dict)  # commands with waiters
    waiter_count: int = 0
    tombstones: dict[str, Tombstone] = field(default_factory=dict)  # oldest first

    # --- talking ---------------------------------------------------------------------------

    def send(self, route: Route, kind: str, **fields: Any) -> None:
        self.sends.append(Send(route, {"k": kind, **fields}))

    def reply(self, route: Route, request: int, result: Any) -> None:
        self.send(route, "reply", r=request, result=result)

    def refuse(self, route: Route, request: int | None, code: str, message: str) -> None:
        self.send(route, "error", r=request, code=code, message=message)

    # --- the clock -------------------------------------------------------------------------

    def advance(self, now: Now) -> None:
        step = min(now.mono - self.last_mono, self.settings.max_clock_step)
        if step > 0:
            self.observed += step
        self.last_mono = now.mono

    def heard(self, process: Process, now: Now) -> None:
        """Anything at all came from this process."""
        process.heard = self.observed
        process.heard_wall = now.wall
        interval = self.settings.heard_interval
        if self.observed - process.heard_stored >= interval:
            process.heard_stored = process.heard_published = self.observed
            self.ledger.heard[process.instance] = process
            if process.sessions:
                self.feed.change(["h", process.instance, self.observed])

    # --- sessions --------------------------------------------------------------------------

    def add_session(self, session: Session) -> None:
        """Enter a session that is live from now on."""
        self.enter(session)
        self.ledger.registered(session)
        self.feed.row(session)

    def enter(self, session: Session) -> None:
        """Put a session into every table; also for those loaded from the store."""
        self.sessions[session.session_id] = session
        self.by_app.setdefault(session.app, {})[session.session_id] = session
        session.process.sessions[session.session_id] = session
        self.processes.setdefault(session.process.instance, session.process)

    def next_seq(self) -> int:
        self.last_seq += 1
        return self.last_seq

    def remove_session(self, session: Session, reason: str, error: str | None, now: Now) -> None:
        """Take a session out of every table; its row becomes history."""
        sid = session.session_id
        process = session.process
        del self.sessions[sid]
        del process.sessions[sid]
        app = self.by_app[session.app]
        del app[sid]
        if not app:
            del self.by_app[session.app]
        if process.source == "rest":
            self.processes.pop(process.instance, None)
        self.ledger.ended(session, session.row((now.wall, reason, error)))
        kill = session.commands[0].command_id if session.commands else None
        self.bury(Tombstone(sid, session.seq, reason, now.wall, kill))
        self.feed.ended(session, ["-", sid, reason, now.wall, error])

    def bury(self, tombstone: Tombstone) -> None:
        self.tombstones.pop(tombstone.session_id, None)
        self.tombstones[tombstone.session_id] = tombstone
        while len(self.tombstones) > self.settings.max_tombstones:
            del self.tombstones[next(iter(self.tombstones))]

    def missing(self, session_id: str) -> str:
        """Why there is no such live session, as text for an operator."""
        tombstone = self.tombstones.get(session_id)
        if tombstone is None:
            return f"there is no session {session_id!r}"
        return f"session {session_id!r} has ended ({tombstone.reason})"

    def silence(self, process: Process) -> float:
        """Seconds of silence as this broker observed them."""
        return self.observed - process.heard

    # --- commands --------------------------------------------------------------------------

    def keep_command(self, command: Command) -> None:
        """Remember a finished command for repeats of its key, up to a bound."""
        self.open_commands.pop(command.command_id, None)
        self.finished[command.command_id] = command
        while len(self.finished) > self.settings.max_commands_kept:
            self.forget_command(next(iter(self.finished.values())))

    def forget_command(self, command: Command) -> None:
        self.commands.pop(command.command_id, None)
        self.open_commands.pop(command.command_id, None)
        self.finished.pop(command.command_id, None)
        self.waiting.pop(command.command_id, None)
        if command.key is not None and self.keys.get(command.key) is command:
            del self.keys[command.key]
