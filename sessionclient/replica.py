"""An app's sessions as state to be replicated: whatever is lost, the next hello states it all.

No queue of messages grows while the broker is away: each live session is one state, each ended
one a short record until the broker has it, and finished tasks wait in a bounded deque.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgpack

from sessionclient.link import Link
from sessionclient.wire import MAX_BATCH_ITEMS, MAX_LONG_TEXT_CHARS, Message

log = logging.getLogger("sessionclient")

MAX_SESSIONS_PER_PROCESS: Final = 10_000
MAX_DONE_WAITING: Final = 1_000  # finished tasks kept while the broker is away; the oldest go first
MAX_ENDED_WAITING: Final = 10_000  # ended sessions the broker has not confirmed
HELLO_BYTES: Final = 512 * 1024  # of state in one hello or part of one
NEVER: Final = 1 << 63  # a number no acknowledgement reaches, being over wire.MAX_NUMBER
TASKS_PER_MESSAGE: Final = 50  # finished ones beside a status or an end; 50 of the longest fit


class SessionState(NamedTuple):
    """The whole present state of a session; times are monotonic seconds of this process."""

    session_id: str
    app_name: str
    user_id: str | None
    started: float
    status: str
    task: str | None = None
    task_started: float | None = None

    def fields(self, now: float) -> dict[str, Any]:
        """As on the wire: ages instead of times, so that no clocks need agree."""
        fields: dict[str, Any] = {
            "s": self.session_id,
            "app": self.app_name,
            "age": max(0.0, now - self.started),
            "status": self.status,
        }
        if self.user_id is not None:
            fields["user"] = self.user_id
        if self.task is not None:
            fields["task"] = self.task
        if self.task_started is not None:
            fields["task_age"] = max(0.0, now - self.task_started)
        return fields


class TaskDone(NamedTuple):
    """A finished task; ``number`` counts from 1 within its session."""

    session_id: str
    number: int
    name: str
    started: float  # monotonic seconds
    took: float  # seconds
    outcome: str  # "ok" or "error"
    error: str | None = None

    def fields(self, now: float) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "s": self.session_id,
            "no": self.number,
            "name": self.name,
            "age": max(0.0, now - self.started),
            "took": max(0.0, self.took),
            "outcome": self.outcome,
        }
        if self.error is not None:
            fields["error"] = self.error[:MAX_LONG_TEXT_CHARS]
        return fields


class _Ended:
    """An ended session, and the number of the message that told so."""

    __slots__ = ("error", "number", "reason")

    def __init__(self, reason: str, error: str | None) -> None:
        self.reason, self.error = reason, error
        self.number = NEVER

    def fields(self, session_id: str) -> dict[str, Any]:
        fields = {"s": session_id, "reason": self.reason}
        if self.error is not None:
            fields["error"] = self.error[:MAX_LONG_TEXT_CHARS]
        return fields


class _Done:
    """A finished task, and the number of the message that told so."""

    __slots__ = ("number", "task")

    def __init__(self, task: TaskDone) -> None:
        self.task = task
        self.number = NEVER


class Replica:
    """What this process holds, and what of it the broker has. A `Payload` of `Link`."""

    def __init__(
        self,
        on_kill: Callable[[str, str, str | None], None],
        on_refused: Callable[[str, str], None],
    ) -> None:
        """
        Args:
            on_kill: (session id, command id, reason), once for each session.
            on_refused: (session id, why), when the broker will never take a session.
        """
        self.sessions: dict[str, SessionState] = {}
        self.ended: dict[str, _Ended] = {}
        self.done: deque[_Done] = deque()
        self.dropped_tasks = 0
        self.confirmed: set[str] = set()  # sessions the broker has durably
        self.settled = False  # whether the broker has our bye, and with it all we had to say
        self._leaving = False
        self._farewell = NEVER  # the number of our bye
        self._unconfirmed: dict[str, int] = {}  # session -> number of the message stating it
        self._killed: set[str] = set()
        self._failures: dict[str, str] = {}
        self._on_kill = on_kill
        self._on_refused = on_refused
        self._link: Link | None = None

    def attach(self, link: Link) -> None:
        """Name the link that carries this; once, right after both exist."""
        self._link = link

    @property
    def link(self) -> Link:
        if self._link is None:
            raise RuntimeError("the replica has no link yet")
        return self._link

    # --- the app's side --------------------------------------------------------------------

    def add(self, state: SessionState, now: float) -> bool:
        """A new session; False when there is no room for it."""
        if len(self.sessions) >= MAX_SESSIONS_PER_PROCESS:
            return False
        self.sessions[state.session_id] = state
        if self.link.greeted:
            number = self.link.send(now, "register", **state.fields(now))
            self._unconfirmed[state.session_id] = number
        return True

    def update(self, state: SessionState, done: Iterable[TaskDone], now: float) -> None:
        """The present state of a session, and the tasks that finished since the last."""
        finished = self._keep_done(done)
        if state.session_id in self.sessions:
            self.sessions[state.session_id] = state
        elif not finished:  # a task that ends after its session is told all the same
            return
        if self.link.greeted:
            for start in range(0, max(1, len(finished)), TASKS_PER_MESSAGE):
                self._tell_status(state, finished[start : start + TASKS_PER_MESSAGE], now)

    def _tell_status(self, state: SessionState, finished: list[_Done], now: float) -> None:
        fields = state.fields(now)
        number = self.link.send(
            now,
            "status",
            s=state.session_id,
            status=state.status,
            task=fields.get("task"),
            task_age=fields.get("task_age"),
            done=[entry.task.fields(now) for entry in finished] or None,
        )
        for entry in finished:
            entry.number = number

    def end(
        self, session_id: str, reason: str, error: str | None, done: Iterable[TaskDone], now: float
    ) -> None:
        """A session is gone."""
        state = self.sessions.get(session_id)
        if state is None:
            return
        finished = self._keep_done(done)
        self._forget(session_id)
        record = self.ended[session_id] = _Ended(reason, error)
        while len(self.ended) > MAX_ENDED_WAITING:
            del self.ended[next(iter(self.ended))]
        if self.link.greeted:
            while len(finished) > TASKS_PER_MESSAGE:
                self._tell_status(state, finished[:TASKS_PER_MESSAGE], now)
                finished = finished[TASKS_PER_MESSAGE:]
            self._tell_end(session_id, record, finished, now)

    def _forget(self, session_id: str) -> None:
        """A session is not held any more."""
        del self.sessions[session_id]
        self.confirmed.discard(session_id)
        self._unconfirmed.pop(session_id, None)
        self._killed.discard(session_id)
        self._failures.pop(session_id, None)

    def _tell_end(self, session_id: str, record: _Ended, finished: list[_Done], now: float) -> None:
        tasks = [entry.task.fields(now) for entry in finished] or None
        record.number = self.link.send(now, "end", **record.fields(session_id), done=tasks)
        for entry in finished:
            entry.number = record.number

    def failed(self, session_id: str, error: str, now: float) -> None:
        """A kill can't be carried out; the session lives on."""
        if session_id in self.sessions:
            self._failures[session_id] = error[:MAX_LONG_TEXT_CHARS]
            self._tell_failure(session_id, now)

    def _tell_failure(self, session_id: str, now: float) -> None:
        if self.link.greeted:
            self.link.send(now, "failed", s=session_id, error=self._failures[session_id])

    def bye(self, now: float) -> None:
        """The process exits; said again after each hello that may still be needed."""
        self._leaving = True
        if self.link.greeted:
            self._farewell = self.link.send(now, "bye")

    def _keep_done(self, done: Iterable[TaskDone]) -> list[_Done]:
        finished = [_Done(task) for task in done]
        self.done.extend(finished)
        while len(self.done) > MAX_DONE_WAITING:
            self.done.popleft()
            self.dropped_tasks += 1
        return finished

    # --- the broker's side -----------------------------------------------------------------

    def greetings(self, now: float) -> list[dict[str, Any]]:
        """Everything there is to know, in parts that each fit a message."""
        items = [
            # ends first: they make room for the sessions
            *(("ended", record.fields(sid)) for sid, record in self.ended.items()),
            *(("sessions", state.fields(now)) for state in self.sessions.values()),
            *(("done", entry.task.fields(now)) for entry in self.done),
        ]
        parts = [_empty_part()]
        size = 0
        for kind, fields in items:
            weight = len(msgpack.packb(fields))
            count = sum(len(parts[-1][name]) for name in ("sessions", "ended", "done"))
            if count >= MAX_BATCH_ITEMS or size + weight > HELLO_BYTES:
                parts[-1]["last"] = False
                parts.append(_empty_part())
                size = 0
            parts[-1][kind].append(fields)
            size += weight
        self._number_everything(self.link.number + len(parts))
        self._farewell = NEVER
        return parts

    def _number_everything(self, last: int) -> None:
        """All of it is stated by the messages up to this number."""
        for record in self.ended.values():
            record.number = last
        for entry in self.done:
            entry.number = last
        self._unconfirmed = dict.fromkeys(self.sessions, last)
        self.confirmed.clear()

    def welcomed(self, _welcome: Message, now: float) -> None:
        for session_id in self._failures:  # no hello states these, and one may have been lost
            self._tell_failure(session_id, now)
        if self._leaving:
            self.bye(now)

    def disconnected(self, _now: float) -> None:
        self.confirmed.clear()

    def acknowledged(self, number: int) -> None:
        for sid in [sid for sid, told in self._unconfirmed.items() if told <= number]:
            del self._unconfirmed[sid]
            self.confirmed.add(sid)
        for sid in [sid for sid, record in self.ended.items() if record.number <= number]:
            del self.ended[sid]
        while self.done and self.done[0].number <= number:
            self.done.popleft()
        self.settled = self._farewell <= number

    def received(self, message: Message, now: float) -> None:
        if message["k"] == "command" and message["command"] == "kill":
            self.link.send(now, "delivered", c=message["c"])
            for session_id in message["s"]:
                self._kill(session_id, message["c"], message.get("reason"), now)
        elif message["k"] == "refused" and message["s"] in self.sessions:
            self._forget(message["s"])
            self._on_refused(message["s"], message["reason"])

    def _kill(self, session_id: str, command_id: str, reason: str | None, now: float) -> None:
        if session_id in self._failures:
            self._tell_failure(session_id, now)
        elif session_id in self._killed:
            pass  # under way; its end will be told
        elif session_id in self.sessions:
            self._killed.add(session_id)
            self._on_kill(session_id, command_id, reason)
        elif session_id in self.ended:
            self._tell_end(session_id, self.ended[session_id], [], now)
        else:
            self.link.send(now, "end", s=session_id, reason="gone")


def _empty_part() -> dict[str, Any]:
    return {"sessions": [], "ended": [], "done": [], "last": True}
