"""What the registry wants done: messages to send now, changes to publish on the feed soon."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

from broker.registry.model import Command, Now, Route, Session
from broker.registry.sizes import weigh
from broker.store import AuditRow, Store, StoreError, TaskRow
from sessionclient.wire import MAX_TEXT_CHARS

CHANGES_PER_MESSAGE: Final = 500  # about 150 KB of usual rows
FEED_BUDGET: Final = 400_000  # bytes of a message, as weighed: subscribers' queues are of messages
# The heaviest change of a status, whose texts are two names, stands for each: to weigh them would
# take a quarter of all that is done for a change.
STATUS_WEIGHT: Final = weigh("x" * 2 * MAX_TEXT_CHARS)


# One message for one connection. A plain tuple: one with names takes four times as long to make.
Send = tuple[Route, dict[str, Any]]


class ReadTasks(NamedTuple):
    """Read a session's finished tasks from the store, for `Registry.read_done`."""

    route: Route
    request: int
    session_id: str
    limit: int

    def fetch(self, store: Store) -> list[TaskRow]:
        return store.tasks(self.session_id, self.limit)


class ReadAudit(NamedTuple):
    """Read the newest audit rows below a number, for `Registry.read_done`."""

    route: Route
    request: int
    before: int | None
    limit: int

    def fetch(self, store: Store) -> list[AuditRow]:
        return store.audit(self.before, self.limit)


Read = ReadTasks | ReadAudit
Found = list[TaskRow] | list[AuditRow] | StoreError  # what became of one


class BackUp(NamedTuple):
    """Copy the database to this file on the broker's host, for `Registry.backed_up`."""

    route: Route
    request: int
    file: str
    actor: str


class Feed:
    """Numbers the published messages of one epoch, without a gap, and gathers their changes.

    A changed session or command waits as the object itself and is turned into its row when it is
    published, so one that changes often between two publications costs one row.
    """

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.number = 0  # of the newest message published
        self.changes: deque[list[Any] | Session | Command] = deque()  # that wait
        self._waiting: set[Session | Command] = set()  # those that stand in changes
        self._heard: dict[str, float] = {}  # process -> when on the observed clock

    def row(self, session: Session) -> None:
        """Publish the whole row of a session that is live now."""
        if session not in self._waiting:
            self._waiting.add(session)
            self.changes.append(session)

    def command(self, command: Command) -> None:
        """Publish how far a command is."""
        if command not in self._waiting:
            self._waiting.add(command)
            self.changes.append(command)

    def change(self, change: list[Any]) -> None:
        self.changes.append(change)

    def heard(self, instance: str, observed: float) -> None:
        """Publish with the next beat that a process was heard: nobody is in a hurry to know, and
        each publication of its own wakes the loop and all subscribers."""
        self._heard[instance] = observed

    def tell_heard(self) -> None:
        self.changes.extend(["h", *heard] for heard in self._heard.items())
        self._heard.clear()

    def ended(self, session: Session, change: list[Any]) -> None:
        """Publish an end; a row of it still waiting is left out, so it can't come after."""
        self._waiting.discard(session)
        self.changes.append(change)

    def take(self, now: Now, observed: float) -> dict[str, Any] | None:
        """The next numbered message, or None when nothing has changed."""
        waiting = self.changes
        changes: list[list[Any]] = []
        budget = FEED_BUDGET
        while waiting and len(changes) < CHANGES_PER_MESSAGE:
            change = waiting[0]
            if type(change) is list:  # quicker than isinstance, and most are
                budget -= STATUS_WEIGHT if change[0] == "s" else weigh(*change)
            elif change in self._waiting:
                budget -= change.weight()
            else:
                waiting.popleft()  # it has ended since
                continue
            if budget < 0 and changes:
                break
            waiting.popleft()
            if not isinstance(change, list):
                self._waiting.discard(change)
                change = ["+" if isinstance(change, Session) else "k", change.wire()]
            changes.append(change)
        if not changes:
            return None
        self.number += 1
        return self.beat(now, observed, changes)

    def beat(
        self, now: Now, observed: float, changes: list[list[Any]] | None = None
    ) -> dict[str, Any]:
        """A message that repeats the newest number and says that the feed is alive."""
        return {
            "k": "feed",
            "epoch": self.epoch,
            "n": self.number,
            "t": observed,
            "w": now.wall,
            "changes": changes or [],
        }
