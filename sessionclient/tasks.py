"""Which task a session is running: nested and concurrent tasks, counted right. Pure."""

from __future__ import annotations

RUNNING = "running"
IDLE = "idle"


class TaskStack:
    """The open tasks of one session, in the order they started.

    The session shows the newest of those still open: when a nested task ends, its enclosing one
    shows again, and only the end of the last makes the session idle.
    """

    __slots__ = ("open", "started")

    def __init__(self) -> None:
        self.started = 0  # tasks ever started; the newest one's number
        self.open: dict[int, tuple[str, float]] = {}  # number -> (name, since)

    def start(self, name: str, now: float) -> int:
        """A task begins; returns its number, counting from 1."""
        self.started += 1
        self.open[self.started] = (name, now)
        return self.started

    def end(self, number: int) -> tuple[str, float] | None:
        """A task ends; its (name, start), or None if it is not open."""
        return self.open.pop(number, None)

    def current(self) -> tuple[str, str | None, float | None]:
        """(status, task, since) to show."""
        if not self.open:
            return IDLE, None, None
        name, since = self.open[next(reversed(self.open))]
        return RUNNING, name, since
