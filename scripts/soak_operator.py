"""The operator of the soak: watches the feed all the time and kills a session now and then.

Every other kill goes over the bus, with a connection of its own as a script would make; the others
go over REST, after a look at the list as a dashboard would take. Started by `scripts.soak` with the
bus, the gateway's HOST:PORT, kills a minute and a seed. Ends when its stdin does.
"""

from __future__ import annotations

import http.client
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from sessionclient import NotFound, Operator
from sessionclient.mirror import Change

TIMEOUT: Final = 30.0  # seconds for an answer
REASON: Final = "soak"
WATCHING: Final = "watching"  # said with each snapshot
HERE: Final = ("snapshot", "session")  # kinds of change that tell of live sessions


class LiveIds:
    """The ids of all live sessions, as the feed tells; any one of them at once."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._where: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def apply(self, change: Change) -> None:
        if change.kind == "snapshot":
            self._ids, self._where = [], {}
        for row in change.rows:
            if change.kind in HERE:
                self._add(row["session_id"])
            elif change.kind == "ended":
                self._remove(row["session_id"])

    def any(self, rng: random.Random) -> str | None:
        return rng.choice(self._ids) if self._ids else None

    def _add(self, session_id: str) -> None:
        if session_id not in self._where:
            self._where[session_id] = len(self._ids)
            self._ids.append(session_id)

    def _remove(self, session_id: str) -> None:
        place = self._where.pop(session_id, None)
        if place is None:
            return
        last = self._ids.pop()
        if last != session_id:
            self._ids[place] = last
            self._where[last] = place


class Rest:
    """The gateway over one connection that is kept, or made anew when it was idle for too long."""

    def __init__(self, host: str) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=TIMEOUT)

    def kill_any(self, rng: random.Random) -> None:
        """Raises RuntimeError when the gateway answers neither yes nor that it is gone."""
        status, page = self._ask("GET", "/sessions?limit=100", None)
        if status != 200:
            raise RuntimeError(f"GET /sessions was answered with {status}: {page}")
        if not page["sessions"]:
            return
        session_id = rng.choice(page["sessions"])["session_id"]
        status, answer = self._ask("POST", f"/sessions/{session_id}/kill", {"reason": REASON})
        if status not in (202, 404):
            raise RuntimeError(f"a kill was answered with {status}: {answer}")

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        text = None if body is None else json.dumps(body)
        try:
            return self._ask_once(method, path, text)
        except ConnectionError:  # the gateway had closed it; a kill may be repeated
            self._connection.close()
            return self._ask_once(method, path, text)

    def _ask_once(self, method: str, path: str, text: str | None) -> tuple[int, Any]:
        self._connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


def kill_over_bus(bus: str, session_id: str) -> None:
    with Operator(bus, timeout=TIMEOUT) as operator:
        try:
            operator.request_kill(session_id, REASON)
        except NotFound:
            return  # it has ended meanwhile


def run(bus: str, host: str, kills: float, rng: random.Random, stop: threading.Event) -> None:
    """Until ``stop``; ``kills`` a minute."""
    pause = 60.0 / kills if kills else float("inf")
    live, rest = LiveIds(), Rest(host)
    next_kill, over_bus = time.monotonic() + pause, True
    with Operator(bus, timeout=TIMEOUT) as operator, operator.watch() as watch:
        while not stop.is_set():
            change = watch.get(timeout=max(0.0, min(next_kill - time.monotonic(), 0.5)))
            if change is not None:
                if change.kind == "snapshot":
                    print(WATCHING, flush=True)
                live.apply(change)
            if time.monotonic() < next_kill:
                continue
            next_kill = max(next_kill + pause, time.monotonic())
            chosen = live.any(rng)
            if not over_bus:
                rest.kill_any(rng)
            elif chosen is not None:
                kill_over_bus(bus, chosen)
            over_bus = not over_bus
    rest.close()


def main(arguments: Sequence[str]) -> None:
    bus, host, kills, seed = arguments
    # Ctrl-C is our parent's business, who then closes our stdin; so does its death
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()

    def watch_parent() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=watch_parent, name="watch-parent", daemon=True).start()
    run(bus, host, float(kills), random.Random(seed), stop)


if __name__ == "__main__":
    main(sys.argv[1:])
