"""Kills: accepted by a commit, pushed to their processes, followed until every target is done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from broker.registry import waiting
from broker.registry.access import actor
from broker.registry.model import Command, Now, Peer, Process, Session, Waiter
from broker.registry.state import State
from broker.store import Tombstone
from sessionclient.wire import MAX_LONG_TEXT_CHARS

NOT_ACCEPTED = "not accepted, nothing was killed"
GONE_TOO_EARLY = "cleaned up after long silence before the kill reached it"


def kill(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """One session; the answer comes with the commit, or later if the operator waits."""
    session_id = message["s"]
    wait = float(message.get("wait") or 0.0)
    request = message["r"]

    def answer(command: Command) -> None:
        stage = command.stage if wait else "requested"
        result = {"command_id": command.command_id, "stage": stage}
        state.reply(peer.route, request, result)

    def accepted(command: Command, at: Now) -> None:
        if wait:
            waiting.add_waiter(state, command, Waiter(peer.route, at.mono + wait, None, answer), at)
        else:
            answer(command)

    digest = _digest("kill", session_id, message.get("reason") or None)
    if _repeated(state, peer, message, digest, accepted, now):
        return
    session = state.sessions.get(session_id)
    if session is None:
        state.refuse(peer.route, request, "not_found", state.missing(session_id))
        return
    command = _new_command(state, peer, message, digest, None, (session_id,), now)
    _submit(state, peer, request, command, accepted, now)


def kill_all(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """Every session of an app that is not already asked to end."""
    request = message["r"]

    def accepted(command: Command, _at: Now) -> None:
        result = {"command_id": command.command_id, "killed_count": len(command.targets)}
        state.reply(peer.route, request, result)

    digest = _digest("kill_all", message["app"], message.get("reason") or None)
    if _repeated(state, peer, message, digest, accepted, now):
        return
    found = state.by_app.get(message["app"], ())
    targets = tuple(session.session_id for session in found if not session.commands)
    command = _new_command(state, peer, message, digest, message["app"], targets, now)
    _submit(state, peer, request, command, accepted, now)


Accepted = Callable[[Command, Now], None]


def _digest(*parts: str | None) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def _repeated(
    state: State,
    peer: Peer,
    message: dict[str, Any],
    digest: bytes,
    accepted: Accepted,
    now: Now,
) -> bool:
    """Answer a repeat of an earlier request under its key; True when this was one."""
    key = message.get("key")
    command = state.keys.get(key) if key is not None else None
    if command is None:
        return False
    if command.digest != digest:
        text = f"the key {key!r:.80} was used before for a different request; use a new key"
        state.refuse(peer.route, message["r"], "key_reused", text)
    elif command.committed:
        accepted(command, now)
    else:  # the first one is still on its way to the disk: both are answered with it
        _answer_on_commit(state, peer, message["r"], command, accepted)
    return True


def _new_command(
    state: State,
    peer: Peer,
    message: dict[str, Any],
    digest: bytes,
    app: str | None,
    targets: tuple[str, ...],
    now: Now,
) -> Command:
    return Command(
        command_id=state.new_id(),
        app=app,
        targets=targets,
        reason=message.get("reason") or None,
        key=message.get("key"),
        digest=digest,
        requested_by=actor(peer, message),
        requested_at=now.wall,
        requested_mono=now.mono,
    )


def _submit(
    state: State, peer: Peer, request: int, command: Command, accepted: Accepted, now: Now
) -> None:
    if state.disk_full(peer, request, NOT_ACCEPTED):
        return
    if len(state.open_commands) >= state.settings.max_open_commands:
        text = f"{len(state.open_commands)} commands are unfinished already; try again later"
        state.refuse(peer.route, request, "too_many", text)
        return
    state.commands[command.command_id] = command
    state.open_commands[command.command_id] = command
    if command.key is not None:
        state.keys[command.key] = command
    state.ledger.command(command)
    _note(state, command, "requested", now)
    state.ledger.after.append(
        (
            lambda at: activate(state, command, at),
            lambda at, why: _withdraw(state, command, why, at),
        )
    )
    _answer_on_commit(state, peer, request, command, accepted)


def _answer_on_commit(
    state: State, peer: Peer, request: int, command: Command, accepted: Accepted
) -> None:
    def refused(_at: Now, why: str) -> None:
        state.refuse(peer.route, request, "unavailable", f"{NOT_ACCEPTED}: {why}")

    def settled(at: Now) -> None:
        if command.committed:
            accepted(command, at)
        else:  # a repeat that came while the first was on its way to a commit that failed
            refused(at, "the request it repeats could not be kept; send it again")

    # appended behind the command's own entry, so it runs after the command is active
    state.ledger.after.append((settled, refused))


def _withdraw(state: State, command: Command, why: str, now: Now) -> None:
    """The commit failed: the command never was. It may be on the disk all the same, so say so."""
    state.forget_command(command)
    state.ledger.refused(command.row("refused"))
    _note(state, command, "not accepted", now, why)


def _note(
    state: State, command: Command, outcome: str, now: Now, detail: str | None = None
) -> None:
    """A row of the audit: with the request every target, later the counts."""
    state.ledger.trail.note(
        now,
        command.requested_by,
        command.kind if command.app is None else f"{command.kind}_all",
        outcome,
        app_name=command.app,
        targets=command.targets if outcome == "requested" else (),
        reason=command.reason,
        command_id=command.command_id,
        detail=detail,
    )


# --- from accepted to done -------------------------------------------------------------------


def activate(state: State, command: Command, now: Now) -> None:
    """The command is durable: it exists from now on, and is pushed to whoever it concerns."""
    command.committed = True
    state.stats.kills["requested"] += len(command.targets)
    for session_id in ask_when_back(state, command):
        command.failures[session_id] = GONE_TOO_EARLY
        command.failed += 1
        state.stats.kills["failed"] += 1
    attach(state, command)
    for session_id in command.targets:
        session = state.sessions.get(session_id)
        if session is not None:
            state.feed.row(session)
    push(state, command)
    if not command.pending:
        finish(state, command, now)
    else:
        publish(state, command)


def attach(state: State, command: Command) -> None:
    """Bind a command to those of its targets that live; the others are gone, which is as good."""
    for session_id in command.targets:
        session = state.sessions.get(session_id)
        if session is None:
            continue
        command.pending[session_id] = None
        command.undelivered[session_id] = None
        session.commands += (command,)
        session.kill_stage = "requested"
        if session.process.source == "bus":
            session.process.undelivered.setdefault(command.command_id, float("-inf"))
    command.completed = len(command.targets) - len(command.pending) - command.failed


def ask_when_back(state: State, command: Command) -> list[str]:
    """Those of its targets that were cleaned up for silence before the command existed.

    Should one of them live after all, it is told to end when its process is back.
    """
    early = []
    for session_id in command.targets:
        tombstone = state.tombstones.get(session_id)
        if tombstone is not None and (tombstone.reason, tombstone.kill_command) == ("stale", None):
            state.tombstones[session_id] = tombstone._replace(kill_command=command.command_id)
            early.append(session_id)
    return early


def push(state: State, command: Command) -> None:
    """Send a command to every process that has not acknowledged it, one message each."""
    processes: dict[Process, None] = {}
    for session_id in command.undelivered:
        processes[state.sessions[session_id].process] = None
    for process in processes:
        push_to(state, process, command)


def push_to(state: State, process: Process, command: Command) -> None:
    if process.route is None or command.command_id not in process.undelivered:
        return
    targets = _undelivered_at(process, command)
    process.undelivered[command.command_id] = state.observed
    send_kill(state, process, command.command_id, targets, command.reason)


def _undelivered_at(process: Process, command: Command) -> list[str]:
    """The targets a process holds and has not acknowledged; costs the shorter of the two lists."""
    if len(command.undelivered) < len(process.sessions):
        return [sid for sid in command.undelivered if sid in process.sessions]
    return [sid for sid in process.sessions if sid in command.undelivered]


def send_kill(
    state: State, process: Process, command_id: str, targets: list[str], reason: str | None
) -> None:
    if process.route is not None:
        fields = {"c": command_id, "command": "kill", "s": targets, "reason": reason}
        state.send(process.route, "command", **fields)


def push_pending(state: State, process: Process) -> None:
    """Everything a process has not acknowledged, as when it is back."""
    for command_id in list(process.undelivered):
        push_to(state, process, state.commands[command_id])


def delivered(state: State, process: Process, command: Command, now: Now) -> None:
    """The process has the command, for all of its targets there."""
    if process.undelivered.pop(command.command_id, None) is None:
        return
    mark_delivered(state, command, _undelivered_at(process, command), now)


def mark_delivered(state: State, command: Command, session_ids: Iterable[str], now: Now) -> None:
    for session_id in session_ids:
        command.undelivered.pop(session_id, None)
        command.delivered += 1
        state.stats.kills["delivered"] += 1
        if command.requested_mono is not None:
            state.stats.kill_latency.observe(now.mono - command.requested_mono)
        session = state.sessions[session_id]
        if session.kill_stage == "requested":
            session.kill_stage = "delivered"
            state.feed.row(session)
    publish(state, command)
    state.ledger.progress(command)


def end_session(state: State, session: Session, reason: str, error: str | None, now: Now) -> None:
    """A session is gone, whatever the reason, and every command on it is done with it."""
    if reason == "stale" and session.kill_stage == "requested":
        error = GONE_TOO_EARLY
    state.remove_session(session, reason, error, now)
    for command in session.commands:
        target_done(state, command, session, error, now)


def target_failed(state: State, session: Session, error: str, now: Now) -> None:
    """The kill could not be carried out and the session lives on; its commands say why."""
    session.kill_stage, session.kill_error = "failed", error[:MAX_LONG_TEXT_CHARS]
    for command in session.commands:
        target_done(state, command, session, error, now)
    state.ledger.changed(session)
    state.feed.row(session)


def target_done(
    state: State, command: Command, session: Session, error: str | None, now: Now
) -> None:
    session_id = session.session_id
    if session_id not in command.pending:
        return
    del command.pending[session_id]
    command.undelivered.pop(session_id, None)
    waiting = session.process.undelivered
    if command.command_id in waiting and not any(
        sid in command.undelivered for sid in session.process.sessions
    ):
        del waiting[command.command_id]
    if error is None:
        command.completed += 1
    else:
        command.failures[session_id] = error
        command.failed += 1
    state.stats.kills["completed" if error is None else "failed"] += 1
    if command.pending:
        publish(state, command)
        state.ledger.progress(command)
    else:
        finish(state, command, now)


def finish(state: State, command: Command, now: Now) -> None:
    command.finished_at = now.wall
    _store_finished(state, command, now)
    publish(state, command)
    state.keep_command(command)


def _store_finished(state: State, command: Command, now: Now) -> None:
    """Not before the ends of its targets, or a crash between would lose the kill of one that lives.
    Few of them go along in its batch; it follows after many."""
    ledger = state.ledger
    ends = [sid for sid in command.targets if sid in ledger.urgent]

    def store(at: Now) -> None:
        # in one batch, as its row of the audit: apart, a crash between would note it twice
        ledger.command(command)
        _note(state, command, command.stage, at, _counts(command))

    if len(ends) <= state.settings.rows_per_flush:
        store(now)
    else:
        ledger.lazy_commands.pop(command.command_id, None)  # would tell of its end, too
        ledger.behind.append((ends, store, lambda at, _: _store_finished(state, command, at)))


def _counts(command: Command) -> str:
    """What became of a finished command, in words."""
    text = f"{command.completed} of {len(command.targets)} ended"
    if not command.failed:
        return text
    cause = next(iter(command.failures.values()), "its cause was before a restart")
    return f"{text}, {command.failed} failed: {cause}"


def publish(state: State, command: Command) -> None:
    """Tell the feed and those who wait about a command's progress."""
    state.feed.command(command)
    if command.waiters:
        state.waiting[command.command_id] = command


def kill_again(state: State, process: Process, tombstone: Tombstone) -> None:
    """A session that was killed shows up alive: its process missed it, so tell it again."""
    command = state.commands.get(tombstone.kill_command or "")
    reason = command.reason if command else None
    command_id = tombstone.kill_command or state.new_id()
    send_kill(state, process, command_id, [tombstone.session_id], reason)
