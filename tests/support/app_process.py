"""An app without Panel, run as a process of its own: ``python -m tests.support.app_process``.

Prints one JSON object a line for everything that happens, so that tests can wait for it.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from functools import partial

import click

from sessionclient import SessionClient

_printing = threading.Lock()


def tell(event: str, **more: object) -> None:
    with _printing:
        print(json.dumps({"event": event, "at": time.monotonic(), **more}), flush=True)


@click.command()
@click.option("--server", required=True)
@click.option("--app", default="sales")
@click.option("--sessions", default=1)
@click.option("--heartbeat", default=1.0)
@click.option("--hang", is_flag=True, help="Callbacks never return.")
@click.option("--linger", is_flag=True, help="Callbacks last until after the process is to end.")
def main(server: str, app: str, sessions: int, heartbeat: float, hang: bool, linger: bool) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def killed(tracker: SessionClient) -> None:
        tell("callback", session=tracker.session_id, reason=tracker.kill_reason)
        if hang:
            threading.Event().wait()
        if linger:
            stop.wait()
            time.sleep(0.5)  # longer than the goodbye to the broker takes

    trackers = [SessionClient(app, f"user{i}", server, heartbeat) for i in range(sessions)]
    for tracker in trackers:
        tracker.on_kill(partial(killed, tracker))
        tracker.on_kill(partial(tell, "last callback", session=tracker.session_id))
    tell("started", sessions=[tracker.session_id for tracker in trackers])
    stop.wait()
    tell("stopping")


if __name__ == "__main__":
    main()
