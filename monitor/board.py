"""What the monitor knows, without I/O: sessions, kills, and the figures over them.

Changes of a watch and the time go in; which rows to write and to remove come out. Counts are kept
as changes come, so that a figure never costs a walk over all sessions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sessionclient.mirror import Change
from sessionclient.rows import shown_status

Session = dict[str, Any]
Command = dict[str, Any]

HOUR: Final = timedelta(hours=1)
MAX_COMMANDS: Final = 1_000  # newest commands kept
MAX_ENDED: Final = 2_000  # newest ended sessions kept, for whoever has one open


class Figures(NamedTuple):
    """The strip of numbers above the table."""

    live: int
    running: int
    stale: int
    kills_last_hour: int  # sessions asked to end
    busiest_app: str | None
    busiest_count: int


@dataclass(slots=True)
class Delta:
    """What to do to a table that shows the board: ``everything`` replaces all rows."""

    everything: bool = False
    changed: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return self.everything or bool(self.changed or self.removed)


@dataclass(slots=True)
class _Process:
    """When a process was last heard, and which sessions that is about."""

    heard: datetime
    sessions: set[str] = field(default_factory=set)
    stale: bool = False


class Board:
    """Sessions by id, commands by id (oldest first), and how the link to the broker is."""

    def __init__(self, stale_after: float) -> None:
        """``stale_after``: seconds of silence, as the broker has it."""
        self.stale_after = timedelta(seconds=stale_after)
        self.state = "down"  # or "resyncing" or "live"
        self.since: datetime | None = None  # of the present state
        self.ready = False  # whether a first snapshot has come
        self.sessions: dict[str, Session] = {}
        self.ended: dict[str, Session] = {}  # with end_reason, end_error, ended_at
        self.commands: dict[str, Command] = {}
        self.by_app: Counter[str] = Counter()
        self._running = 0
        self._stale = 0
        self._processes: dict[str, _Process] = {}
        self._ahead = timedelta(0)  # of the broker's clock before ours

    # --- what happened -----------------------------------------------------------------------

    def apply(self, change: Change, now: datetime) -> Delta:
        """One change of a watch."""
        delta = Delta()
        if change.kind == "state":
            self.state, self.since = change.rows[0]["state"], now
        elif change.kind == "snapshot":
            self._replace(change.rows)
            delta.everything = True
        elif change.kind == "commands":
            known, self.commands = self.commands, {}
            for command in change.rows:
                self._command(command, now, known.get(command["command_id"]))
        for row in change.rows:
            if change.kind in ("session", "snapshot"):
                self._learn_clock(row, now)
            if change.kind == "session":
                delta.changed |= self._put(row)
            elif change.kind == "ended":
                self._end(row)
                delta.removed.add(row["session_id"])
            elif change.kind == "heard":
                delta.changed |= self._heard(row)
            elif change.kind == "command":
                self._command(row, now, self.commands.get(row["command_id"]))
        return delta

    def tick(self, now: datetime) -> Delta:
        """Who has become stale by now. Costs by process, not by session."""
        delta = Delta()
        for process in self._processes.values():
            stale = now + self._ahead - process.heard > self.stale_after
            if stale != process.stale:
                self._mark(process, stale)
                delta.changed |= process.sessions
        return delta

    def _learn_clock(self, row: Session, now: datetime) -> None:
        """The broker's clock when it told of this session, to a second; ours may differ."""
        theirs = row["start_time"] + timedelta(seconds=row["duration_seconds"])
        self._ahead = theirs - now

    def _replace(self, rows: list[Session]) -> None:
        for sid in list(self.sessions):
            self._drop(sid)
        for row in rows:
            self._put(row)
        self.ready = True

    def _put(self, row: Session) -> set[str]:
        """Enter a row; which sessions look different now, those of its process included."""
        sid = row["session_id"]
        changed = {sid}
        self._drop(sid)
        self.ended.pop(sid, None)
        process = self._processes.get(row["process"])
        if process is None:
            process = _Process(row["last_heartbeat"], stale=row["is_stale"])
            self._processes[row["process"]] = process
        elif row["last_heartbeat"] >= process.heard:
            if process.stale != row["is_stale"]:
                changed |= process.sessions
            self._mark(process, row["is_stale"])
            process.heard = row["last_heartbeat"]
        process.sessions.add(sid)
        self.sessions[sid] = {**row, "is_stale": process.stale}
        self.by_app[row["app_name"]] += 1
        self._running += row["current_task"] is not None
        self._stale += process.stale
        return changed

    def _drop(self, sid: str) -> Session | None:
        row = self.sessions.pop(sid, None)
        if row is None:
            return None
        self.by_app[row["app_name"]] -= 1
        if not self.by_app[row["app_name"]]:
            del self.by_app[row["app_name"]]
        self._running -= row["current_task"] is not None
        self._stale -= row["is_stale"]
        process = self._processes[row["process"]]
        process.sessions.discard(sid)
        if not process.sessions:
            del self._processes[row["process"]]
        return row

    def _end(self, row: dict[str, Any]) -> None:
        session = self._drop(row["session_id"])
        if session is None:
            return
        self.ended[row["session_id"]] = {
            **session,
            "end_reason": row["reason"],
            "end_error": row["error"],
            "ended_at": row["ended_at"],
        }
        if len(self.ended) > MAX_ENDED:
            del self.ended[next(iter(self.ended))]

    def _heard(self, row: dict[str, Any]) -> set[str]:
        process = self._processes.get(row["process"])
        if process is None:
            return set()
        process.heard = row["last_heartbeat"]
        for sid in process.sessions:
            self.sessions[sid]["last_heartbeat"] = process.heard
        self._mark(process, False)
        return set(process.sessions)

    def _mark(self, process: _Process, stale: bool) -> None:
        if process.stale != stale:
            process.stale = stale
            self._stale += len(process.sessions) if stale else -len(process.sessions)
            for sid in process.sessions:
                self.sessions[sid]["is_stale"] = stale

    def _command(self, command: Command, now: datetime, before: Command | None) -> None:
        """Keep a command in its place, and when each of its stages was first seen here."""
        reached = dict(before["reached"]) if before else {"requested": command["requested_at"]}
        if command["finished_at"] is not None:
            reached.setdefault(command["stage"], command["finished_at"])
        else:
            reached.setdefault(command["stage"], now)
        self.commands[command["command_id"]] = {**command, "reached": reached}
        if len(self.commands) > MAX_COMMANDS:
            del self.commands[next(iter(self.commands))]

    # --- reading -----------------------------------------------------------------------------

    def figures(self, now: datetime) -> Figures:
        recent = (c for c in self.commands.values() if now - c["requested_at"] <= HOUR)
        busiest = self.by_app.most_common(1)
        app, count = busiest[0] if busiest else (None, 0)
        return Figures(
            live=len(self.sessions),
            running=self._running,
            stale=self._stale,
            kills_last_hour=sum(command["total"] for command in recent),
            busiest_app=app,
            busiest_count=count,
        )

    def status(self, sid: str) -> str:
        """A live session's status in the words the table shows."""
        return shown_status(self.sessions[sid])

    def commands_of(self, sid: str) -> list[Command]:
        """Commands that were for this session, newest first; those of its app may be."""
        session = self.sessions.get(sid) or self.ended.get(sid)
        if session is None:
            return []
        return [
            command
            for command in reversed(self.commands.values())
            if command["session_id"] == sid
            or (
                command["app_name"] == session["app_name"]
                and command["requested_at"] >= session["start_time"]
            )
        ]
