"""What app processes say: their greeting, their sessions' state, and how kills went.

Every message carries a number of the process's one counter. A repeat is ignored; a gap means that
something was lost, and is answered with "say hello", because a hello states everything anew.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from sys import intern
from typing import Any, Final

from broker.registry import commands
from broker.registry.model import Now, Peer, Process, Route, Session
from broker.registry.state import State
from broker.store import TaskRow
from sessionclient.wire import PROTOCOL_VERSION

Handler = Callable[[State, Process, dict[str, Any], Now], None]

RESTATED_WITHIN: Final = 1.0  # seconds two statements of one task's start may differ


# --- greeting ----------------------------------------------------------------------------------


def hello(state: State, route: Route, message: dict[str, Any], now: Now) -> None:
    """A connection presents itself; from an app also the whole state of its sessions."""
    if message["v"] != PROTOCOL_VERSION:
        text = (
            f"this broker speaks protocol version {PROTOCOL_VERSION}, you speak"
            f" {message['v']}; upgrade the older of the two"
        )
        state.refuse(route, None, "unsupported_version", text)
        return
    if route not in state.peers and len(state.peers) >= state.settings.max_peers:
        state.refuse(route, None, "too_many", f"{len(state.peers)} peers are connected already")
        return
    name = f"{message['role']} {message['instance']} on {message['host']} pid {message['pid']}"
    if message["role"] == "app":
        process = _recognise(state, route, message, now)
        if process is None:
            return
        _take_route(state, process, Peer(route, "app", name, state.observed, process))
        process.number, process.asked_hello = message["n"], False
        process.greeting = []
        _greeting_part(state, process, message, now)
    else:
        state.peers[route] = Peer(route, message["role"], name, state.observed)
        welcome(state, route, message["n"])


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


def _recognise(state: State, route: Route, message: dict[str, Any], now: Now) -> Process | None:
    """The process behind an app's hello, known by its secret; None when it is not to be heard."""
    secret_hash = hashlib.sha256(message["secret"]).digest()
    process = state.processes.get(message["instance"])
    if process is None:
        if len(state.processes) >= state.settings.max_processes:
            text = f"{len(state.processes)} processes are registered already"
            state.refuse(route, None, "too_many", text)
            return None
        return Process(
            instance=message["instance"],
            source="bus",
            secret_hash=secret_hash,
            host=intern(message["host"]),
            pid=message["pid"],
            heard=state.observed,
            heard_wall=now.wall,
        )
    if process.secret_hash is None or not hmac.compare_digest(process.secret_hash, secret_hash):
        state.stats.rejected["foreign_instance"] += 1
        text = f"instance {process.instance!r} belongs to another process"
        state.refuse(route, None, "forbidden", text)
        return None
    if process.number is not None and message["n"] <= process.number:
        return None  # a repeat, or a late hello of an earlier connection
    return process


def _take_route(state: State, process: Process, peer: Peer) -> None:
    """From now on this connection speaks for the process, and no other does."""
    earlier = state.peers.get(peer.route)
    if earlier is not None and earlier.process not in (None, process):
        drop_route(state, peer.route)
    if process.route is not None and process.route != peer.route:
        state.peers.pop(process.route, None)
    process.route = peer.route
    state.peers[peer.route] = peer
    state.processes[process.instance] = process


def drop_route(state: State, route: Route) -> None:
    """A connection is known to be gone; its process may come back on another."""
    peer = state.peers.pop(route, None)
    if peer is not None and peer.process is not None and peer.process.route == route:
        peer.process.route = None


def hello_part(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    if process.greeting is not None:
        _greeting_part(state, process, message, now)


def _greeting_part(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    parts = process.greeting
    if parts is None:
        raise RuntimeError("no greeting is under way")
    parts.append(message)
    total = sum(len(part["sessions"]) + len(part["ended"]) for part in parts)
    if total > 2 * state.settings.max_sessions_per_process:
        process.greeting = None
        if process.route is not None:
            text = f"more than {state.settings.max_sessions_per_process} sessions in one process"
            state.refuse(process.route, None, "too_many", text)
    elif message["last"]:
        process.greeting = None
        if process.route is not None:
            welcome(state, process.route, parts[0]["n"])
        _reconcile(state, process, parts, now)


def _reconcile(state: State, process: Process, parts: list[dict[str, Any]], now: Now) -> None:
    """Make our view of a process equal to what it says, and push what it has missed."""
    for part in parts:
        _finished_tasks(state, process, part.get("done"), now)
        for record in part["ended"]:
            _end(state, process, record, now)
    held = [entry for part in parts for entry in part["sessions"]]
    names = {entry["s"] for entry in held}
    for session_id in [sid for sid in process.sessions if sid not in names]:
        commands.end_session(state, process.sessions[session_id], "gone", None, now)
    for entry in held:
        _hold(state, process, entry, now)
    state.ledger.acks[process] = None
    state.ledger.processes.setdefault(process.instance, process)
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
    if tombstone is not None and tombstone.kill_command is not None:
        commands.kill_again(state, process, tombstone)
        return
    if tombstone is not None and tombstone.reason != "stale":
        _refuse_session(state, process, session_id, f"it has ended ({tombstone.reason})")
        return
    limit = state.settings.max_sessions_per_process
    if len(process.sessions) >= limit or len(state.sessions) >= state.settings.max_sessions:
        state.stats.rejected["too_many_sessions"] += 1
        _refuse_session(state, process, session_id, "there are too many sessions already")
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


def _refuse_session(state: State, process: Process, session_id: str, why: str) -> None:
    if process.route is not None:
        state.send(process.route, "refused", s=session_id, reason=why)


def status(state: State, process: Process, message: dict[str, Any], now: Now) -> None:
    _finished_tasks(state, process, message.get("done"), now)
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
    session.status, session.task, session.task_start = intern(new_status), task, start
    state.ledger.changed(session)
    state.feed.change(["s", session.session_id, session.status, task, start])


def _finished_tasks(
    state: State, process: Process, done: list[dict[str, Any]] | None, now: Now
) -> None:
    for task in done or ():
        if task["s"] not in process.sessions and task["s"] not in state.tombstones:
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
    if session is not None and session.commands:
        commands.target_failed(state, session, message["error"], now)


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
        # asked once, and again by each heartbeat in case the question was lost too
        if not process.asked_hello or message["k"] == "heartbeat":
            process.asked_hello = True
            state.send(peer.route, "say_hello")
        return
    process.number = number
    state.heard(process, now)
    HANDLERS[message["k"]](state, process, message, now)
