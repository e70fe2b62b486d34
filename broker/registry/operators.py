"""What operators ask: lists, kills, clean-up, and sessions that live on REST."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any, Final

from broker.registry import commands
from broker.registry.effects import ReadTasks
from broker.registry.model import Command, Now, Peer, Process, Session, Waiter
from broker.registry.sizes import weigh, within
from broker.registry.state import State
from broker.store import StoreError, TaskRow
from sessionclient.wire import MAX_PAGE_ROWS

Handler = Callable[[State, Peer, dict[str, Any], Now], None]

MAX_FOUND: Final = 50  # sessions in one answer to "find"
MAX_LISTED: Final = 1000  # ids and failures in one answer about a command
MAX_TASKS_LISTED: Final = 200  # newest tasks in one answer to "tasks"
MAX_COMMANDS_LISTED: Final = 500  # commands in one answer to "commands": it must fit a frame


# --- reading -----------------------------------------------------------------------------------


def list_sessions(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """One page of live sessions in the order they were registered."""
    app, after = message.get("app"), message.get("after") or 0
    limit = message.get("limit") or MAX_PAGE_ROWS
    table = state.sessions if app is None else state.by_app.get(app, {})
    keep = _filter(state, message)
    total = len(table) if keep is None else sum(map(keep, table.values()))
    found = _from(table, after, keep)
    candidates = list(islice(found, limit + 1))
    rows = list(within(candidates, Session.weight, limit))
    more = len(candidates) > len(rows)
    result = {
        "rows": [session.wire() for session in rows],
        "total": total,
        "next": rows[-1].seq if more else None,
        "epoch": state.epoch,
        "n": state.feed.number,
        "t": state.observed,
        "w": now.wall,
    }
    state.reply(peer.route, message["r"], result)


def _filter(state: State, message: dict[str, Any]) -> Callable[[Session], bool] | None:
    user, status, stale = message.get("user"), message.get("status"), message.get("stale")
    if user is None and status is None and stale is None:
        return None
    limit = state.settings.stale_after

    def keep(session: Session) -> bool:
        return (
            (user is None or session.user == user)
            and (status is None or session.status == status)
            and (stale is None or (state.silence(session.process) > limit) == stale)
        )

    return keep


def _from(
    table: dict[str, Session], after: int, keep: Callable[[Session], bool] | None
) -> Iterator[Session]:
    for session in table.values():
        if session.seq > after and (keep is None or keep(session)):
            yield session


def get(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    session = state.sessions.get(message["s"])
    if session is None:
        state.refuse(peer.route, message["r"], "not_found", state.missing(message["s"]))
        return
    result = {"row": session.wire(), "t": state.observed, "w": now.wall}
    state.reply(peer.route, message["r"], result)


def find(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """Sessions whose id begins so."""
    prefix = message["prefix"]
    found = (s for sid, s in state.sessions.items() if sid.startswith(prefix))
    rows = [session.wire() for session in within(found, Session.weight, MAX_FOUND)]
    state.reply(peer.route, message["r"], {"rows": rows, "t": state.observed, "w": now.wall})


def list_commands(state: State, peer: Peer, message: dict[str, Any], _now: Now) -> None:
    """Unfinished commands and the newest finished ones."""
    newest_first = chain(reversed(state.open_commands.values()), reversed(state.finished.values()))
    committed = (command for command in newest_first if command.committed)
    shown = [c.wire() for c in within(committed, Command.weight, MAX_COMMANDS_LISTED)]
    result = {"commands": shown, "epoch": state.epoch, "n": state.feed.number}
    state.reply(peer.route, message["r"], result)


def command_state(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """How far a command is; answered when there is news, or when the wait is over."""
    command = state.commands.get(message["c"])
    request, wait = message["r"], float(message.get("wait") or 0.0)
    if command is None or not command.committed:
        text = f"there is no command {message['c']!r}"
        state.refuse(peer.route, request, "not_found", text)
        return

    def answer(command: Command) -> None:
        result = command.wire()
        result["pending"] = list(islice(command.pending, MAX_LISTED))
        failures = command.failures.items()
        result["failures"] = [
            list(item) for item in within(failures, lambda item: weigh(*item), MAX_LISTED)
        ]
        state.reply(peer.route, request, result)

    waiter = Waiter(now.mono + wait, message.get("seen"), answer)
    commands.add_waiter(state, command, waiter, now)


def tasks(state: State, peer: Peer, message: dict[str, Any], _now: Now) -> None:
    """History lives in the store only, so the answer waits for a read."""
    state.reads.append(ReadTasks(peer.route, message["r"], message["s"], MAX_TASKS_LISTED))


def tasks_read(state: State, read: ReadTasks, found: list[TaskRow] | StoreError) -> None:
    """The store has answered; what it does not have yet is added."""
    if isinstance(found, StoreError):
        state.refuse(read.route, read.request, "unavailable", f"can't read tasks: {found}")
        return
    sid = read.session_id
    rows = {row.task_no: row for row in (*found, *state.ledger.tasks_of(sid))}
    if not rows and sid not in state.sessions and sid not in state.tombstones:
        state.refuse(read.route, read.request, "not_found", state.missing(sid))
        return
    newest = sorted(rows.values(), key=lambda row: row.task_no, reverse=True)
    kept = within(newest, lambda row: weigh(row.name, row.error), read.limit)
    fields = [{k: v for k, v in row._asdict().items() if k != "session_id"} for row in kept]
    state.reply(read.route, read.request, {"tasks": fields[::-1]})


def stats(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """Everything /metrics and /readyz show."""
    by_status: dict[tuple[str, str], int] = {}
    stale = 0
    for session in state.sessions.values():
        label = (session.app, session.status)
        by_status[label] = by_status.get(label, 0) + 1
        stale += state.silence(session.process) > state.settings.stale_after
    kept = state.stats
    result = {
        "version": state.version,
        "epoch": state.epoch,
        "started_at": state.started.wall,
        "uptime": now.mono - state.started.mono,
        "health": kept.health.wire(),
        "sessions": [[app, status, count] for (app, status), count in by_status.items()],
        "stale": stale,
        "processes": len(state.processes),
        "peers": len(state.peers),
        "messages": dict(kept.messages),
        "rejected": dict(kept.rejected),
        "kills": dict(kept.kills),
        "kill_latency": kept.kill_latency.wire(),
        "commit": kept.commit.wire(),
        "queues": {
            "store": state.ledger.pending(),
            "feed": len(state.feed),
            "waiters": state.waiter_count,
            "open_commands": len(state.open_commands),
        },
        "feed_number": state.feed.number,
    }
    state.reply(peer.route, message["r"], result)


# --- sessions that live on REST ----------------------------------------------------------------


def create(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """A session without a process of its own; answered when it is durable."""
    limit = state.settings
    if len(state.sessions) >= limit.max_sessions or len(state.processes) >= limit.max_processes:
        text = f"there are {len(state.sessions)} sessions already; clean up first"
        state.refuse(peer.route, message["r"], "too_many", text)
        return
    session_id = state.new_id()
    process = Process(session_id, "rest", None, "-", 0, state.observed, now.wall)
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

    state.ledger.after.append((created, refused))


def _rest_session(state: State, peer: Peer, message: dict[str, Any]) -> Session | None:
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
    else:
        return session
    return None


def delete(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    session = _rest_session(state, peer, message)
    if session is None:
        return
    commands.end_session(state, session, "deleted", None, now)
    state.ledger.after.append(
        (
            lambda _at: state.reply(peer.route, message["r"], {}),
            lambda _at, why: state.refuse(
                peer.route, message["r"], "unavailable", f"removed, but not stored yet: {why}"
            ),
        )
    )


def touch(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """A REST session's heartbeat; its answer carries the kill, which is thereby delivered."""
    session = _rest_session(state, peer, message)
    if session is None:
        return
    state.heard(session.process, now)
    for command in session.commands:
        if session.session_id in command.undelivered:
            commands.mark_delivered(state, command, [session.session_id], now)
    state.reply(peer.route, message["r"], {"kill_requested": bool(session.commands)})


