"""One process of the crowd: plays its users' sessions until its parent closes our stdin."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from demos.crowd_plan import Action, Arrive, Begin, Crowd, Finish, Leave
from sessionclient import SessionClient

REPORT_EVERY: Final = 1.0  # seconds between two lines for the parent


class TaskFailed(RuntimeError):
    """What a pretended task raises."""


class Member:
    """Carries out what the crowd's plan says; all in one thread, kills come through a queue."""

    def __init__(self, server: str, crowd: Crowd) -> None:
        self._server, self._crowd = server, crowd
        self._trackers: dict[int, SessionClient] = {}
        self._tasks: dict[int, int] = {}  # the number of each user's running task
        self._inbox: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._counts: Counter[str] = Counter()

    def stop(self) -> None:
        """From any thread."""
        self._inbox.put(None)

    def play(self) -> None:
        """Until `stop`."""
        report_at = time.monotonic()
        while True:
            now = time.monotonic()
            for action in self._crowd.due(now):
                self._do(action)
            if now >= report_at:
                self._report()
                report_at = now + REPORT_EVERY
            wait = max(0.0, min(report_at, self._crowd.next_at()) - time.monotonic())
            try:
                who = self._inbox.get(timeout=wait)
            except queue.Empty:
                continue
            if who is None:
                return
            self._ended(who)

    def _do(self, action: Action) -> None:
        match action:
            case Arrive(who, app, user):
                tracker = SessionClient(app, user, self._server)
                self._trackers[who] = tracker
                tracker.on_kill(partial(self._inbox.put, who))
                self._counts["arrived"] += 1
            case Begin(who, task):
                if who in self._trackers:
                    self._tasks[who] = self._trackers[who].start_task(task)
            case Finish(who, error):
                self._finish(who, error)
            case Leave(who):
                self._trackers.pop(who).stop()

    def _finish(self, who: int, error: str | None) -> None:
        number = self._tasks.pop(who)
        self._trackers[who].end_task(number, None if error is None else TaskFailed(error))
        self._counts["tasks"] += 1
        self._counts["failed"] += error is not None

    def _ended(self, who: int) -> None:
        """A session has ended: killed, or, which is no news, left."""
        if self._crowd.killed(who, time.monotonic()):
            self._trackers.pop(who)
            self._tasks.pop(who, None)
            self._counts["killed"] += 1

    def _report(self) -> None:
        online = sum(tracker.online for tracker in self._trackers.values())
        state = {"sessions": len(self._trackers), "online": online, "running": len(self._tasks)}
        print(json.dumps({**state, **self._counts}), flush=True)


def main(arguments: Sequence[str]) -> None:
    """``SERVER SIZE SEED APP...``, all from our parent."""
    server, size, seed, *apps = arguments
    # Ctrl-C is our parent's business, who then closes our stdin; so does its death
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    crowd = Crowd(random.Random(seed), int(size), apps, time.monotonic())
    member = Member(server, crowd)

    def watch_parent() -> None:
        sys.stdin.read()
        member.stop()

    signal.signal(signal.SIGTERM, lambda *_: member.stop())
    threading.Thread(target=watch_parent, name="watch-parent", daemon=True).start()
    try:
        member.play()
    except BrokenPipeError:  # nobody reads our reports: the parent has died
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the last flush would complain
    # the client's exit handler ends the sessions and tells the broker


if __name__ == "__main__":
    main(sys.argv[1:])
