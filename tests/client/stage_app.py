"""An app's replica on a link, and what it was told to do."""

from __future__ import annotations

from sessionclient.replica import Replica, SessionState, TaskDone
from tests.client.stage import go_online, hear, new_link


def state(
    session_id: str,
    status: str = "idle",
    running: str | None = None,
    since: float | None = None,
) -> SessionState:
    return SessionState(session_id, "sales", None, 90.0, status, running, since)


def task(session_id: str, number: int) -> TaskDone:
    return TaskDone(session_id, number, f"task {number}", 80.0, 2.5, "ok")


class AppStage:
    """A process with a link that is down."""

    def __init__(self) -> None:
        self.kills: list[tuple[str, str, str | None]] = []
        self.refusals: list[tuple[str, str]] = []
        self.replica = Replica(
            lambda *kill: self.kills.append(kill), lambda *refusal: self.refusals.append(refusal)
        )
        self.link = new_link(self.replica)
        self.replica.attach(self.link)

    @classmethod
    def online(cls, *session_ids: str) -> AppStage:
        """A process whose sessions are confirmed, its hello having been number 1."""
        stage = cls()
        for session_id in session_ids:
            stage.replica.add(state(session_id), 90.0)
        go_online(stage.link, 100.0)
        hear(stage.link, 100.0, "ack", n=1)
        return stage

    def kill(self, now: float, command_id: str, *session_ids: str) -> None:
        """The broker sends a kill."""
        hear(
            self.link,
            now,
            "command",
            c=command_id,
            command="kill",
            s=list(session_ids),
            reason="too long",
        )