def set_status(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    session = _rest_session(state, peer, message)
    if session is None:
        return
    state.heard(session.process, now)
    if session.task != message.get("task"):
        session.task = message.get("task")
        session.task_start = None if session.task is None else now.wall
    session.status = message["status"]
    state.ledger.changed(session)
    change = ["s", session.session_id, session.status, session.task, session.task_start]
    state.feed.change(change)
    state.reply(peer.route, message["r"], {})


# --- clean-up ----------------------------------------------------------------------------------


def cleanup(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """End every session that has been silent for so long."""
    count = sweep(state, message["older"], now)
    if count == 0:
        state.reply(peer.route, message["r"], {"count": 0})
        return
    state.ledger.after.append(
        (
            lambda _at: state.reply(peer.route, message["r"], {"count": count}),
            lambda _at, why: state.refuse(
                peer.route, message["r"], "unavailable", f"removed, but not stored yet: {why}"
            ),
        )
    )


def sweep(state: State, older: float, now: Now) -> int:
    """End the sessions of processes silent for more than ``older`` seconds; how many those are.

    The process itself is forgotten with them; its hello makes it known again.
    """
    silent = [p for p in state.processes.values() if state.silence(p) > older]
    count = 0
    for process in silent:
        for session in list(process.sessions.values()):
            commands.end_session(state, session, "stale", None, now)
            count += 1
        if process.route is not None:
            state.peers.pop(process.route, None)
            process.route = None
        state.processes.pop(process.instance, None)
    return count


def heartbeat(state: State, peer: Peer, message: dict[str, Any], _now: Now) -> None:
    state.send(peer.route, "ack", n=message["n"])


def bye(state: State, peer: Peer, _message: dict[str, Any], _now: Now) -> None:
    state.peers.pop(peer.route, None)


HANDLERS: dict[str, Handler] = {
    "heartbeat": heartbeat,
    "bye": bye,
    "list": list_sessions,
    "get": get,
    "find": find,
    "commands": list_commands,
    "tasks": tasks,
    "command_state": command_state,
    "stats": stats,
    "create": create,
    "delete": delete,
    "touch": touch,
    "set_status": set_status,
    "kill": commands.kill,
    "kill_all": commands.kill_all,
    "cleanup": cleanup,
}
