"""The registry's tables, and the few operations on them that every handler shares."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from broker.registry.access import Access, actor, asker
from broker.registry.effects import BackUp, Feed, Read, Send
from broker.registry.in_order import InOrder
from broker.registry.ledger import Ledger
from broker.registry.model import Command, Now, Peer, Process, Route, Session, Settings
from broker.registry.stats import Stats
from broker.store import Tombstone

# Seconds between two notes that a process was heard, from which on the feed's beat is soon enough.
LATE_HEARD: Final = 2.0

T = TypeVar("T")


@dataclass(slots=True)
class State:
    """Everything the registry knows. ``observed`` is the clock that silence is judged by.

    The observed clock runs with the monotonic one, but never by more than ``clock_step``
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
    reads: list[Read] = field(default_factory=list)
    backups: list[BackUp] = field(default_factory=list)
    peers: dict[Route, Peer] = field(default_factory=dict)
    access: Access | None = None  # None: no keys are asked for
    processes: dict[str, Process] = field(default_factory=dict)
    # instance -> secret hash, oldest first; ordered, as are the tombstones, because to find the
    # first of a plain dict is to pass all that were removed before it
    gone: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    sessions: dict[str, Session] = field(default_factory=dict)
    in_order: InOrder = field(default_factory=InOrder)  # the same
    by_app: dict[str, InOrder] = field(default_factory=dict)
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)  # app -> status -> how many
    commands: dict[str, Command] = field(default_factory=dict)  # those open and those finished
    open_commands: dict[str, Command] = field(default_factory=dict)
    finished: dict[str, Command] = field(default_factory=dict)  # oldest first, bounded
    keys: dict[str, Command] = field(default_factory=dict)  # by idempotency key
    waiting: dict[str, Command] = field(default_factory=dict)  # commands with waiters
    waiter_count: int = 0
    waiters_of: Counter[Route] = field(default_factory=Counter)
    tombstones: OrderedDict[str, Tombstone] = field(default_factory=OrderedDict)  # oldest first
    owned: Counter[str | None] = field(default_factory=Counter)  # live sessions by owner
    owned_processes: Counter[str | None] = field(default_factory=Counter)
    clock_step: float = field(init=False)  # seconds

    def __post_init__(self) -> None:
        self.clock_step = self.settings.clock_step  # which every message asks for

    # --- talking ---------------------------------------------------------------------------

    def send(self, route: Route, kind: str, **fields: Any) -> None:
        self.sends.append((route, {"k": kind, **fields}))

    def reply(self, route: Route, request: int, result: Any) -> None:
        """Answer, unless who asked has been cut off since."""
        if route not in self.peers:
            return
        self.sends.append((route, {"k": "reply", "r": request, "result": result}))

    def refuse(self, route: Route, request: int | None, code: str, message: str) -> None:
        self.send(route, "error", r=request, code=code, message=message)

    def forbid(self, peer: Peer, message: dict[str, Any], text: str, now: Now) -> None:
        """Refuse what is not this peer's to ask, and note that it was tried."""
        self.stats.rejected["forbidden"] += 1
        who = asker(peer, message)
        self.ledger.trail.refused(now, who, message["k"], text, actor(peer, message))
        self.refuse(peer.route, message.get("r"), "forbidden", text)

    def disk_full(self, peer: Peer, request: int, what: str) -> bool:
        """Refuse what is new while the store has its reserve only, for what was accepted."""
        health = self.stats.health
        if health.cause != "full":
            return False
        self.refuse(peer.route, request, "unavailable", f"{what}: {health.message}")
        return True

    # --- the clock -------------------------------------------------------------------------

    def advance(self, now: Now) -> None:
        step = min(now.mono - self.last_mono, self.clock_step)
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
            if not process.sessions:
                return
            if interval >= LATE_HEARD:
                self.feed.heard(process.instance, self.observed)
            else:  # silence is judged so soon that a beat later would be too late
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
        self.in_order.append(session)
        if session.app not in self.by_app:
            self.by_app[session.app] = InOrder()
        self.by_app[session.app].append(session)
        counts = self.statuses.setdefault(session.app, {})
        counts[session.status] = counts.get(session.status, 0) + 1
        session.process.sessions[session.session_id] = session
        self.know(session.process)
        self.owned[session.process.owner] += 1

    def set_status(self, session: Session, status: str) -> None:
        if status != session.status:
            counts = self.statuses[session.app]
            _count_down(counts, session.status, 1)
            counts[status] = counts.get(status, 0) + 1
            session.status = status

    def no_room(self, process: Process) -> str | None:
        """Why this process can't have one more session; None when it can."""
        limits = self.settings
        if len(process.sessions) >= limits.max_sessions_per_process:
            most = limits.max_sessions_per_process
            return f"its process has {most} sessions already, the most there may be; end some"
        if process.owner is not None and (
            self.owned[process.owner] >= limits.max_sessions_per_owner
        ):
            most = limits.max_sessions_per_owner
            return f"{process.owner!r} has {most} sessions already, the most there may be; end some"
        if process.instance not in self.processes:
            full = self.no_room_for_process(process.owner)
            if full is not None:
                return full
        if len(self.sessions) >= limits.max_sessions:
            return f"the broker has {limits.max_sessions} sessions already, the most there may be"
        return None

    def no_room_for_process(self, owner: str | None) -> str | None:
        """Why this owner can't have one more process, as which a REST session counts, too."""
        limits = self.settings
        if owner is not None and self.owned_processes[owner] >= limits.max_processes_per_owner:
            most = limits.max_processes_per_owner
            return f"{owner!r} has {most} processes already, the most there may be"
        if len(self.processes) >= limits.max_processes:
            return f"the broker has {limits.max_processes} processes already; clean up first"
        return None

    def next_seq(self) -> int:
        self.last_seq += 1
        return self.last_seq

    def remove_session(self, session: Session, reason: str, error: str | None, now: Now) -> None:
        """Take a session out of every table; its row becomes history."""
        sid = session.session_id
        process = session.process
        del self.sessions[sid]
        del process.sessions[sid]
        _count_down(self.owned, process.owner, 1)
        self.in_order.remove(session)
        app = self.by_app[session.app]
        app.remove(session)
        _count_down(self.statuses[session.app], session.status, 1)
        if not app:
            del self.by_app[session.app], self.statuses[session.app]
        if process.source == "rest":
            self.unknow(process)
        self.ledger.ended(session, session.row((now.wall, reason, error)))
        kill = session.commands[0].command_id if session.commands else None
        self.bury(Tombstone(sid, session.seq, reason, now.wall, kill, process.instance))
        self.feed.ended(session, ["-", sid, reason, now.wall, error])

    def bury(self, tombstone: Tombstone) -> None:
        self.tombstones.pop(tombstone.session_id, None)
        self.tombstones[tombstone.session_id] = tombstone
        while len(self.tombstones) > self.settings.max_tombstones:
            self.tombstones.popitem(last=False)

    def missing(self, session_id: str) -> str:
        """Why there is no such live session, as text for an operator."""
        tombstone = self.tombstones.get(session_id)
        if tombstone is None:
            return f"there is no session {session_id!r}"
        return f"session {session_id!r} has ended ({tombstone.reason})"

    def know(self, process: Process) -> None:
        """Put a process into the table, if it is not there."""
        if process.instance not in self.processes:
            self.processes[process.instance] = process
            self.owned_processes[process.owner] += 1

    def unknow(self, process: Process) -> None:
        """Take a process out of the table."""
        if self.processes.pop(process.instance, None) is not None:
            _count_down(self.owned_processes, process.owner, 1)

    def own(self, process: Process, owner: str | None) -> None:
        """A process of the table that nobody owned has an owner now."""
        _count_down(self.owned_processes, process.owner, 1)
        self.owned_processes[owner] += 1
        _count_down(self.owned, process.owner, len(process.sessions))
        process.owner = owner
        self.owned[owner] += len(process.sessions)

    def silence(self, process: Process) -> float:
        """Seconds of silence as this broker observed them."""
        return self.observed - process.heard

    def forget_process(self, process: Process) -> None:
        """A silent process leaves the tables; its secret stays, so that nobody poses as it."""
        self.unknow(process)
        if process.secret_hash is not None:
            self.remember_secret(process.instance, process.secret_hash)

    def remember_secret(self, instance: str, secret_hash: bytes) -> None:
        self.gone[instance] = secret_hash
        while len(self.gone) > self.settings.max_gone:
            self.gone.popitem(last=False)

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


def _count_down(counts: dict[T, int], of: T, by: int) -> None:
    left = counts[of] - by
    if left:
        counts[of] = left
    else:
        del counts[of]
