"""An operator's connection: requests and the live mirror over one link and one I/O thread."""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from sessionclient.address import check_url, reachable_feed
from sessionclient.calls import Call
from sessionclient.errors import Misuse, PanelbusError, PeerFault
from sessionclient.hub import new_identity
from sessionclient.io_thread import IoThread
from sessionclient.keys import key_from_environment, read_key
from sessionclient.link import Effect, Link, Subscribe, Unsubscribe
from sessionclient.mirror import Ask, Change, Mirror
from sessionclient.requests import Requests
from sessionclient.rows import NONSENSE
from sessionclient.watching import Watch
from sessionclient.wire import Message

HEARTBEAT: Final = 30.0  # seconds
DEFAULT_STALE_AFTER: Final = 120.0  # seconds, until the broker tells its own
CLOSE_TIMEOUT: Final = 0.5  # seconds the goodbye may take
PAGE_DEADLINE: Final = 10.0  # seconds for one page of a snapshot; the mirror asks again earlier


class OperatorConnection:
    """Asks the broker and mirrors its list. Thread-safe; not usable in a forked child."""

    def __init__(
        self,
        server_url: str | None,
        timeout: float,
        role: str,
        key_file: str | Path | None,
    ) -> None:
        """Does not wait for the broker.

        Raises:
            Misuse: the address, the timeout (seconds) or the key file is wrong.
        """
        self.address = check_url(server_url)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
            raise Misuse(f"timeout must be seconds above 0, not {timeout!r}")
        if role not in ("viewer", "operator"):
            raise Misuse(f"role must be 'viewer' or 'operator', not {role!r}")
        key = key_from_environment() if key_file is None else read_key(key_file)
        self.timeout = float(timeout)
        self.stale_after = DEFAULT_STALE_AFTER
        self._requests = Requests(self.address, self._welcomed, self._lost)
        self._rng = random.Random()
        self._link = Link(new_identity(role), self._requests, HEARTBEAT, self._rng)
        self._requests.attach(self._link)
        self._welcome: Message | None = None
        self._mirror: Mirror | None = None
        self._watches: list[Watch] = []
        # bounded by the callers: each waits for its own request
        self._inbox: deque[Callable[[float], None]] = deque()
        self._closed = False
        self._io = IoThread(self.address, self, name="panelbus-operator", key=key)
        self._io.start()

    # --- from any thread ---------------------------------------------------------------------

    @property
    def trouble(self) -> str | None:
        """Why the broker refuses us; None while it does not."""
        return self._link.trouble

    def ask(self, call: Call, by: dict[str, str] | None = None) -> Future[Any]:
        """Send a request, maybe on somebody's behalf; the future brings its converted result or a
        PanelbusError.

        Cancelling the future forgets the request.
        """
        self._must_be_open()
        future: Future[Any] = Future()
        deadline = time.monotonic() + self.timeout + call.wait

        def resolve(result: Any, error: PanelbusError | None) -> None:
            if not future.set_running_or_notify_cancel():
                return
            if error is not None:
                future.set_exception(error)
                return
            try:
                future.set_result(call.convert(result, self.stale_after))
            except NONSENSE as fault:
                text = f"the broker's answer to {call.kind!r} makes no sense: {fault!r}"
                future.set_exception(PeerFault(text))

        def put(_now: float) -> None:
            fields = {**call.fields, "by": by}
            number = self._requests.ask(call.kind, fields, deadline, resolve)
            if number is not None:
                future.add_done_callback(lambda done: self._forget(done, number))

        self._put(put)
        return future

    def _forget(self, future: Future[Any], number: int) -> None:
        if future.cancelled():
            self._put(lambda _now: self._requests.cancel(number))

    def watch(self) -> Watch:
        """Follow the list: a snapshot first, then every change."""
        self._must_be_open()
        watch = Watch(self._resync, self._unwatch)
        self._put(lambda now: self._add_watch(watch, now))
        return watch

    def close(self) -> None:
        """Say goodbye and end; waiting requests fail, watches end. Idempotent."""
        if not self._closed:
            self._closed = True
            self._io.close(CLOSE_TIMEOUT)

    def _must_be_open(self) -> None:
        if self._io.pid != os.getpid():
            raise Misuse("this operator was made before a fork; make a new one in the child")
        if self._closed:
            raise Misuse("this operator is closed; make a new one")

    def _put(self, action: Callable[[float], None]) -> None:
        self._inbox.append(action)
        self._io.wake()

    def _resync(self) -> None:
        self._put(lambda now: None if self._mirror is None else self._mirror.resync(now))

    def _unwatch(self, watch: Watch) -> None:
        self._put(lambda _now: self._remove_watch(watch))

    # --- in the I/O thread -------------------------------------------------------------------

    def _welcomed(self, welcome: Message, now: float) -> None:
        self._welcome = welcome
        self.stale_after = welcome["stale_after"]
        if self._mirror is not None:
            self._listen(now)

    def _lost(self, now: float) -> None:
        self._welcome = None
        if self._mirror is not None:
            self._mirror.disconnected(now)

    def _listen(self, now: float) -> None:
        """Subscribe first, so that nothing is missed between the snapshot and the feed."""
        if self._mirror is None or self._welcome is None:
            return
        feed = reachable_feed(self._welcome["feed"], self.address)
        # a socket that was refused once would stay silent for ever, so each greeting gets a new one
        self._link.effects += [Unsubscribe(), Subscribe(feed)]
        self._mirror.welcomed(self._welcome["epoch"], self.stale_after, now)

    def _add_watch(self, watch: Watch, now: float) -> None:
        self._watches.append(watch)
        mirror = self._mirror
        if mirror is None:
            mirror = self._mirror = Mirror(self._rng)
            self._listen(now)
            if self._welcome is None:
                watch.push(Change("state", [{"state": mirror.state}]))
            return  # else its own changes tell
        watch.push(Change("state", [{"state": mirror.state}]))
        if mirror.state == "live":
            for change in mirror.snapshot(now):
                watch.push(change)

    def _remove_watch(self, watch: Watch) -> None:
        if watch in self._watches:
            self._watches.remove(watch)
        if not self._watches and self._mirror is not None:
            self._mirror = None
            self._link.effects.append(Unsubscribe())

    def _serve_mirror(self, now: float) -> None:
        mirror = self._mirror
        if mirror is None:
            return
        asks, changes = mirror.take()
        for ask in asks:
            self._ask_for_mirror(mirror, ask, now)
        for change in changes:
            for watch in self._watches:
                watch.push(change)

    def _ask_for_mirror(self, mirror: Mirror, ask: Ask, now: float) -> None:
        def resolve(result: Any, error: PanelbusError | None) -> None:
            at = time.monotonic()
            if error is not None:
                mirror.failed(ask, at)
            elif ask.kind == "list":
                mirror.page(ask, result, at)
            else:
                mirror.commands_page(ask, result, at)

        fields = {"after": ask.after or None} if ask.kind == "list" else {}
        self._requests.ask(ask.kind, fields, now + PAGE_DEADLINE, resolve)

    # --- the machine -------------------------------------------------------------------------

    def connected(self, now: float) -> None:
        self._link.connected(now)

    def disconnected(self, now: float) -> None:
        self._link.disconnected(now)

    def rejected(self, why: str, dead: bool, now: float) -> None:
        self._link.rejected(why, dead, now)

    def received(self, message: Message, now: float) -> None:
        self._link.received(message, now)

    def fed(self, message: Message, now: float) -> None:
        if self._mirror is not None:
            self._mirror.fed(message, now)

    def wake(self, now: float) -> bool:
        while self._inbox:
            self._inbox.popleft()(now)
        return False

    def tick(self, now: float) -> None:
        self._link.tick(now)
        self._requests.tick(now)
        if self._mirror is not None:
            self._mirror.tick(now)
        self._serve_mirror(now)

    def next_deadline(self) -> float:
        times = [self._link.next_deadline(), self._requests.next_deadline()]
        if self._mirror is not None:
            times.append(self._mirror.next_deadline())
        return min(times)

    def take_effects(self) -> list[Effect]:
        return self._link.take_effects()

    def closing(self, now: float) -> None:
        if self._link.state == "online":
            self._link.send(now, "bye")

    def settled(self) -> bool:
        return True

    def closed(self) -> None:
        self.wake(time.monotonic())  # what was put in last is answered like the rest
        self._requests.give_up("the operator was closed")
        for watch in self._watches:
            watch.finish()
