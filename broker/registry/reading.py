"""What operators and viewers read: lists, one session, commands, tasks, the audit, the counts."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from itertools import chain, islice
from typing import Any, Final, cast

from broker.registry import access, audit, waiting
from broker.registry.effects import Found, Read, ReadAudit, ReadTasks
from broker.registry.in_order import InOrder
from broker.registry.model import Command, Now, Peer, Session, Waiter
from broker.registry.sizes import weigh, within
from broker.registry.state import State
from broker.store import AuditRow, StoreError, TaskRow
from sessionclient.wire import MAX_PAGE_ROWS

MAX_FOUND: Final = 50  # sessions in one answer to "find"
MAX_LISTED: Final = 1000  # ids and failures in one answer about a command
MAX_TASKS_LISTED: Final = 200  # newest tasks in one answer to "tasks"
AUDIT_PAGE: Final = 100  # rows in one answer to "audit" that asks for no number
MAX_COMMANDS_LISTED: Final = 500  # commands in one answer to "commands": it must fit a frame
MAX_LABELS: Final = 1000  # pairs of app and status counted by themselves in "stats"
OTHER: Final = "(other)"  # app and status of all further pairs together


def list_sessions(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    """One page of live sessions in the order they were registered."""
    app, after = message.get("app"), message.get("after") or 0
    limit = message.get("limit") or MAX_PAGE_ROWS
    table = state.in_order if app is None else state.by_app.get(app, InOrder())
    found = _matching(state, table, message)
    if found is None:
        total, candidates = len(table), list(islice(table.after(after), limit + 1))
    else:
        first = bisect_right(found, after, key=_seq)
        total, candidates = len(found), found[first : first + limit + 1]
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


def _matching(state: State, table: InOrder, message: dict[str, Any]) -> list[Session] | None:
    """All sessions of the table that a list was asked for, in order; None for simply all.

    The bus waits for this, so each condition is a pass of its own without a call in it: a quarter
    of the time that one function for all of them would take.
    """
    user, status, stale = message.get("user"), message.get("status"), message.get("stale")
    if user is None and status is None and stale is None:
        return None
    found = table.everybody()
    if user is not None:
        found = [session for session in found if session.user == user]
    if status is not None:
        found = [session for session in found if session.status == status]
    if stale is not None:
        limit = state.settings.stale_after
        silent = {p for p in state.processes.values() if state.silence(p) > limit}
        found = [session for session in found if (session.process in silent) == stale]
    return found


def _seq(session: Session) -> int:
    return session.seq


def get(state: State, peer: Peer, message: dict[str, Any], now: Now) -> None:
    session = state.sessions.get(message["s"])
    if session is None:
        state.refuse(peer.route, message["r"], "not_found", state.missing(message["s"]))
        return
    if access.is_foreign(session, message):
        state.forbid(peer, message, access.NOT_YOURS, now)
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

    waiter = Waiter(peer.route, now.mono + wait, message.get("seen"), answer)
    waiting.add_waiter(state, command, waiter, now)


def tasks(state: State, peer: Peer, message: dict[str, Any], _now: Now) -> None:
    """History lives in the store only, so the answer waits for a read."""
    state.reads.append(ReadTasks(peer.route, message["r"], message["s"], MAX_TASKS_LISTED))


def list_audit(state: State, peer: Peer, message: dict[str, Any], _now: Now) -> None:
    """Who did what: it lives in the store only, too."""
    limit = message.get("limit") or AUDIT_PAGE
    state.reads.append(ReadAudit(peer.route, message["r"], message.get("before"), limit))


def read_done(state: State, read: Read, found: Found) -> None:
    """The store has answered."""
    if isinstance(found, StoreError):
        what = "tasks" if isinstance(read, ReadTasks) else "the audit"
        state.refuse(read.route, read.request, "unavailable", f"can't read {what}: {found}")
    elif isinstance(read, ReadTasks):
        _tasks_read(state, read, cast("list[TaskRow]", found))
    else:
        _audit_read(state, read, cast("list[AuditRow]", found))


def _audit_read(state: State, read: ReadAudit, found: list[AuditRow]) -> None:
    kept = list(within(found, audit.weight, read.limit))
    more = len(kept) < len(found) or len(found) == read.limit
    rows = [audit.wire(row) for row in kept]
    after = kept[-1].number if kept and more else None
    state.reply(read.route, read.request, {"rows": rows, "next": after})


def _tasks_read(state: State, read: ReadTasks, found: list[TaskRow]) -> None:
    """What the store does not have yet is added."""
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
    limit = state.settings.stale_after
    silent = (process for process in state.processes.values() if state.silence(process) > limit)
    kept = state.stats
    result = {
        "version": state.version,
        "epoch": state.epoch,
        "started_at": state.started.wall,
        "uptime": now.mono - state.started.mono,
        "health": kept.health.wire(),
        "sessions": _most_common(state.statuses),
        "stale": sum(len(process.sessions) for process in silent),
        "processes": len(state.processes),
        "peers": len(state.peers),
        "messages": dict(kept.messages),
        "rejected": dict(kept.rejected),
        "kills": dict(kept.kills),
        "kill_latency": kept.kill_latency.wire(),
        "commit": kept.commit.wire(),
        "queues": {
            "store": state.ledger.pending(),
            "feed": len(state.feed.changes),
            "waiters": state.waiter_count,
            "open_commands": len(state.open_commands),
        },
        "feed_number": state.feed.number,
    }
    state.reply(peer.route, message["r"], result)


def _most_common(statuses: dict[str, dict[str, int]]) -> list[list[Any]]:
    """[app, status, count] of the most common pairs that fit a frame, and the rest in one."""
    by_status = Counter(
        {(app, status): n for app, counts in statuses.items() for status, n in counts.items()}
    )
    kept = list(within(by_status.most_common(), lambda item: weigh(*item[0]), MAX_LABELS))
    rows: list[list[Any]] = [[app, status, count] for (app, status), count in kept]
    rest = by_status.total() - sum(count for _, count in kept)
    if rest:
        rows.append([OTHER, OTHER, rest])
    return rows
