"""Operators at work: they kill sessions at a steady pace, over the bus and over REST, and note what
was accepted. A kill that got no answer is asked for again, under its key."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import urllib.parse
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from scripts.faults.check import Accepted
from sessionclient import LinkDown, NotFound, Operator, PanelbusError, Unavailable

PATIENCE: Final = 90.0  # seconds a kill is asked for again and again
PAUSE: Final = 0.2  # seconds before it is asked for again
REQUEST_TIMEOUT: Final = 12.0  # seconds for one answer; the gateway itself waits 10
APP_ONE_IN: Final = 60  # of the kills, one is of a whole app
REPEAT_ONE_IN: Final = 5  # of the accepted, one is asked for once more, later
REMEMBERED: Final = 50  # accepted ones to choose from for that
LATER: Final = frozenset({429, 502, 503, 504})  # what REST says when it can't right now


@dataclass(frozen=True, slots=True)
class Request:
    kind: str  # "kill" or "kill_all"
    target: str  # a session's id or an app's name
    reason: str
    key: str


class Answer(NamedTuple):
    """``command_id`` when it was accepted; ``wrong`` when the answer may not be given."""

    outcome: str  # "accepted", "gone", "later" or "wrong"
    command_id: str = ""
    wrong: str = ""


Send = Callable[[Request], Answer]


class Notes:
    """What all killers have noted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._news = threading.Event()  # of another accepted kill
        self.accepted: list[Accepted] = []
        self.wrong: list[str] = []
        self.unanswered = 0

    def note(self, request: Request, via: str, answer: Answer) -> None:
        with self._lock:
            if answer.outcome == "accepted":
                target = request.target if request.kind == "kill" else None
                kill = Accepted(answer.command_id, request.key, target, via, time.monotonic())
                self.accepted.append(kill)
                self._news.set()
            elif answer.outcome == "wrong":
                self.wrong.append(f"{request.kind} over {via}: {answer.wrong}")
            elif answer.outcome == "later":
                self.unanswered += 1

    def await_accepted(self, timeout: float) -> None:
        """Wait for the next accepted kill, at most so many seconds."""
        self._news.clear()
        self._news.wait(timeout)


class Killer:
    """One operator, in a thread of its own until `stop`."""

    def __init__(
        self,
        via: str,
        send: Send,
        choose: Callable[[], tuple[str, str] | None],
        notes: Notes,
        pace: float,
    ) -> None:
        """``choose`` gives a live session's id and app; ``pace`` is seconds between two kills."""
        self._via, self._send, self._choose, self._notes = via, send, choose, notes
        self._pace = pace
        self._rng = random.Random()
        self._done: deque[tuple[Request, str]] = deque(maxlen=REMEMBERED)
        self._stop = threading.Event()
        self._turn = threading.Lock()  # held while a kill is under way
        self._paused = False
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Begin no other kill until `go_on`; the one under way is seen through."""
        self._paused = True

    @property
    def idle(self) -> bool:
        """After `pause`: whether none is under way any more."""
        idle = self._turn.acquire(blocking=False)
        if idle:
            self._turn.release()
        return idle

    def go_on(self) -> None:
        self._paused = False

    def abandon(self) -> None:
        """Stop at once, whatever is under way."""
        self._stop.set()
        self._abandoned = True

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.wait(self._pace):
            with self._turn:
                if not self._paused:
                    self._act()

    def _act(self) -> None:
        if self._done and self._rng.randrange(REPEAT_ONE_IN) == 0:
            self._repeat(*self._rng.choice(self._done))
        elif (chosen := self._choose()) is not None:
            self._kill(*chosen)

    def _kill(self, session_id: str, app: str) -> None:
        whole = self._rng.randrange(APP_ONE_IN) == 0
        key = uuid.uuid4().hex
        kind, target = ("kill_all", app) if whole else ("kill", session_id)
        request = Request(kind, target, f"chaos {key[:8]}", key)
        answer = self._insist(request)
        self._notes.note(request, self._via, answer)
        if answer.outcome == "accepted":
            self._done.append((request, answer.command_id))

    def _repeat(self, request: Request, command_id: str) -> None:
        """The same again must be the same kill, whatever has happened meanwhile."""
        answer = self._insist(request)
        if answer.outcome == "gone":
            answer = Answer("wrong", wrong=f"the accepted kill {command_id} is not known any more")
        self._notes.note(request, self._via, answer)

    def _insist(self, request: Request) -> Answer:
        deadline = time.monotonic() + PATIENCE
        while (answer := self._send(request)).outcome == "later":
            if self._abandoned or time.monotonic() > deadline:
                break
            time.sleep(PAUSE)  # of somebody who tries again; there is no event to wait for
        return answer


def over_bus(operator: Operator) -> Send:
    def send(request: Request) -> Answer:
        try:
            if request.kind == "kill":
                answer = operator.request_kill(request.target, request.reason, key=request.key)
            else:
                answer = operator.kill_app(request.target, request.reason, key=request.key)
        except NotFound:
            return Answer("gone")
        except (LinkDown, Unavailable):
            return Answer("later")
        except PanelbusError as error:
            return Answer("wrong", wrong=repr(error))
        return _accepted(answer.get("command_id"))

    return send


def over_rest(port: int) -> Send:
    def send(request: Request) -> Answer:
        where, what = ("sessions", "kill") if request.kind == "kill" else ("apps", "kill-all")
        path = f"/{where}/{urllib.parse.quote(request.target)}/{what}"
        headers = {"Content-Type": "application/json", "Idempotency-Key": request.key}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT)
        try:
            connection.request("POST", path, json.dumps({"reason": request.reason}), headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return Answer("later")
        finally:
            connection.close()
        if response.status == 202:
            return _accepted(json.loads(body).get("command_id"))
        if response.status == 404:
            return Answer("gone")
        if response.status in LATER:
            return Answer("later")
        return Answer("wrong", wrong=f"status {response.status}: {body[:300]!r}")

    return send


def _accepted(command_id: str | None) -> Answer:
    # a kill-all that found nobody is no command
    return Answer("accepted", command_id) if command_id else Answer("gone")
