"""A real app whose sessions are killed one by one, and how long each kill takes.

From the operator's call to the start of the app's callback: what a user would wait for. Both sides
are the released client; the clock is one for all processes of a machine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from scripts.measures import stage
from scripts.measures.spread import PAUSE
from sessionclient import Operator, SessionClient

APP: Final = "targets"  # name of the app


def be_the_app(bus: str) -> None:
    """Serve orders for new sessions, answered with their ids; of each that is killed a line tells
    when its callback started."""

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        made = [SessionClient(APP, server_url=bus) for _ in range(order["sessions"])]
        for tracker in made:
            tracker.on_kill(partial(_killed, tracker.session_id))
        return {"sessions": [tracker.session_id for tracker in made]}

    stage.serve(answer)


def _killed(session_id: str) -> None:
    at = time.monotonic()
    print(json.dumps({"at": at, "session": session_id}), flush=True)


class Targets:
    """The app's process and the operator that kills its sessions."""

    def __init__(self, app: stage.Running, operator: Operator) -> None:
        self.app, self.operator = app, operator

    def make(self, count: int) -> list[str]:
        """As many new sessions; their ids, once the broker has them."""
        sessions: list[str] = self.app.ask(sessions=count)["sessions"]
        self._wait_for(count)
        return sessions

    def kill(self, sessions: list[str]) -> list[float]:
        """Kill one after the other; how long each took, in seconds."""
        taken = [self._kill(session_id) for session_id in sessions]
        self._wait_for(0)
        return taken

    def _kill(self, session_id: str) -> float:
        time.sleep(PAUSE)
        called = time.monotonic()
        self.operator.request_kill(session_id, "measured")
        found = self.app.hear()
        if found["session"] != session_id:
            raise RuntimeError(f"killed {session_id}, but {found['session']} was")
        return float(found["at"]) - called

    def _wait_for(self, count: int) -> None:
        list_sessions = self.operator.list_sessions
        stage.wait_for(
            lambda: list_sessions(APP, limit=1).total == count, f"{count} sessions of the app"
        )


@contextmanager
def targets(bus: str) -> Iterator[Targets]:
    with (
        stage.process(__name__, bus, name="the app") as app,
        Operator(bus, timeout=stage.TIMEOUT) as operator,
    ):
        yield Targets(app, operator)


if __name__ == "__main__":
    be_the_app(sys.argv[1])
