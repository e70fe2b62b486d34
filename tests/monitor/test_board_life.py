"""Random life of a board: its figures are always a recount, its deltas keep a table true."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.board import HOUR, Board, Delta, Figures
from tests.monitor.make import NOW, command, ended, heard, session, told

STALE_AFTER = 120.0
IDS = st.sampled_from([f"s{number}" for number in range(6)])
PROCESSES = st.sampled_from(["p1", "p2", "p3"])
LOOKS = st.fixed_dictionaries(
    {
        "app_name": st.sampled_from(["sales", "stock", "x"]),
        "process": PROCESSES,
        "current_task": st.sampled_from([None, "load"]),
        "is_stale": st.booleans(),
    }
)
SECONDS = st.integers(0, 200)

STARTED = session("any")["start_time"]


class BoardLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.board = Board(STALE_AFTER)
        self.table: dict[str, dict[str, Any]] = {}  # what the deltas make of it
        self.rows: dict[str, dict[str, Any]] = {}  # what was told last of each live session
        self.heard: dict[str, datetime] = {}  # process -> newest word of it
        self.stale: dict[str, bool] = {}
        self.kills: dict[str, tuple[datetime, int]] = {}

    def _follow(self, delta: Delta) -> None:
        """Do to the table what a delta says, and nothing else."""
        if delta.everything:
            self.table = deepcopy(self.board.sessions)
        for sid in delta.removed:
            self.table.pop(sid, None)
        for sid in delta.changed:
            self.table[sid] = dict(self.board.sessions[sid])

    def _learn(self, row: dict[str, Any]) -> None:
        """The model's side of one session that was told."""
        self._forget(row["session_id"])
        process, at = row["process"], row["last_heartbeat"]
        if process not in self.heard or at >= self.heard[process]:
            self.heard[process], self.stale[process] = at, row["is_stale"]
        self.rows[row["session_id"]] = row

    def _forget(self, sid: str) -> None:
        row = self.rows.pop(sid, None)
        if row is not None and not self._of(row["process"]):
            del self.heard[row["process"]], self.stale[row["process"]]

    def _of(self, process: str) -> list[str]:
        return [sid for sid, row in self.rows.items() if row["process"] == process]

    def _row(self, sid: str, looks: dict[str, Any], age: int) -> dict[str, Any]:
        """A row as the broker tells it now, heard ``age`` seconds ago."""
        lived = int((self.now - STARTED).total_seconds())
        heard_at = self.now - timedelta(seconds=age)
        return session(sid, last_heartbeat=heard_at, duration_seconds=lived, **looks)

    # --- what happens ------------------------------------------------------------------------

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(sid=IDS, looks=LOOKS, age=SECONDS)
    def put(self, sid: str, looks: dict[str, Any], age: int) -> None:
        row = self._row(sid, looks, age)
        self._learn(row)
        self._follow(self.board.apply(told("session", row), self.now))

    @rule(sid=IDS)
    def end(self, sid: str) -> None:
        self._forget(sid)
        self._follow(self.board.apply(told("ended", ended(sid)), self.now))

    @rule(process=PROCESSES, age=SECONDS)
    def hear(self, process: str, age: int) -> None:
        at = self.now - timedelta(seconds=age)
        if process in self.heard:
            self.heard[process], self.stale[process] = at, False
        self._follow(self.board.apply(heard(process, at), self.now))

    @rule(known=st.dictionaries(IDS, st.tuples(LOOKS, SECONDS)))
    def snapshot(self, known: dict[str, tuple[dict[str, Any], int]]) -> None:
        for sid in list(self.rows):
            self._forget(sid)
        rows = [self._row(sid, looks, age) for sid, (looks, age) in known.items()]
        for row in rows:
            self._learn(row)
        self._follow(self.board.apply(told("snapshot", *rows), self.now))

    @rule()
    def tick(self) -> None:
        for process, at in self.heard.items():
            self.stale[process] = (self.now - at).total_seconds() > STALE_AFTER
        self._follow(self.board.tick(self.now))

    @rule(name=st.sampled_from(["c1", "c2", "c3"]), total=st.integers(1, 9), age=SECONDS)
    def kill(self, name: str, total: int, age: int) -> None:
        at = self.now - 20 * timedelta(seconds=age)
        self.kills[name] = at, total
        row = command(name, requested_at=at, total=total)
        self._follow(self.board.apply(told("command", row), self.now))

    # --- what always holds -------------------------------------------------------------------

    @invariant()
    def the_board_holds_what_was_told(self) -> None:
        expected = {sid: {**row, "is_stale": self.stale[row["process"]]} for sid, row in
                    self.rows.items()}  # fmt: skip
        shown = {sid: dict(row) for sid, row in self.board.sessions.items()}
        for row in (*expected.values(), *shown.values()):
            del row["last_heartbeat"]  # "heard" sets it for a whole process
        assert shown == expected

    @invariant()
    def figures_are_a_recount(self) -> None:
        rows = list(self.board.sessions.values())
        apps = Counter(row["app_name"] for row in rows)
        figures = self.board.figures(self.now)
        assert figures == Figures(
            live=len(rows),
            running=sum(row["current_task"] is not None for row in rows),
            stale=sum(row["is_stale"] for row in rows),
            kills_last_hour=sum(
                total for at, total in self.kills.values() if self.now - at <= HOUR
            ),
            busiest_app=figures.busiest_app,  # of several that are equal, any
            busiest_count=max(apps.values(), default=0),
        )
        assert apps.get(str(figures.busiest_app), 0) == figures.busiest_count
        assert self.board.by_app == apps
        assert (figures.busiest_app is None) == (not rows)

    @invariant()
    def deltas_keep_a_table_true(self) -> None:
        assert self.table == self.board.sessions


BoardLife.TestCase.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, print_blob=True
)
TestBoardLife = BoardLife.TestCase
