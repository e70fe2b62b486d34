"""An app that forks with a tracker alive: ``python -m tests.support.forking_app BUS``.

Parent and child print JSON lines; the child opens a session of its own and must leave its
parent's alone.
"""

from __future__ import annotations

import os
import sys
import threading

from sessionclient import SessionClient
from tests.support.app_process import tell


def main(bus: str) -> None:
    tracker = SessionClient.get_tracker("forking", "parent", bus, heartbeat_interval=0.5)
    tracker.on_kill(lambda: tell("parent killed"))
    while not tracker.online:
        threading.Event().wait(0.01)
    tell("parent", session=tracker.session_id)
    pid = os.fork()
    if pid == 0:
        in_the_child(tracker, bus)
    _, status = os.waitpid(pid, 0)
    tell("child over", status=os.waitstatus_to_exitcode(status), alive=tracker.online)
    tracker.killed.wait(30)


def in_the_child(inherited: SessionClient, bus: str) -> None:
    """Everything an inherited tracker can be asked for does nothing; a new one works."""
    with inherited.task("not mine"):
        inherited.on_kill(lambda: tell("wrong callback"))
        inherited.stop()
    own = SessionClient.get_tracker("forking", "child", bus, heartbeat_interval=0.5)
    tell("child", session=own.session_id, online=inherited.online)
    own.on_kill(lambda: tell("child killed"))
    own.killed.wait(30)
    sys.exit(0)  # with the exit handlers, which must not end the parent's session


if __name__ == "__main__":
    main(sys.argv[1])
