"""What app processes say: their greeting, their sessions' state, and how kills went.

Every message carries a number of the process's one counter. A repeat is ignored; a gap means that
something was lost, and is answered with "say hello", because a hello states everything anew.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from sys import intern
from typing import Any, Final

from broker.registry import access, commands, waiting
from broker.registry.model import Greeting, Now, Peer, Process, Route, Session
from broker.registry.state import State
from broker.store import TaskRow, Tombstone
from sessionclient.wire import PROTOCOL_VERSION

Handler = Callable[[State, Process, dict[str, Any], Now], None]

RESTATED_WITHIN: Final = 1.0  # seconds two statements of one task's start may differ


# --- greeting ----------------------------------------------------------------------------------


def hello(
    state: State, route: Route, message: dict[str, Any], now: Now, user_id: str | None
) -> None:
    """A connection presents itself; from an app also the whole state of its sessions."""
    if route not in state.peers and len(state.peers) >= state.settings.max_peers:
        state.refuse(route, None, "too_many", f"{len(state.peers)} peers are connected already")
        return
    if _is_another(state.peers.get(route), message):
        state.stats.rejected["second_identity"] += 1
        text = "this connection speaks for another instance or role already; open one of its own"
        state.refuse(route, None, "forbidden", text)
        return
    why = access.objection(state.access, user_id, message["role"])
    if why is not None:
        drop_route(state, route)
        _not_welcome(state, route, message, user_id, why, now)
        return
    peer = _peer(state, route, message, user_id)
    if message["role"] == "app":
        process = _recognise(state, route, message, now, peer.key)
        if process is None:
            return
        peer.process = process
        _take_route(state, process, peer)
        process.number, process.asked_hello = message["n"], None
        process.greeting = Greeting(message["n"])
        _greeting_part(state, process, message, now)
    else:
        state.peers[route] = peer
        welcome(state, route, message["n"])


def _peer(state: State, route: Route, message: dict[str, Any], user_id: str | None) -> Peer:
    name = f"{message['role']} {message['instance']} on {message['host']} pid {message['pid']}"
    peer = Peer(route, message["role"], name, state.observed, user_id=user_id)
    if state.access is not None and user_id is not None:
        peer.key = state.access[user_id].name
        peer.name = f"key {peer.key} on {message['host']} pid {message['pid']}"
    return peer


def _not_welcome(
    state: State,
    route: Route,
    message: dict[str, Any],
    user_id: str | None,
    why: str,
    now: Now,
) -> None:
    state.stats.rejected["forbidden"] += 1
    credential = (state.access or {}).get(user_id or "")
    who = f"key {credential.name}" if credential is not None else "unknown keys"
    state.ledger.trail.refused(now, who, "hello", why, f"{who} on {message['host']}")
    state.refuse(route, None, "forbidden", why)


def cut_off(state: State, now: Now) -> None:
    """End what connections may no longer do after the allow-list has changed."""
    cut: Counter[str] = Counter()  # a key may have thousands of connections, and gets one row
    for peer in list(state.peers.values()):
        why = access.objection(state.access, peer.user_id, peer.role)
        if why is None:
            continue
        cut[f"key {peer.key}"] += 1
        drop_route(state, peer.route)
        state.refuse(peer.route, None, "forbidden", why)
    for who, count in cut.items():
        detail = f"{count} connections cut off"
        state.ledger.trail.note(now, who, "connect", "revoked", detail=detail)


def _is_another(peer: Peer | None, message: dict[str, Any]) -> bool:
    """Whether a connection presents itself as somebody else: one could claim any number."""
    if peer is None:
        return False
    instance = None if peer.process is None else peer.process.instance
    return peer.role != message["role"] or instance not in (None, message["instance"])


def welcome(state: State, route: Route, number: int) -> None:
    state.send(
        route,
        "welcome",
        n=number,
        v=PROTOCOL_VERSION,
        epoch=state.epoch,
        feed=state.feed_address,
        stale_after=state.settings.stale_after,
        version=state.version,
    )


def _recognise(
    state: State, route: Route, message: dict[str, Any], now: Now, key: str | None
) -> Process | None:
    """The process behind an app's hello, known by its secret and, where keys are asked for, by its
    key; None when it is not to be heard."""
    secret_hash = hashlib.sha256(message["secret"]).digest()
    process = state.processes.get(message["instance"])
    known = state.gone.get(message["instance"]) if process is None else process.secret_hash
    strange = known is None or not hmac.compare_digest(known, secret_hash)
    asked = state.access is not None
    stolen = asked and process is not None and process.owner not in (None, key)
    if stolen or (strange and (process is not None or known is not None)):
        state.stats.rejected["foreign_instance"] += 1
        text = f"instance {message['instance']!r} belongs to another process"
        who = "an open app" if key is None else f"key {key}"
        state.ledger.trail.refused(now, who, "hello", text, f"{who} on {message['host']}")
        state.refuse(route, None, "forbidden", text)
        return None
    if process is None:
        full = state.no_room_for_process(key)
        if full is not None:
            state.refuse(route, None, "too_many", full)
            return None
        return Process(
            instance=message["instance"],
            source="bus",
            secret_hash=secret_hash,
            host=intern(message["host"]),
            pid=message["pid"],
            heard=state.observed,
            heard_wall=now.wall,
            owner=key,
        )
    if process.number is not None and message["n"] <= process.number:
        return None  # a repeat, or a late hello of an earlier connection
    if asked and process.owner is None:
        state.own(process, key)
        state.ledger.processes[process.instance] = process
    return process


def _take_route(state: State, process: Process, peer: Peer) -> None:
    """From now on this connection speaks for the process, and no other does."""
    if process.route is not None and process.route != peer.route:
        state.peers.pop(process.route, None)
    process.route = peer.route
    state.peers[peer.route] = peer
    state.know(process)
    state.gone.pop(process.instance, None)


def drop_route(state: State, route: Route) -> None:
    """A connection is known to be gone; its process may come back on another."""
    peer = state.peers.pop(route, None)
    waiting.forget(state, route)
    if peer is not None and peer.process is not None and peer.process.route == route:
        peer.process.route = None


def hello_part(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    if process.greeting is not None:
        _greeting_part(state, process, message, now)


def _greeting_part(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    greeting = process.greeting
    if greeting is None:
        raise RuntimeError("no greeting is under way")
    greeting.parts += 1
    greeting.held.update(entry["s"] for entry in message["sessions"])
    limit = state.settings.max_sessions_per_process
    if len(greeting.held) > limit or greeting.parts > state.settings.max_greeting_parts:
        process.greeting = None
        if process.route is not None:
            text = f"a greeting of more than {limit} sessions, or of endless parts"
            state.refuse(process.route, None, "too_many", text)
        return
    if message["last"]:
        process.greeting = None
        if process.route is not None:
            welcome(state, process.route, greeting.number)
    _reconcile(state, process, greeting, message, now)


def _reconcile(
    state: State, process: Process, greeting: Greeting, part: dict[str, Any], now: Now
) -> None:
    """Make our view of a process equal to what it says, and push what it has missed."""
    for record in part["ended"]:
        _end(state, process, record, now)
    if part["last"]:
        for session_id in [sid for sid in process.sessions if sid not in greeting.held]:
            commands.end_session(state, process.sessions[session_id], "gone", None, now)
    for entry in part["sessions"]:
        _hold(state, process, entry, now)
    # after the sessions: a task may belong to one that is stated here for the first time
    _finished_tasks(state, process, part.get("done"), now)
    if part["last"]:
        state.ledger.greeted(process, now)
        # whatever was pushed on an earlier connection may have been lost with it
        commands.push_pending(state, process)


# --- state -------------------------------------------------------------------------------------


def register(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    _hold(state, process, message, now)


def _hold(state: State, process: Process, entry: dict[str, Any], now: Now) -> None:
    """A process says that it holds this live session."""
    session = state.sessions.get(entry["s"])
    if session is None:
        _admit(state, process, entry, now)
    elif session.process is not process:
        state.stats.rejected["foreign_session"] += 1
        _refuse_session(state, process, entry["s"], "it belongs to another process")
    else:
        _set_status(state, session, entry, now)


def _admit(state: State, process: Process, entry: dict[str, Any], now: Now) -> None:
    """Enter a session that is not live here, unless it ended for good or there is no room."""
    session_id = entry["s"]
    tombstone = state.tombstones.get(session_id)
    if tombstone is not None and _has_ended(state, process, tombstone):
        return
    full = state.no_room(process)
    if full is not None:
        state.stats.rejected["too_many_sessions"] += 1
        _refuse_session(state, process, session_id, full)
        return
    # Ended for silence only: that was this broker's guess, and its own process now disproves it.
    state.tombstones.pop(session_id, None)
    task_age = entry.get("task_age")
    user = entry.get("user")
    session = Session(
        session_id=session_id,
        seq=state.next_seq(),
        app=intern(entry["app"]),
        user=None if user is None else intern(user),
        process=process,
        started=now.wall - entry["age"],
        status=intern(entry["status"]),
        task=entry.get("task"),
        task_start=None if task_age is None else now.wall - task_age,
    )
    state.add_session(session)


def _has_ended(state: State, process: Process, tombstone: Tombstone) -> bool:
    """Whether a session that a process states has ended for good; then the process is told."""
    session_id = tombstone.session_id
    if tombstone.process != process.instance:
        state.stats.rejected["foreign_session"] += 1
        _refuse_session(state, process, session_id, "it belonged to another process")
    elif tombstone.kill_command is not None:
        commands.kill_again(state, process, tombstone)
    elif tombstone.reason != "stale":
        _refuse_session(state, process, session_id, f"it has ended ({tombstone.reason})")
    else:
        return False
    return True


def stays_ended(state: State, tombstone: Tombstone, now: Now) -> None:
    """The store remembers the end of a session that was forgotten here and taken in again."""
    session = state.sessions.get(tombstone.session_id)
    if session is not None:
        commands.end_session(state, session, "refused", None, now)
        _has_ended(state, session.process, tombstone)
    state.bury(tombstone)


def _refuse_session(state: State, process: Process, session_id: str, why: str) -> None:
    if process.route is not None:
        state.send(process.route, "refused", s=session_id, reason=why)


def status(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    done = message.get("done")
    if done:
        _finished_tasks(state, process, done, now)
    session = process.sessions.get(message["s"])
    if session is not None:
        _set_status(state, session, message, now)


def _set_status(state: State, session: Session, entry: dict[str, Any], now: Now) -> None:
    new_status, task, age = entry["status"], entry.get("task"), entry.get("task_age")
    start = None if age is None else now.wall - age
    if session.status == new_status and session.task == task:
        known = session.task_start
        # stated again, as by a hello: a start computed anew from an age differs by the delay only
        if start is None or (known is not None and abs(start - known) < RESTATED_WITHIN):
            return
    state.set_status(session, intern(new_status))
    session.task, session.task_start = task, start
    state.ledger.changed(session)
    state.feed.change(["s", session.session_id, session.status, task, start])


def _finished_tasks(
    state: State, process: Process, done: list[dict[str, Any]] | None, now: Now
) -> None:
    for task in done or ():
        tombstone = state.tombstones.get(task["s"])
        ended_here = tombstone is not None and tombstone.process == process.instance
        if task["s"] not in process.sessions and not ended_here:
            continue
        started = now.wall - task["age"]
        row = TaskRow(
            task["s"],
            task["no"],
            task["name"],
            started,
            started + task["took"],
            task["outcome"],
            task.get("error"),
        )
        state.ledger.finished(row, process)


# --- ends and commands -------------------------------------------------------------------------


def end(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    _finished_tasks(state, process, message.get("done"), now)
    _end(state, process, message, now)


def _end(state: State, process: Process, record: dict[str, Any], now: Now) -> None:
    session = process.sessions.get(record["s"])
    if session is not None:
        commands.end_session(state, session, record["reason"], record.get("error"), now)


def delivered(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    command = state.commands.get(message["c"])
    if command is not None:
        commands.delivered(state, process, command, now)


def failed(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    session = process.sessions.get(message["s"])
    if session is None:
        _survived(state, process, message["s"])
    elif session.commands:
        commands.target_failed(state, session, message["error"], now)


def _survived(state: State, process: Process, session_id: str) -> None:
    """A session cleaned up for silence, then told to end, lives on after all: let it be stated."""
    tombstone = state.tombstones.get(session_id)
    if tombstone is None or tombstone.process != process.instance or tombstone.reason != "stale":
        return
    state.tombstones[session_id] = tombstone._replace(kill_command=None)
    if process.route is not None:
        state.send(process.route, "say_hello")


def heartbeat(state: State, process: Process, _message: dict[str, Any], _now: Now) -> None:
    if process.route is None:
        return
    if not state.ledger.concerns(process):
        process.acked = process.number or 0
    state.send(process.route, "ack", n=process.acked)


def bye(state: State, process: Process, _message: dict[str, Any], now: Now) -> None:
    """The process exits: its sessions end with it."""
    for session in list(process.sessions.values()):
        commands.end_session(state, session, "exit", None, now)
    state.ledger.acks[process] = None
    state.ledger.processes.setdefault(process.instance, process)


HANDLERS: dict[str, Handler] = {
    "hello_part": hello_part,
    "register": register,
    "status": status,
    "end": end,
    "delivered": delivered,
    "failed": failed,
    "heartbeat": heartbeat,
    "bye": bye,
}


def receive(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """One numbered message of a greeted app process."""
    process = peer.process
    if process is None:
        raise RuntimeError("an app's peer has a process")
    number, expected = message["n"], (process.number or 0) + 1
    if number < expected:
        return
    if number > expected:
        state.heard(process, now)  # it is not silent, whatever was lost
        # asked again after a while, in case the question was lost too
        again = state.observed - state.settings.ask_hello_after
        if process.asked_hello is None or process.asked_hello <= again:
            process.asked_hello = state.observed
            state.send(peer.route, "say_hello")
        return
    process.number = number
    state.heard(process, now)
    HANDLERS[message["k"]](state, process, message, now)
