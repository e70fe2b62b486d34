"""Every invariant of the registry's state, for tests to check after each step."""

from __future__ import annotations

from collections import Counter

from broker.registry.core import Registry
from broker.registry.ledger import process_of
from broker.registry.model import Command, Session
from broker.registry.state import State


class Violation(AssertionError):
    """The state contradicts itself; the message says where."""


def validate(registry: Registry) -> None:
    """Raises Violation when the registry's tables disagree or a bound is broken."""
    state = registry.state
    _sessions(state)
    _processes(state)
    _peers(state)
    _commands(state)
    _ledger(state)
    _bounds(state)


def _must(truth: bool, what: str) -> None:
    if not truth:
        raise Violation(what)


def _sessions(state: State) -> None:
    last = 0
    for sid, session in state.sessions.items():
        _must(session.session_id == sid, f"{sid} is filed under another id")
        _must(session.seq > last, f"{sid} breaks the order of seq")
        last = session.seq
        _must(sid not in state.tombstones, f"{sid} lives and is buried")
        _must(session in state.by_app[session.app], f"{sid} is missing from its app")
        _must(session in state.in_order, f"{sid} is missing from the order")
        _must(session.process.sessions.get(sid) is session, f"{sid} is missing from its process")
        owner = state.processes.get(session.process.instance)
        _must(owner is session.process, f"the process of {sid} is unknown")
        _session_commands(session)
    _must(last <= state.last_seq, "a seq was used that was not given out")
    filed = sum(len(table) for table in state.by_app.values())
    _must(filed == len(state.sessions), "an app lists sessions that are gone")
    _must(len(state.in_order) == len(state.sessions), "the order holds sessions that are gone")
    counted: dict[str, Counter[str]] = {}
    for session in state.sessions.values():
        counted.setdefault(session.app, Counter())[session.status] += 1
    _must(counted == state.statuses, "statuses are miscounted")
    _must(all(state.by_app.values()), "an app without sessions is kept")


def _session_commands(session: Session) -> None:
    sid = session.session_id
    _must((session.kill_stage is None) == (not session.commands), f"{sid}: stage without a kill")
    for command in session.commands:
        _must(command.committed, f"{sid} is under a command that is not committed")
        _must(sid in command.targets, f"{sid} is under a command on others")


def _processes(state: State) -> None:
    held = 0
    for instance, process in state.processes.items():
        _must(process.instance == instance, f"{instance} is filed under another id")
        held += len(process.sessions)
        if process.route is not None:
            peer = state.peers.get(process.route)
            _must(peer is not None and peer.process is process, f"{instance}: a route of another")
        for command_id in process.undelivered:
            command = state.commands.get(command_id)
            _must(command is not None, f"{instance} waits for a forgotten command")
            if command is not None:
                waits = any(sid in command.undelivered for sid in process.sessions)
                _must(waits, f"{instance} waits for a command it has")
        _must(process.acked <= (process.number or 0), f"{instance}: more acked than applied")
        _must(process.heard <= state.observed, f"{instance} was heard in the future")
    _must(held == len(state.sessions), "a process holds sessions that are gone")


def _peers(state: State) -> None:
    for route, peer in state.peers.items():
        _must(peer.route == route, "a peer is filed under another route")
        _must((peer.role == "app") == (peer.process is not None), "a peer without its process")
        if peer.process is not None:
            _must(peer.process.route == route, "two connections speak for one process")


def _commands(state: State) -> None:
    for command_id, command in state.commands.items():
        _must(command.command_id == command_id, f"{command_id} is filed under another id")
        kept = (command_id in state.open_commands) + (command_id in state.finished)
        _must(kept == 1, f"{command_id} is neither open nor finished, or both")
        if command.key is not None:
            _must(state.keys.get(command.key) is command, f"{command_id}: its key is lost")
        if command.committed:
            _command(state, command)
    _must(len(state.commands) == len(state.open_commands) + len(state.finished), "lost commands")
    waiters = sum(len(command.waiters) for command in state.commands.values())
    _must(waiters == state.waiter_count, "waiters are miscounted")


def _command(state: State, command: Command) -> None:
    name = command.command_id
    _must(command.undelivered.keys() <= command.pending.keys(), f"{name}: done but not delivered")
    total = len(command.pending) + command.completed + command.failed
    _must(total == len(command.targets), f"{name}: its targets don't add up")
    finished = command.finished_at is not None
    _must(finished == (not command.pending), f"{name}: finished and pending, or neither")
    _must(finished == (name in state.finished), f"{name}: in the wrong table")
    for sid in command.pending:
        session = state.sessions.get(sid)
        _must(session is not None, f"{name} waits for {sid}, which is gone")
        if session is not None:
            _must(command in session.commands, f"{sid} does not know of {name}")


def _ledger(state: State) -> None:
    ledger = state.ledger
    waiting = Counter(process_of(row) for row in ledger.urgent.values())
    _must(waiting == ledger.urgent_of, "rows that wait are miscounted")
    for instance in waiting:
        process = state.processes.get(instance)
        if process is not None and process.source == "bus":
            _must(ledger.concerns(process), f"{instance} may be told that it is durable")


def _bounds(state: State) -> None:
    limits = state.settings
    _must(len(state.sessions) <= limits.max_sessions, "too many sessions")
    _must(len(state.peers) <= limits.max_peers, "too many peers")
    _must(len(state.tombstones) <= limits.max_tombstones, "too many tombstones")
    _must(len(state.finished) <= limits.max_commands_kept, "too many finished commands")
    _must(len(state.open_commands) <= limits.max_open_commands, "too many open commands")
    _must(state.waiter_count <= limits.max_waiters, "too many waiters")
    _must(len(state.ledger.tasks) <= limits.max_unsaved_tasks + limits.rows_per_flush, "tasks")
