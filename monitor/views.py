"""Everything the page shows as text, as HTML. Pure; every value from outside is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any, Final

from monitor.columns import SHORT_ID
from sessionclient.rows import shown_status
from sessionclient.words import NOTHING, count, duration

MAX_NAMED: Final = 12  # sessions named one by one in a dialog; the rest is counted by app
MAX_TASKS: Final = 30  # newest finished tasks of a session that are shown
MAX_COMMANDS: Final = 8
MAX_FAILURES: Final = 20
TONES: Final = {
    "running": "good",
    "stale": "warn",
    "being killed": "bad",
    "kill failed": "bad",
    "idle": "muted",
}
CONNECT: Final = """\
from sessionclient import SessionClient
tracker = SessionClient.get_tracker("my-app")
tracker.on_kill(stop.set)"""


def text(value: Any, missing: str = NOTHING) -> str:
    """A value from outside as it may stand in a page."""
    return missing if value is None else escape(str(value))


class Clock:
    """Moments in the browser's own time zone."""

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        """``offset``: what the browser's clock is ahead of UTC."""
        self._offset = offset

    def at(self, moment: datetime | None, form: str = "%H:%M:%S") -> str:
        return NOTHING if moment is None else (moment + self._offset).strftime(form)

    def fine(self, moment: datetime) -> str:
        """With milliseconds."""
        return self.at(moment, "%H:%M:%S.%f")[:-3]


# --- whole states ------------------------------------------------------------------------------


def empty(server: str) -> str:
    """No session is live: how to connect an app."""
    return (
        "<h2>No sessions yet</h2><p>Put these three lines into a Panel app, where it builds its"
        f" page, and its sessions appear here:</p><pre>{escape(CONNECT)}</pre>"
        f"<p class='muted'>This monitor listens to <code>{escape(server)}</code>. Apps find it by"
        f" <code>PANELBUS_URL={escape(server)}</code>, or by default on this machine.</p>"
    )


def away(server: str, since: datetime | None, clock: Clock) -> str:
    """There has been no broker since this page was opened."""
    when = "" if since is None else f" since {clock.at(since)}"
    return (
        f"<h2>No broker at {escape(server)}{when}</h2><p>The monitor connects by itself as soon as"
        " it is there. Start one with <code>panelbus broker</code>, or give the monitor its"
        " address with <code>--server</code>.</p>"
    )


def refused(server: str, trouble: str) -> str:
    """The broker is there, but wants nothing of us."""
    return (
        f"<h2>The broker at {escape(server)} refuses us</h2><p class='bad'>{escape(trouble)}</p>"
        "<p>A broker that asks for keys must have the monitor's on its list, with the role"
        " operator. Give the monitor its key with <code>--key FILE</code>; it is let in as soon as"
        " the broker knows it.</p>"
    )


def viewers_watch() -> str:
    """Why there is nothing to press."""
    return "<span class='muted'>Viewers can't end sessions</span>"


def nothing_chosen() -> str:
    return (
        "<h2>No session chosen</h2><p class='muted'>Click a row to see everything about its"
        " session. Ctrl-click, shift-click or the box before an id choose several; with the"
        " keyboard: arrows, space, escape.</p>"
    )


def unknown(session_id: str, why: str) -> str:
    """A session id that names no live session."""
    return f"<h2>Session {text(session_id[:64])}</h2><p class='banner'>{text(why)}</p>"


# --- one session -------------------------------------------------------------------------------


def detail(
    session: Mapping[str, Any],
    tasks: Sequence[Mapping[str, Any]],
    commands: Sequence[Mapping[str, Any]],
    now: datetime,
    clock: Clock,
) -> str:
    """Everything known of a session, live or ended."""
    ended = session.get("ended_at")
    parts = [f"<h2>{text(session['app_name'])} <span class='muted'>· {_who(session)}</span></h2>"]
    if ended is not None:
        error = session.get("end_error")
        more = "" if error is None else f" {text(error)}"
        parts.append(
            f"<p class='banner' role='status'>This session ended at {clock.at(ended)}"
            f" ({text(session['end_reason'])}).{more}</p>"
        )
    elif session["kill_error"] is not None:
        parts.append(f"<p class='banner bad'>The kill failed: {text(session['kill_error'])}</p>")
    parts.append(_facts(session, ended or now, clock))
    parts.append(_tasks(session, tasks, ended or now, clock))
    parts.append(_commands(commands, clock))
    return "".join(parts)


def _who(session: Mapping[str, Any]) -> str:
    return text(session["user_id"], "nobody logged in")


def _facts(session: Mapping[str, Any], now: datetime, clock: Clock) -> str:
    status = shown_status(dict(session)) if session.get("ended_at") is None else "ended"
    silent = duration((now - session["last_heartbeat"]).total_seconds())
    bus = session["source"] == "bus"
    facts = {
        "Session": f"<span class='mono'>{text(session['session_id'])}</span>",
        "Status": f"<b class='{TONES.get(status, '')}'>{text(status)}</b>",
        "Task": text(session["current_task"]),
        "Started": f"{clock.at(session['start_time'], '%d %b %H:%M:%S')},"
        f" {duration((now - session['start_time']).total_seconds())} ago",
        "Heard": f"{silent} ago",
        "Where": f"{text(session['host'])}, pid {text(session['pid'])}" if bus else "REST",
        "Process": f"<span class='mono'>{text(session['process'])}</span>",
    }
    if session["kill_reason"]:
        facts["Reason of kill"] = text(session["kill_reason"])
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f"<dl>{rows}</dl>"


