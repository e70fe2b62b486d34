"""One app under faults: ``python -m scripts.faults.app``. Holds sessions, runs tasks in them, and
writes down what happens to each, a JSON object a line, as it happens.

A line is one unbuffered write, so what was written survives ``kill -9`` of this process. On stdin
it is told: ``quiet`` (change nothing any more), ``go on``, ``report N`` (write down what of it the
broker has). At the end of stdin it is gone without a word, at SIGTERM it ends in order.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import click

from sessionclient import SessionClient
from sessionclient.tracker import Task

SLOW_ONE_IN: Final = 3  # of the callbacks of a kill, one takes its time
SLOW: Final = 2.0  # seconds it takes at most, so that a kill is pushed again meanwhile
STEP: Final = 0.05  # seconds from one thing this app's users do to the next
LOOK: Final = 0.02  # seconds between two looks whether the broker has all
LEAVE_ONE_IN: Final = 40  # of the steps, one is a user who leaves


class Record:
    """An append-only file of events."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __call__(self, event: str, **more: object) -> None:
        line = json.dumps({"event": event, "at": time.monotonic(), **more}) + "\n"
        os.write(self._file, line.encode())


class App:
    """About ``size`` sessions, whose users come, work and go."""

    def __init__(self, record: Record, open_session: partial[SessionClient], size: int) -> None:
        self._record, self._open, self._size = record, open_session, size
        self._rng = random.Random()
        self._lock = threading.Lock()
        self._live: dict[str, SessionClient] = {}
        self._working: dict[str, Task] = {}
        self._quiet = threading.Event()
        self._user: threading.Thread | None = None  # while there are users

    def start(self) -> None:
        self._fill()
        self._record("started")
        threading.Thread(target=self._watch, daemon=True).start()
        self.go_on()

    def go_on(self) -> None:
        if self._user is None:
            self._quiet.clear()
            self._user = threading.Thread(target=self._use, daemon=True)
            self._user.start()

    def quiet(self) -> None:
        """Nothing new begins; returns when nothing will change here but by the broker's word."""
        self._quiet.set()
        if self._user is not None:
            self._user.join()
            self._user = None
        for task in self._working.values():
            task.__exit__(None, None, None)
        self._working.clear()

    def report(self, number: int) -> None:
        with self._lock:
            live = dict(self._live)
        online = [sid for sid, tracker in live.items() if tracker.online]
        self._record("report", number=number, online=online)

    # --- the users ---------------------------------------------------------------------------

    def _use(self) -> None:
        while not self._quiet.wait(STEP):
            self._fill()
            with self._lock:
                tracker = self._rng.choice([*self._live.values(), None])
            if tracker is None:
                continue
            if self._rng.randrange(LEAVE_ONE_IN) == 0:
                tracker.stop()
            else:
                self._work_or_rest(tracker)
            for session_id in self._working.keys() - self._live.keys():
                del self._working[session_id]

    def _work_or_rest(self, tracker: SessionClient) -> None:
        task = self._working.pop(tracker.session_id, None)
        if task is not None:
            task.__exit__(None, None, None)
            return
        task = tracker.task(f"task {self._rng.randrange(1000)}")
        self._working[tracker.session_id] = task.__enter__()

    def _fill(self) -> None:
        while len(self._live) < self._size:
            tracker = self._open()
            with self._lock:
                self._live[tracker.session_id] = tracker
            self._record("opened", session=tracker.session_id)
            tracker.on_kill(partial(self._ended, tracker))

    def _ended(self, tracker: SessionClient) -> None:
        """The callback: what the run is about."""
        killed = tracker.killed.is_set()
        self._record("callback", session=tracker.session_id, killed=killed)
        with self._lock:
            self._live.pop(tracker.session_id, None)
        if killed and random.randrange(SLOW_ONE_IN) == 0:
            time.sleep(random.uniform(0.0, SLOW))  # stands for the work of cleaning up

    # --- the broker's side -------------------------------------------------------------------

    def _watch(self) -> None:
        """Write down when the broker has lost this app, and when it has all of it again."""
        missing: set[str] | None = None  # of what lived when it was lost; None while it is not
        while True:
            with self._lock:
                live = dict(self._live)
            online = {sid for sid, tracker in live.items() if tracker.online}
            if not online:
                if missing is None:
                    self._record("down")
                missing = set(live)
            elif missing is not None:
                missing &= live.keys() - online
                if not missing:
                    missing = None
                    self._record("up")
            time.sleep(LOOK)


def told(asked_to_end: socket.socket) -> Iterator[list[str] | None]:
    """What stdin says, a line's words at a time, until its end; None when asked to end.

    Python runs a handler when its main thread next runs Python. One that waits in a read may not,
    if the signal came just before or went to another thread; so this waits for a byte as well.
    """
    stdin, rest = sys.stdin.fileno(), b""
    while True:
        ready, _, _ = select.select([stdin, asked_to_end], [], [])
        if asked_to_end in ready:
            yield None
            return
        data = os.read(stdin, 4096)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode().split() for line in lines)


@click.command()
@click.option("--server", required=True)
@click.option("--app", required=True)
@click.option("--life", required=True, help="Whose sessions these are, among all lives of the app.")
@click.option("--sessions", required=True, type=int)
@click.option("--heartbeat", required=True, type=float, help="Seconds.")
@click.option("--record", required=True, type=click.Path(path_type=Path))
def main(server: str, app: str, life: str, sessions: int, heartbeat: float, record: Path) -> None:
    write = Record(record)
    asked_to_end, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    play = App(write, partial(SessionClient, app, life, server, heartbeat), sessions)
    play.start()
    for words in told(asked_to_end):
        match words:
            case None:
                play.quiet()
                write("exit")
                return
            case ["quiet"]:
                play.quiet()
            case ["go", "on"]:
                play.go_on()
            case ["report", number]:
                play.report(int(number))
    os._exit(0)


if __name__ == "__main__":
    main()
