"""A copy of the broker's list, kept true by its feed: snapshot, numbered updates, no silent gap.

Sans I/O: what arrived and the time go in; which page to ask for and what changed come out. The
snapshot is taken page by page while updates go on. Updates newer than its first page are kept and
applied on top; since each states absolute truth, it does not matter that a later page may show
some of them already.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any, Final, NamedTuple

from sessionclient.rows import NONSENSE, BrokerTime, moment, present_command, present_session
from sessionclient.wire import Message

SILENT_AFTER: Final = 2.5  # seconds; beats come every second, and the promise is 3 s
LONGEST_PATIENCE: Final = 30.0  # seconds between snapshots while the feed stays silent
PAGE_TIMEOUT: Final = 5.0  # seconds until a page is asked for again
RETRY_SPREAD: Final = 0.2  # seconds over which many mirrors that lost the same message spread
NONSENSE_PAUSE: Final = 1.0  # seconds over which a page that makes no sense is asked for again
MAX_BUFFERED: Final = 50_000  # changes kept while a snapshot is under way; more start it anew
MAX_COMMANDS: Final = 1_000  # finished commands remembered


class Ask(NamedTuple):
    """Send this request; its result goes to `page` or `commands_page`, a refusal to `failed`."""

    kind: str  # "list" or "commands"
    after: int  # seq of the last row of the page before
    round: int  # which snapshot it belongs to; hand it back with the answer


class Change(NamedTuple):
    """Something changed. ``kind`` is one of:

    snapshot (rows: all sessions) and right after it commands (those unfinished and the newest
    finished ones, oldest first); session (one session), ended (one dict of session_id, reason,
    ended_at, error), command (one command), heard (one dict of process, heard, last_heartbeat),
    state (one dict of state: "live", "resyncing" or "down").
    """

    kind: str
    rows: list[dict[str, Any]]


class _Update(NamedTuple):
    """One numbered message kept during a snapshot."""

    epoch: str
    number: int
    changes: list[list[Any]]


class Mirror:
    """Rows by session id, equal to the broker's once ``state`` is "live"."""

    def __init__(self, rng: random.Random) -> None:
        """``rng`` spreads snapshots of many mirrors over a moment."""
        self.state = "down"
        self.rows: dict[str, dict[str, Any]] = {}  # raw, see docs/PROTOCOL.md
        self.commands: dict[str, dict[str, Any]] = {}  # raw, oldest first
        self.health: dict[str, Any] = {}
        self.resyncs = 0
        self.asks: list[Ask] = []
        self.changes: list[Change] = []
        self._rng = rng
        self._connected = False
        self._epoch: str | None = None
        self._number = 0  # of the newest message applied, or the base of the snapshot
        self._stale_after = 120.0
        self._clock = (0.0, 0.0, 0.0)  # observed, wall, and our monotonic time of that news
        self._heard_feed_at = 0.0
        self._patience = SILENT_AFTER
        self._buffer: deque[_Update] | None = None  # during a snapshot
        self._buffered = 0
        self._fresh: dict[str, dict[str, Any]] = {}
        self._round = 0
        self._waiting_since: float | None = None  # for a page
        self._resync_at: float | None = None
        self._by_process: dict[str, set[str]] = {}

    # --- what happened -----------------------------------------------------------------------

    def welcomed(self, epoch: str, stale_after: float, now: float) -> None:
        """The broker greeted us: on a first or a new connection, or in a new epoch."""
        self._connected = True
        self._stale_after = stale_after
        self._heard_feed_at = now
        if self.state != "live" or epoch != self._epoch:
            self._resync(now, 0.0)

    def disconnected(self, now: float) -> None:
        """The connection to the broker is gone; what we have is the last known."""
        self._connected = False
        self._waiting_since = self._resync_at = self._buffer = None
        self._round += 1
        self._set_state("down")

    def fed(self, message: Message, now: float) -> None:
        """One message of the feed."""
        self._heard_feed_at, self._patience = now, SILENT_AFTER
        if not self._connected:
            return
        epoch, number = message["epoch"], message["n"]
        self.health = message.get("health") or self.health
        if self._buffer is not None:
            self._keep(epoch, number, message["changes"], now)
        else:  # no snapshot is due either, since one that is due collects already
            self._apply_or_resync(epoch, number, message, now)

    def _keep(self, epoch: str, number: int, changes: list[list[Any]], now: float) -> None:
        if self._buffer is None or not changes:
            return
        self._buffered += len(changes)
        if self._buffered > MAX_BUFFERED or (self._epoch is not None and epoch != self._epoch):
            self._resync(now, RETRY_SPREAD)
        else:
            self._buffer.append(_Update(epoch, number, changes))

    def _apply_or_resync(self, epoch: str, number: int, message: Message, now: float) -> None:
        expected = self._number + (1 if message["changes"] else 0)
        if epoch == self._epoch and number < expected:
            return  # a repeat
        if epoch != self._epoch or number != expected:
            self._resync(now, RETRY_SPREAD)
            return
        self._clock = (message["t"], message["w"], now)
        self._number = number
        self._apply_all(message["changes"], now)

    def page(self, ask: Ask, result: dict[str, Any], now: float) -> None:
        """A page of the list."""
        if ask.round != self._round or self._buffer is None:
            return
        try:
            self._page(ask, result, now)
        except NONSENSE:
            self._resync(now, NONSENSE_PAUSE)

    def _page(self, ask: Ask, result: dict[str, Any], now: float) -> None:
        if ask.after == 0:
            self._epoch, self._number = result["epoch"], result["n"]
        elif result["epoch"] != self._epoch:
            self._resync(now, RETRY_SPREAD)
            return
        self._clock = (result["t"], result["w"], now)
        for row in result["rows"]:
            self._check(row, now)
            self._fresh[row["session_id"]] = row
        if result["next"] is not None:
            self._ask("list", result["next"], now)
        else:
            self._ask("commands", 0, now)

    def commands_page(self, ask: Ask, result: dict[str, Any], now: float) -> None:
        """The commands, which complete the snapshot."""
        buffer = self._buffer
        if ask.round != self._round or buffer is None:
            return
        try:
            self._complete(buffer, result, now)
        except NONSENSE:
            self._resync(now, NONSENSE_PAUSE)

    def _complete(self, buffer: deque[_Update], result: dict[str, Any], now: float) -> None:
        for row in result["commands"]:
            self._check_command(row)
        if result["epoch"] != self._epoch:
            self._resync(now, RETRY_SPREAD)
            return
        self._buffer, self._waiting_since = None, None
        self.rows, self._fresh = self._fresh, {}
        self._by_process = {}
        for sid, row in self.rows.items():
            self._by_process.setdefault(row["process"], set()).add(sid)
        newest_first = result["commands"]
        self.commands = {row["command_id"]: row for row in reversed(newest_first)}
        told = len(self.changes)
        complete = self._replay(buffer, now)
        del self.changes[told:]  # they are in the snapshot, or nobody has seen what they change
        if complete:
            self._set_state("live")
            self.changes.extend(self.snapshot(now))

    def _replay(self, buffer: deque[_Update], now: float) -> bool:
        """Apply what was kept on top of the snapshot; False when something is missing in it."""
        for epoch, number, changes in buffer:
            if epoch != self._epoch or number <= self._number:
                continue
            if number != self._number + 1:
                self._resync(now, RETRY_SPREAD)
                return False
            self._number = number
            if not self._apply_all(changes, now):
                return False
        return True

    def failed(self, ask: Ask, now: float) -> None:
        """A page could not be had."""
        if ask.round == self._round and self._buffer is not None:
            self._resync(now, 1.0)

    def tick(self, now: float) -> None:
        """Notice silence, repeat what is overdue."""
        if not self._connected:
            return
        if self._resync_at is not None:
            if now >= self._resync_at:
                self._begin_snapshot(now)
        elif self._waiting_since is not None:
            if now - self._waiting_since >= PAGE_TIMEOUT:
                self._resync(now, RETRY_SPREAD)
        elif now - self._heard_feed_at >= self._patience:
            # A fresh snapshot replaces what the feed did not tell; less often while it stays
            # silent, as when only its port is blocked.
            self._heard_feed_at = now
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
            self._resync(now, 0.0)

    def next_deadline(self) -> float:
        """When `tick` has something to do next (monotonic seconds)."""
        if not self._connected:
            return float("inf")
        if self._resync_at is not None:
            return self._resync_at
        if self._waiting_since is not None:
            return self._waiting_since + PAGE_TIMEOUT
        return self._heard_feed_at + self._patience

    # --- the snapshot ------------------------------------------------------------------------

    def resync(self, now: float) -> None:
        """Take a new snapshot, because somebody lost track of the changes."""
        if self._connected and self._buffer is None and self._resync_at is None:
            self._resync(now, 0.0)

    def _resync(self, now: float, spread: float) -> None:
        self.resyncs += 1
        self._round += 1
        # collecting from now on: what is published before the first page is left out later
        self._buffer, self._buffered, self._fresh = deque(), 0, {}
        self._epoch = None
        self._waiting_since = None
        self._resync_at = now + self._rng.uniform(0.0, spread)
        self._set_state("resyncing")
        if spread == 0.0:
            self._begin_snapshot(now)

    def _begin_snapshot(self, now: float) -> None:
        self._resync_at = None
        self._ask("list", 0, now)

    def _ask(self, kind: str, after: int, now: float) -> None:
        self._waiting_since = now
        self.asks.append(Ask(kind, after, self._round))

    def _set_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.changes.append(Change("state", [{"state": state}]))

    # --- changes -----------------------------------------------------------------------------

    def _apply_all(self, changes: list[list[Any]], now: float) -> bool:
        for change in changes:
            try:
                self._apply(change, now)
            except NONSENSE:
                # not what the protocol says a change is: the state can't be trusted any more
                self._resync(now, RETRY_SPREAD)
                return False
        return True

    def _apply(self, change: list[Any], now: float) -> None:
        kind = change[0]
        if kind == "+":
            self._upsert(change[1], now)
        elif kind == "s":
            row = self.rows.get(change[1])
            if row is not None:
                status, task, start = change[2:5]
                moment(start)  # raises for a time that is none
                row["status"], row["current_task"], row["task_start"] = status, task, start
                self._changed(row, now)
        elif kind == "-":
            self._remove(change)
        elif kind == "h":
            at = self.time(now)
            when = moment(at.wall - max(0.0, at.observed - change[2]))
            for sid in self._by_process.get(change[1], ()):
                self.rows[sid]["heard"] = change[2]
            heard = {"process": change[1], "heard": change[2], "last_heartbeat": when}
            self.changes.append(Change("heard", [heard]))
        elif kind == "k":
            self._command(change[1])
        # a kind that a newer broker may add says nothing about what we hold

    def _upsert(self, row: dict[str, Any], now: float) -> None:
        self._check(row, now)
        sid = row["session_id"]
        old = self.rows.get(sid)
        if old is not None and old["process"] != row["process"]:
            self._leave_process(old)
        self.rows[sid] = row
        self._by_process.setdefault(row["process"], set()).add(sid)
        self._changed(row, now)

    def _check(self, row: dict[str, Any], now: float) -> None:
        """Raises one of `NONSENSE` for what is no row of a session."""
        present_session(row, self.time(now))
        if type(row["seq"]) is not int or type(row["session_id"]) is not str:
            raise TypeError("a row has no id or no seq")

    def _check_command(self, row: dict[str, Any]) -> None:
        present_command(row)
        if type(row["command_id"]) is not str:
            raise TypeError("a command has no id")

    def _leave_process(self, row: dict[str, Any]) -> None:
        siblings = self._by_process.get(row["process"], set())
        siblings.discard(row["session_id"])
        if not siblings:
            self._by_process.pop(row["process"], None)

    def _changed(self, row: dict[str, Any], now: float) -> None:
        self.changes.append(Change("session", [present_session(row, self.time(now))]))

    def _remove(self, change: list[Any]) -> None:
        _, sid, reason, ended_at, error = change
        row = self.rows.pop(sid, None)
        if row is None:
            return
        self._leave_process(row)
        at = moment(ended_at)
        ended = {"session_id": sid, "reason": reason, "ended_at": at, "error": error}
        self.changes.append(Change("ended", [ended]))

    def _command(self, row: dict[str, Any]) -> None:
        self._check_command(row)
        self.changes.append(Change("command", [present_command(row)]))
        self.commands.pop(row["command_id"], None)
        self.commands[row["command_id"]] = row
        if len(self.commands) > MAX_COMMANDS:
            finished = (c for c, kept in self.commands.items() if kept["finished_at"] is not None)
            oldest = next(finished, None)
            if oldest is not None:
                del self.commands[oldest]

    # --- reading -----------------------------------------------------------------------------

    def time(self, now: float) -> BrokerTime:
        """The broker's clocks as they are by now."""
        observed, wall, at = self._clock
        return BrokerTime(observed + now - at, wall + now - at, self._stale_after)

    def sessions(self, now: float) -> list[dict[str, Any]]:
        """All sessions as session dicts, in the order they were registered."""
        at = self.time(now)
        rows = sorted(self.rows.values(), key=lambda row: int(row["seq"]))
        return [present_session(row, at) for row in rows]

    def snapshot(self, now: float) -> list[Change]:
        """All there is, as changes."""
        commands = [present_command(row) for row in self.commands.values()]
        return [Change("snapshot", self.sessions(now)), Change("commands", commands)]

    def take(self) -> tuple[list[Ask], list[Change]]:
        """What to ask and what changed since the last call."""
        asks, changes, self.asks, self.changes = self.asks, self.changes, [], []
        return asks, changes