def _tasks(
    session: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], now: datetime, clock: Clock
) -> str:
    """A timeline: each task where it lay in the session's life, the newest first."""
    start = session["start_time"]
    life = max(1.0, (now - start).total_seconds())
    entries = [
        (task["name"], task["started_at"], task["ended_at"], task["outcome"], task["error"])
        for task in tasks[-MAX_TASKS:]
    ]
    if session["current_task"] is not None and session.get("ended_at") is None:
        entries.append((session["current_task"], session["task_start"] or now, now, "open", None))
    if not entries:
        return "<h3>Tasks</h3><p class='muted'>None so far.</p>"
    lines = []
    for name, began, finished, outcome, error in reversed(entries):
        left = min(99.0, max(0.0, 100 * (began - start).total_seconds() / life))
        width = min(100.0 - left, max(0.5, 100 * (finished - began).total_seconds() / life))
        words = {"ok": "", "error": f" <span class='bad'>{text(error, 'failed')}</span>"}
        state = words.get(outcome, " <span class='good'>running</span>")
        lines.append(
            f"<li class='task'><span>{text(name)}{state}</span><span class='muted'>"
            f"{clock.at(began)}, {duration((finished - began).total_seconds())}</span>"
            f"<span class='bar'><i class='{escape(outcome)}'"
            f" style='left:{left:.2f}%;width:{width:.2f}%'></i></span></li>"
        )
    return f"<h3>Tasks</h3><ul>{''.join(lines)}</ul>"


def _commands(commands: Sequence[Mapping[str, Any]], clock: Clock) -> str:
    if not commands:
        return "<h3>Commands</h3><p class='muted'>None.</p>"
    lines = []
    for command in commands[:MAX_COMMANDS]:
        whom = "this session" if command["app_name"] is None else "all of its app"
        reason = f"<br>{text(command['reason'])}" if command["reason"] else ""
        lines.append(
            f"<li>Kill of {whom} by <span class='muted'>{text(command['requested_by'])}</span>"
            f"{reason}{stages(command, clock)}</li>"
        )
    return f"<h3>Commands</h3><ul>{''.join(lines)}</ul>"


# --- dialogs -----------------------------------------------------------------------------------


def confirm(sessions: Sequence[Mapping[str, Any]]) -> str:
    """Exactly what will end."""
    if not sessions:
        return "<p>None of the chosen sessions is live any more.</p>"
    rows = "".join(
        f"<tr><td class='mono' title='{text(session['session_id'])}'>"
        f"{text(session['session_id'][:SHORT_ID])}</td><td>{text(session['app_name'])}</td>"
        f"<td>{text(session['user_id'])}</td><td>{text(session['current_task'])}</td></tr>"
        for session in sessions[:MAX_NAMED]
    )
    table = f"<table><tr><th>Session</th><th>App</th><th>User</th><th>Task</th></tr>{rows}</table>"
    rest = sessions[MAX_NAMED:]
    more = f"<p class='muted'>and {len(rest):,} more: {_by_app(rest)}</p>" if rest else ""
    total = f"<p>{count(len(sessions), 'session')} will end: {_by_app(sessions)}.</p>"
    return (total if len(sessions) > 1 else "<p>This session will end:</p>") + table + more


def confirm_app(app: str, number: int) -> str:
    """A kill of everybody in an app."""
    return (
        f"<p>Every session of <b>{text(app)}</b> will end: {count(number, 'session')} that"
        " are not being ended already.</p>"
    )


def _by_app(sessions: Iterable[Mapping[str, Any]]) -> str:
    apps = Counter(session["app_name"] for session in sessions)
    shown = [f"{number:,} of <b>{text(app)}</b>" for app, number in apps.most_common(MAX_NAMED)]
    if len(apps) > MAX_NAMED:
        shown.append(f"others of {count(len(apps) - MAX_NAMED, 'app')}")
    return ", ".join(shown)


def stages(command: Mapping[str, Any], clock: Clock) -> str:
    """How far a kill is: each stage with its time."""
    reached = command["reached"]
    last = "failed" if command["stage"] == "failed" else "completed"
    items = []
    for stage in ("requested", "delivered", last):
        at = reached.get(stage)
        # one that was passed between two looks has no time of its own
        passed = at is not None or (stage == "delivered" and command["finished_at"] is not None)
        kind = "failed" if stage == "failed" and passed else "done" if passed else ""
        when = f" <span class='muted'>{clock.fine(at)}</span>" if at is not None else ""
        items.append(f"<li class='{kind}'>{stage}{when}</li>")
    return f"<ul class='stages'>{''.join(items)}</ul>"


def progress(
    commands: Sequence[Mapping[str, Any]], refusals: Sequence[tuple[str, str]], clock: Clock
) -> str:
    """How the kills of a dialog are coming along; ``refusals`` are (what, why)."""
    total = sum(command["total"] for command in commands)
    ended = sum(command["completed"] for command in commands)
    failed = sum(command["failed"] for command in commands)
    parts = [f"<p role='status'><b>{ended:,} of {count(total, 'session')} ended.</b></p>"]
    if len(commands) == 1:
        parts.append(stages(commands[0], clock))
    elif commands:
        told = Counter(command["stage"] for command in commands)
        words = ", ".join(f"{number:,} {text(stage)}" for stage, number in told.items())
        parts.append(f"<p class='muted'>{words}</p>")
    failures = [
        (sid, why) for command in commands for sid, why in command.get("failures", {}).items()
    ]
    wrong = [*refusals, *failures]
    if wrong:
        lines = "".join(
            f"<li class='bad'><span class='mono'>{text(what[:SHORT_ID])}</span> {text(why)}</li>"
            for what, why in wrong[:MAX_FAILURES]
        )
        parts.append(f"<h3>Failed</h3><ul>{lines}</ul>")
    elif failed:
        parts.append(f"<p class='bad'>{count(failed, 'kill')} failed.</p>")
    return "".join(parts)
