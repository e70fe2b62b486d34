"""One app process of the soak: sessions that work, end and are followed by others.

Started by `scripts.soak` with its broker, how many sessions to hold, the shortest and the longest
life of one in seconds, and a seed. Ends when its stdin does.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, Literal, NamedTuple

from sessionclient import SessionClient

PAUSE: Final = 0.8  # of a session's mean life it idles between two tasks, on average
TASK: Final = 0.25  # of a session's mean life a task takes, on average
USERS: Final = 5_000  # different names
FAILS: Final = 0.05  # share of the tasks that fail


class Action(NamedTuple):
    """Something the session in this place does. "begin" means that one before it is gone."""

    what: Literal["begin", "end", "work", "rest"]
    place: int


class Churn:
    """So many places, each always with a session: one that ends is followed by another at once.

    Pure: the time goes in, actions come out, the same for the same ``rng`` and times.
    """

    def __init__(
        self, rng: random.Random, places: int, life: tuple[float, float], now: float
    ) -> None:
        """``life`` is the shortest and the longest life of a session, seconds."""
        self._rng, self._life = rng, life
        self._mean = sum(life) / 2
        self._turn = [0] * places  # counts the sessions of each place: entries of old ones are void
        self._order = itertools.count()  # so that the calendar never compares anything else
        self._calendar: list[tuple[float, int, int, Action]] = []
        for place in range(places):
            # as if they had begun at any time before, so that they don't end as one
            self._begin(place, now, rng.random())
        self._actions = [Action("begin", place) for place in range(places)]

    def next_at(self) -> float:
        """When something is to be done again (seconds)."""
        if self._actions or not self._calendar:
            return 0.0
        return self._calendar[0][0]

    def due(self, now: float) -> list[Action]:
        """What is to be done by now, in order."""
        while self._calendar and self._calendar[0][0] <= now:
            at, _, turn, action = heapq.heappop(self._calendar)
            if turn == self._turn[action.place]:
                self._go_on(at, action)
        actions, self._actions = self._actions, []
        return actions

    def killed(self, place: int, now: float) -> None:
        """The session there was ended from outside."""
        self._begin(place, now)
        self._actions.append(Action("begin", place))

    def _begin(self, place: int, now: float, left: float = 1.0) -> None:
        self._turn[place] += 1
        self._note(now + self._rng.uniform(*self._life) * left, Action("end", place))
        self._note(now + self._rng.expovariate(1 / (PAUSE * self._mean)), Action("work", place))

    def _go_on(self, at: float, action: Action) -> None:
        what, place = action
        self._actions.append(action)
        if what == "end":
            self._begin(place, at)
            self._actions.append(Action("begin", place))
        elif what == "work":
            self._note(at + self._rng.expovariate(1 / (TASK * self._mean)), Action("rest", place))
        else:
            self._note(at + self._rng.expovariate(1 / (PAUSE * self._mean)), Action("work", place))

    def _note(self, at: float, action: Action) -> None:
        entry = (at, next(self._order), self._turn[action.place], action)
        heapq.heappush(self._calendar, entry)


class App:
    """Carries out what the churn says, in one thread; kills come through a queue."""

    def __init__(self, bus: str, app: str, churn: Churn, rng: random.Random) -> None:
        self._bus, self._app, self._churn, self._rng = bus, app, churn, rng
        self._sessions: dict[int, SessionClient] = {}
        self._tasks: dict[int, int] = {}  # the number of each place's running task
        # of a place whose session has ended, with its id; None: stop
        self._inbox: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()

    def stop(self) -> None:
        """From any thread."""
        self._inbox.put(None)

    def run(self) -> None:
        """Until `stop`."""
        while True:
            for action in self._churn.due(time.monotonic()):
                self._do(action)
            try:
                ended = self._inbox.get(timeout=max(0.0, self._churn.next_at() - time.monotonic()))
            except queue.Empty:
                continue
            if ended is None:
                return
            self._ended(*ended)

    def _do(self, action: Action) -> None:
        place = action.place
        match action.what:
            case "begin":
                user = f"user{self._rng.randrange(USERS)}"
                session = SessionClient(self._app, user, self._bus)
                session.on_kill(partial(self._inbox.put, (place, session.session_id)))
                self._sessions[place] = session
            case "end":
                self._tasks.pop(place, None)
                self._sessions.pop(place).stop()
            case "work":
                self._tasks[place] = self._sessions[place].start_task("Refresh forecast")
            case "rest":
                failed = self._rng.random() < FAILS
                error = RuntimeError("the warehouse closed the connection") if failed else None
                self._sessions[place].end_task(self._tasks.pop(place), error)

    def _ended(self, place: int, session_id: str) -> None:
        """A callback has run: of a kill or, which is no news, of an end of our own."""
        session = self._sessions.get(place)
        if session is not None and session.session_id == session_id:
            del self._sessions[place]
            self._tasks.pop(place, None)
            self._churn.killed(place, time.monotonic())


def main(arguments: Sequence[str]) -> None:
    bus, name, sessions, shortest, longest, seed = arguments
    # Ctrl-C is our parent's business, who then closes our stdin; so does its death
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rng = random.Random(seed)
    life = (float(shortest), float(longest))
    app = App(bus, name, Churn(rng, int(sessions), life, time.monotonic()), rng)

    def watch_parent() -> None:
        sys.stdin.read()
        app.stop()

    threading.Thread(target=watch_parent, name="watch-parent", daemon=True).start()
    app.run()


if __name__ == "__main__":
    main(sys.argv[1:])
