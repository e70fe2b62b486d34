"""What operators have done: clean-up, backups, and sessions that live on REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.registry import access, commands, reading, waiting
from broker.registry.effects import BackUp
from broker.registry.model import Now, Peer, Process, Session
from broker.registry.state import State
from broker.store import CopyRefused, StoreError
from sessionclient.wire import MAX_LONG_TEXT_CHARS

Handler = Callable[[State, Peer, dict[str, Any], Now], None]


# --- sessions that live on REST ----------------------------------------------------------------


def create(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """A session without a process of its own; answered when it is durable."""
    if state.disk_full(peer, message["r"], "not registered"):
        return
    session_id = state.new_id()
    process = Process(session_id, "rest", None, "-", 0, state.observed, now.wall)
    process.owner = access.owner(peer, message)
    full = state.no_room(process)
    if full is not None:
        state.refuse(peer.route, message["r"], "too_many", full)
        return
    process.heard_stored = state.observed
    app, user = message["app"], message.get("user")
    session = Session(session_id, state.next_seq(), app, user, process, now.wall, "idle")
    state.add_session(session)

    def created(_at: Now) -> None:
        state.reply(peer.route, message["r"], {"session_id": session_id})

    def refused(at: Now, why: str) -> None:
        if session_id in state.sessions:
            commands.end_session(state, session, "refused", None, at)
        state.refuse(peer.route, message["r"], "unavailable", f"not registered: {why}")

    state.ledger.behind.append(([session_id], created, refused))


def _rest_session(state: State, peer: Peer, message: dict[str, Any], now: Now) -> Session | None:
    """The REST session a request names, or None after telling why it can't be had."""
    session = state.sessions.get(message["s"])
    if session is None:
        state.refuse(peer.route, message["r"], "not_found", state.missing(message["s"]))
    elif session.process.source != "rest":
        text = (
            f"session {session.session_id!r} is kept by its own process on the bus, which alone"
            " may change or remove it; to end it, kill it"
        )
        state.refuse(peer.route, message["r"], "conflict", text)
    elif access.is_foreign(session, message):
        state.forbid(peer, message, access.NOT_YOURS, now)
    else:
        return session
    return None


def delete(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    session = _rest_session(state, peer, message, now)
    if session is None:
        return
    commands.end_session(state, session, "deleted", None, now)
    if access.owner(peer, message) != session.process.owner:
        who = access.actor(peer, message)
        state.ledger.trail.note(
            now, who, "delete", "done", app_name=session.app, targets=(session.session_id,)
        )
    state.ledger.behind.append(
        (
            [session.session_id],
            lambda _at: state.reply(peer.route, message["r"], {}),
            lambda _at, why: state.refuse(
                peer.route, message["r"], "unavailable", f"removed, but not stored yet: {why}"
            ),
        )
    )


def touch(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """A REST session's heartbeat; its answer carries the kill, which is thereby delivered."""
    session = _rest_session(state, peer, message, now)
    if session is None:
        return
    state.heard(session.process, now)
    for command in session.commands:
        if session.session_id in command.undelivered:
            commands.mark_delivered(state, command, [session.session_id], now)
    state.reply(peer.route, message["r"], {"kill_requested": bool(session.commands)})


def set_status(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    session = _rest_session(state, peer, message, now)
    if session is None:
        return
    state.heard(session.process, now)
    if session.task != message.get("task"):
        session.task = message.get("task")
        session.task_start = None if session.task is None else now.wall
    state.set_status(session, message["status"])
    state.ledger.changed(session)
    change = ["s", session.session_id, session.status, session.task, session.task_start]
    state.feed.change(change)
    state.reply(peer.route, message["r"], {})


# --- clean-up ----------------------------------------------------------------------------------


def cleanup(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """End every session that has been silent for so long."""
    ended = sweep(state, message["older"], now)
    count = len(ended)
    state.ledger.trail.note(
        now,
        access.actor(peer, message),
        "cleanup",
        "done",
        targets=tuple(ended),
        detail=f"silent for more than {message['older']:g} s",
    )
    if count == 0:
        state.reply(peer.route, message["r"], {"count": 0})
        return
    state.ledger.behind.append(
        (
            ended,
            lambda _at: state.reply(peer.route, message["r"], {"count": count}),
            lambda _at, why: state.refuse(
                peer.route, message["r"], "unavailable", f"removed, but not stored yet: {why}"
            ),
        )
    )


def sweep(state: State, older: float, now: Now) -> list[str]:
    """End the sessions of processes silent for more than ``older`` seconds; which those are.

    The process itself is forgotten with them; its hello makes it known again.
    """
    silent = [p for p in state.processes.values() if state.silence(p) > older]
    ended: list[str] = []
    for process in silent:
        for session in list(process.sessions.values()):
            commands.end_session(state, session, "stale", None, now)
            ended.append(session.session_id)
        if process.route is not None:
            state.peers.pop(process.route, None)
            process.route = None
        state.forget_process(process)
    return ended


# --- backup ------------------------------------------------------------------------------------


def backup(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """A copy of the database takes its time; answered when it is done."""
    who = access.actor(peer, message)
    state.ledger.trail.note(now, who, "backup", "requested", detail=message["file"])
    state.backups.append(BackUp(peer.route, message["r"], message["file"], who))


def backed_up(state: State, asked: BackUp, done: tuple[str, int] | StoreError, now: Now) -> None:
    """The copy is made, as (path, bytes), or not."""
    trail = state.ledger.trail
    if isinstance(done, StoreError):
        detail = str(done)[:MAX_LONG_TEXT_CHARS]
        trail.note(now, asked.actor, "backup", "failed", detail=detail)
        code = done.code if isinstance(done, CopyRefused) else "unavailable"
        state.refuse(
            asked.route, asked.request, code, f"no backup was made: {done}"[:MAX_LONG_TEXT_CHARS]
        )
        return
    path, size = done
    trail.note(now, asked.actor, "backup", "completed", detail=f"{path}, {size} bytes")
    state.reply(asked.route, asked.request, {"file": path, "bytes": size})


def heartbeat(state: State, peer: Peer, message: dict[str, Any], _now: Now) -> None:
    state.send(peer.route, "ack", n=message["n"])


def bye(state: State, peer: Peer, _message: dict[str, Any], _now: Now) -> None:
    state.peers.pop(peer.route, None)
    waiting.forget(state, peer.route)


HANDLERS: dict[str, Handler] = {
    "heartbeat": heartbeat,
    "bye": bye,
    "list": reading.list_sessions,
    "get": reading.get,
    "find": reading.find,
    "commands": reading.list_commands,
    "tasks": reading.tasks,
    "audit": reading.list_audit,
    "command_state": reading.command_state,
    "stats": reading.stats,
    "create": create,
    "delete": delete,
    "touch": touch,
    "set_status": set_status,
    "kill": commands.kill,
    "kill_all": commands.kill_all,
    "cleanup": cleanup,
    "backup": backup,
}
