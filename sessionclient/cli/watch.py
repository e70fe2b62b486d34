"""``panelbus watch``: follow sessions and kills as they happen."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import click

from sessionclient.cli.shared import (
    CONTEXT,
    SHORT_ID,
    json_option,
    operating,
    plain,
    print_json,
    server_options,
)
from sessionclient.mirror import Change
from sessionclient.words import count

MAX_KILLS: Final = 10_000  # remembered, so that none is told twice
STATES: Final = {
    "live": "live",
    "resyncing": "catching up ...",
    "down": "the broker is not there; waiting for it ...",
}


@click.command(
    context_settings=CONTEXT,
    help="Print what happens, line by line, until Ctrl-C. A broker that restarts is followed on.",
)
@click.option("--app", help="Only sessions of this app.")
@json_option
@server_options
def watch(app: str | None, as_json: bool, server: str, timeout: float) -> None:
    with operating(server, timeout, "viewer") as operator, operator.watch() as changes:
        told = Story(app)
        try:
            for change in changes:
                if as_json:
                    _print_json(change, app)
                else:
                    for line in told.lines(change):
                        click.echo(f"{datetime.now():%H:%M:%S} {line}")
        except KeyboardInterrupt:
            pass


def _print_json(change: Change, app: str | None) -> None:
    rows = change.rows
    if app is not None and change.kind in ("session", "snapshot"):
        rows = [row for row in rows if row["app_name"] == app]
        if not rows and change.kind == "session":
            return
    print_json({"change": change.kind, "rows": rows})


class Story:
    """Changes as lines. Remembers what it told of each session, to tell only what is new."""

    def __init__(self, app: str | None) -> None:
        self._app = app
        self._told: dict[str, dict[str, Any]] = {}  # session -> its row when last told
        self._kills: dict[str, tuple[Any, ...]] = {}  # command -> what was told of it
        self._started = False  # whether a first snapshot has been told
        self._caught_up = False  # whether its commands have come, too

    def lines(self, change: Change) -> list[str]:
        if change.kind == "state":
            state = change.rows[0]["state"]
            return [STATES[state] if self._started or state != "down" else "connecting ..."]
        if change.kind == "snapshot":
            return self._snapshot(change.rows)
        if change.kind == "commands":
            return self._commands(change.rows)
        tell = {"session": self._session, "ended": self._ended, "command": self._command}
        told = tell.get(change.kind)
        return [] if told is None else [line for row in change.rows for line in told(row)]

    def _wanted(self, row: dict[str, Any]) -> bool:
        return self._app is None or row["app_name"] == self._app

    def _snapshot(self, rows: list[dict[str, Any]]) -> list[str]:
        """At first the count; later, after a gap, what changed meanwhile."""
        wanted = [row for row in rows if self._wanted(row)]
        lines = [f"{count(len(wanted), 'session')} live"]
        if self._started:
            live = {row["session_id"] for row in wanted}
            for sid in [sid for sid in self._told if sid not in live]:
                lines += [f"- {self._name(self._told.pop(sid))} has ended meanwhile"]
            lines += [line for row in wanted for line in self._session(row)]
        self._started = True
        self._told.update({row["session_id"]: row for row in wanted})
        return lines

    def _session(self, row: dict[str, Any]) -> list[str]:
        if not self._wanted(row):
            return []
        before = self._told.get(row["session_id"])
        self._told[row["session_id"]] = row
        name = self._name(row)
        lines = [f"+ {name} started"] if before is None else []
        old = before or {"status": "idle", "current_task": None}
        if (row["status"], row["current_task"]) != (old["status"], old["current_task"]):
            task = "" if row["current_task"] is None else f": {plain(row['current_task'])}"
            lines.append(f"  {name} is {plain(row['status'])}{task}")
        return lines

    def _ended(self, row: dict[str, Any]) -> list[str]:
        before = self._told.pop(row["session_id"], None)
        if before is None:
            return []
        error = "" if row["error"] is None else f" ({plain(row['error'])})"
        return [f"- {self._name(before)} ended: {plain(row['reason'])}{error}"]

    def _commands(self, rows: list[dict[str, Any]]) -> list[str]:
        """At first only the kills under way are news; after a gap whatever has moved."""
        known = {row["command_id"] for row in rows}
        self._kills = {key: told for key, told in self._kills.items() if key in known}
        lines = []
        for row in rows:
            if self._caught_up or row["finished_at"] is None:
                lines += self._command(row)
            else:
                self._kills[row["command_id"]] = _progress(row)
        self._caught_up = True
        return lines

    def _command(self, row: dict[str, Any]) -> list[str]:
        if self._app is not None and row["app_name"] not in (None, self._app):
            return []
        if self._kills.get(row["command_id"]) == _progress(row):
            return []
        self._kills[row["command_id"]] = _progress(row)
        if len(self._kills) > MAX_KILLS:
            del self._kills[next(iter(self._kills))]
        if row["app_name"] is None:
            what = f"session {str(row['session_id'])[:SHORT_ID]}"
        else:
            what = f"all of {plain(row['app_name'])} ({row['completed']} of {row['total']} ended)"
        why = f", because: {plain(row['reason'])}" if row["reason"] else ""
        return [f"! kill of {what}: {row['stage']}{why}"]

    def _name(self, row: dict[str, Any]) -> str:
        user = "" if row["user_id"] is None else f" {plain(row['user_id'])}"
        return f"{plain(row['app_name'])} {row['session_id'][:SHORT_ID]}{user}"


def _progress(command: dict[str, Any]) -> tuple[Any, ...]:
    return command["stage"], command["completed"], command["failed"]
