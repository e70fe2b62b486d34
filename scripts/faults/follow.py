"""Copies of the broker's list, each made in another way, as the same plain rows."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from scripts.faults.check import CommandState, Row
from sessionclient import Operator
from sessionclient.mirror import Change

REST_TIMEOUT: Final = 12.0  # seconds; the gateway itself waits 10


def plain(session: dict[str, Any]) -> Row:
    return Row(*(session[field] for field in Row._fields))


class Follower:
    """Applies what `Operator.watch` tells, through all faults, in a thread of its own."""

    def __init__(self, operator: Operator) -> None:
        self.state = "down"
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._watch = operator.watch()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        for change in self._watch:
            with self._lock:
                self._apply(change)

    def _apply(self, change: Change) -> None:
        if change.kind == "state":
            self.state = change.rows[0]["state"]
        elif change.kind == "snapshot":
            self._rows = {row["session_id"]: plain(row) for row in change.rows}
        elif change.kind == "session":
            self._rows.update((row["session_id"], plain(row)) for row in change.rows)
        elif change.kind == "ended":
            for row in change.rows:
                self._rows.pop(row["session_id"], None)

    def rows(self) -> list[Row]:
        with self._lock:
            return list(self._rows.values())


def rest_rows(port: int) -> list[Row]:
    """The list over REST. Raises OSError or HTTPException when it can't be had."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REST_TIMEOUT)
    with closing(connection):
        connection.request("GET", "/sessions")
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status}")
    return [plain(session) for session in json.loads(body)["sessions"]]


def stored(database: Path) -> tuple[list[Row], dict[str, CommandState], dict[str, tuple[str, str]]]:
    """What a broker that has stopped left on the disk: its live sessions, its commands, and whose
    each session was, live or ended (app and life)."""
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as file:
        live: Iterable[tuple[Any, ...]] = file.execute(
            f"SELECT {', '.join(Row._fields)} FROM sessions WHERE ended_at IS NULL"
        )
        rows = [Row(*row) for row in live]
        commands = {
            command_id: CommandState(tuple(json.loads(targets)), stage)
            for command_id, targets, stage in file.execute(
                "SELECT command_id, targets, stage FROM commands"
            )
        }
        owners = {
            session_id: (app, life)
            for session_id, app, life in file.execute(
                "SELECT session_id, app_name, user_id FROM sessions"
            )
        }
    return rows, commands, owners
