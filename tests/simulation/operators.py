"""Operators: real requests and mirrors; they kill, look, and keep sessions that live on REST."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sessionclient import calls
from sessionclient.errors import KeyReused, NotFound, PanelbusError, Refused
from sessionclient.link import Link
from sessionclient.mirror import Ask, Change, Mirror
from sessionclient.requests import Requests
from sessionclient.wire import FEED, decode
from tests.simulation.clients import HEARTBEAT, ClientNode
from tests.simulation.network import Network
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.watch import Watch

TIMEOUT: Final = 6.0  # seconds a request may take
TOUCH: Final = 3.0  # seconds between heartbeats of a REST session
MAX_TRIES: Final = 12  # of one kill, until its operator gives up
PAGE: Final = 3  # rows in a page, so that changes happen between pages

Resolve = Callable[[Any, PanelbusError | None], None]


class OperatorNode(ClientNode):
    """Kills until it is answered, follows the feed, and is the owner of REST sessions."""

    def __init__(self, world: World, network: Network, name: str, watch: Watch) -> None:
        super().__init__(world, network, name)
        self.watch = watch
        self.feed = network.feed_channel(name)
        self.requests = Requests("simulated", self._welcomed, self._lost)
        self.link = Link(self.identity("operator"), self.requests, HEARTBEAT, self.dice)
        self.requests.attach(self.link)
        self.mirror = Mirror(self.dice)
        self.seen: dict[str, dict[str, Any]] = {}  # what a reader of its changes has
        self.keeps: dict[str, bool] = {}  # REST session -> whether it is to go
        self.trying_again = 0  # kills that will soon be asked for again
        self._keys = itertools.count(1)

    # --- its loop --------------------------------------------------------------------------

    def deadline(self) -> float:
        deadlines = (
            self.link.next_deadline(),
            self.requests.next_deadline(),
            self.mirror.next_deadline(),
        )
        return min(deadlines)

    def tick(self) -> None:
        now = self.now
        self.requests.tick(now)
        self.mirror.tick(now)
        self.link.tick(now)
        asks, changes = self.mirror.take()
        for ask in asks:
            self._ask_page(ask)
        if changes:
            self._follow(changes)
        self.watch.mirrored(self)

    def _welcomed(self, welcome: dict[str, Any], now: float) -> None:
        self.mirror.welcomed(welcome["epoch"], welcome["stale_after"], now)

    def _lost(self, now: float) -> None:
        self.mirror.disconnected(now)

    def fed(self, payload: bytes) -> None:
        message = decode(payload, FEED)

        def act() -> None:
            self.mirror.fed(message, self.now)
            self.watch.heard_the_feed(self, message)

        self.do(act)

    def _ask_page(self, ask: Ask) -> None:
        def resolve(result: Any, error: PanelbusError | None) -> None:
            if error is not None:
                self.mirror.failed(ask, self.now)
            elif ask.kind == "list":
                self.watch.listed(result["rows"])
                self.mirror.page(ask, result, self.now)
            else:
                self.mirror.commands_page(ask, result, self.now)

        fields = {"after": ask.after or None, "limit": PAGE} if ask.kind == "list" else {}
        self.requests.ask(ask.kind, fields, self.now + TIMEOUT, resolve)

    def _follow(self, changes: list[Change]) -> None:
        """What somebody who watches makes of the changes."""
        for change in changes:
            if change.kind == "snapshot":
                self.watch.listed(change.rows)
                self.seen = {row["session_id"]: row for row in change.rows}
            elif change.kind == "session":
                self.seen[change.rows[0]["session_id"]] = change.rows[0]
            elif change.kind == "ended":
                self.watch.saw_end(self, change.rows[0]["session_id"])
                del self.seen[change.rows[0]["session_id"]]
            elif change.kind == "state":
                self.world.counts[f"mirror {change.rows[0]['state']}"] += 1

    # --- asking ----------------------------------------------------------------------------

    def ask(self, kind: str, fields: dict[str, Any], resolve: Resolve) -> None:
        self.do(lambda: self._ask(kind, fields, resolve))

    def _ask(self, kind: str, fields: dict[str, Any], resolve: Resolve) -> None:
        wait = float(fields.get("wait") or 0.0)
        self.requests.ask(kind, fields, self.now + TIMEOUT + wait, resolve)

    def kill(self, kind: str, target: str, how: str = "key") -> None:
        key = None if how == "no key" else f"{self.name}-k{next(self._keys)}"
        fields: dict[str, Any] = {"s" if kind == "kill" else "app": target}
        fields = {**fields, "key": key, "reason": "why", "wait": 3.0 if how == "wait" else None}
        if kind == "kill_all":
            del fields["wait"]
        after = partial(self._reuse, fields) if how == "reuse" else None
        for _ in range(2 if how == "twice" else 1):
            self._try_kill(kind, fields, 1, after)

    def _try_kill(
        self, kind: str, fields: dict[str, Any], tries: int, after: Callable[[], None] | None
    ) -> None:
        def again() -> None:
            self.trying_again -= 1
            self._try_kill(kind, fields, tries + 1, after)

        def resolve(result: Any, error: PanelbusError | None) -> None:
            if error is None:
                self.watch.accept(fields, result)
                if after is not None:
                    after()
            elif isinstance(error, NotFound):
                self.world.counts["kill of nobody"] += 1
            elif tries < MAX_TRIES:
                self.world.counts["kill tried again"] += 1
                self.watch.not_accepted(fields, error)
                self.trying_again += 1
                self.world.after(1.0, again)

        self.ask(kind, fields, resolve)

    def _reuse(self, fields: dict[str, Any]) -> None:
        """Another request under a key that is taken must be refused."""

        def resolve(result: Any, error: PanelbusError | None) -> None:
            self.watch.reused(fields["key"], result, error)
            self.world.counts["key reused"] += isinstance(error, KeyReused)

        self._ask("kill", {**fields, "reason": "another"}, resolve)

    def cleanup(self, older: float) -> None:
        self.ask("cleanup", {"older": older}, lambda _result, _error: None)

    def read(self, kind: str, fields: dict[str, Any]) -> None:
        def resolve(result: Any, error: PanelbusError | None) -> None:
            self.world.counts[f"read {kind}"] += error is None

        self.ask(kind, fields, resolve)

    def list_all(self, resolve: Callable[[list[dict[str, Any]] | None], None]) -> None:
        """What ``GET /sessions`` shows, page by page; None when it can't be had."""
        rows: list[dict[str, Any]] = []

        def ask(cursor: str | None) -> None:
            call = calls.list_sessions(None, None, None, None, PAGE, cursor)

            def page(result: Any, error: PanelbusError | None) -> None:
                if error is not None:
                    resolve(None)
                    return
                found = call.convert(result, 9.0)
                rows.extend(found.sessions)
                if found.next_cursor is None:
                    resolve(rows)
                else:
                    self._ask_later(partial(ask, found.next_cursor))

            self._ask(call.kind, call.fields, page)

        self.do(lambda: ask(None))

    def _ask_later(self, ask: Callable[[], None]) -> None:
        self.world.after(0.0, lambda: self.do(ask))

    # --- REST sessions ---------------------------------------------------------------------

    def create(self, app: str) -> None:
        def resolve(result: Any, error: PanelbusError | None) -> None:
            if error is None:
                sid = result["session_id"]
                self.world.tell(f"{sid} is created over REST", sid, self.name)
                self.world.counts["REST session"] += 1
                self.keeps[sid] = False
                self._touch_later(sid)

        self.ask("create", {"app": app}, resolve)

    def delete(self, sid: str) -> None:
        if sid in self.keeps:
            self.keeps[sid] = True

    def set_status(self, sid: str) -> None:
        fields = {"s": sid, "status": "busy", "task": "t"}
        self.ask("set_status", fields, lambda _result, _error: None)

    def _touch_later(self, sid: str) -> None:
        self.world.after(TOUCH, partial(self._touch, sid))

    def _touch(self, sid: str) -> None:
        going = self.keeps[sid]

        def resolve(result: Any, error: PanelbusError | None) -> None:
            if isinstance(error, NotFound) or (going and error is None):
                self.world.tell(f"{sid} is gone ({error or 'deleted'})", sid)
                if going and error is None:
                    self.watch.deleted(sid)
                del self.keeps[sid]
                return
            if error is None and result["kill_requested"]:
                self.world.counts["REST session killed"] += 1
                self.keeps[sid] = True
            elif error is not None and isinstance(error, Refused):
                self.world.counts["REST refused"] += 1
            self._touch_later(sid)

        self.ask("delete" if going else "touch", {"s": sid}, resolve)
