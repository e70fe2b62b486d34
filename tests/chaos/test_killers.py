"""Operators that insist, and what they note."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from scripts.faults.follow import Follower, plain
from scripts.faults.killers import Answer, Killer, Notes, Request, Send, over_bus, over_rest
from sessionclient import LinkDown, Misuse, NotFound, Operator, Unavailable
from sessionclient.mirror import Change
from tests.support.processes import eventually

KILL = Request("kill", "s1", "enough", "key1")
KILL_ALL = Request("kill_all", "a/b", "enough", "key2")


class Broker:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.asked: list[Request] = []
        self._answers = list(answers)

    def send(self, request: Request) -> Answer:
        self.asked.append(request)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@contextmanager
def killing(broker: Broker) -> Iterator[Notes]:
    """An operator at work; it has stopped when the block is left."""
    notes = Notes()
    killer = Killer("bus", broker.send, lambda: ("s1", "sales"), notes, 0.001)
    try:
        yield notes
    finally:
        killer.abandon()
        eventually(lambda: killer.done, "the operator has stopped")


def test_what_gets_no_answer_is_asked_for_again_under_its_key() -> None:
    broker = Broker(Answer("later"), Answer("later"), Answer("accepted", "c1"))
    with killing(broker) as notes:
        eventually(lambda: notes.accepted, "it is accepted")
    assert broker.asked[0] == broker.asked[1] == broker.asked[2]
    first = notes.accepted[0]
    assert (first.command_id, first.key, first.via) == ("c1", broker.asked[0].key, "bus")
    assert first.session in ("s1", None)


def test_every_kill_has_a_key_of_its_own_and_some_are_asked_for_again() -> None:
    broker = Broker(Answer("accepted", "c1"))
    with killing(broker) as notes:
        eventually(lambda: len(notes.accepted) > 100, "many are accepted")
    keys = {kill.key for kill in notes.accepted}
    assert 1 < len(keys) < len(notes.accepted)


def test_an_accepted_kill_that_is_not_known_any_more_is_wrong() -> None:
    broker = Broker(Answer("accepted", "c1"), Answer("gone"))
    with killing(broker) as notes:
        eventually(lambda: notes.wrong, "it is asked for once more")
    assert notes.wrong[0].endswith("the accepted kill c1 is not known any more")


def test_what_was_never_answered_is_counted() -> None:
    broker = Broker(Answer("later"))
    with killing(broker) as notes:
        eventually(lambda: broker.asked, "it asks")
    assert (notes.accepted, notes.unanswered) == ([], 1)


def test_who_pauses_begins_no_other_kill() -> None:
    broker = Broker(Answer("accepted", "c1"))
    killer = Killer("bus", broker.send, lambda: ("s1", "sales"), Notes(), 0.001)
    eventually(lambda: broker.asked, "it asks")
    killer.pause()
    eventually(lambda: killer.idle, "it pauses")
    asked = len(broker.asked)
    assert not threading.Event().wait(0.1)  # a hundred times its pace
    assert len(broker.asked) == asked
    killer.go_on()
    eventually(lambda: len(broker.asked) > asked, "it goes on")
    killer.abandon()
    eventually(lambda: killer.done, "it has stopped")


def test_one_may_wait_for_the_next_accepted_kill() -> None:
    notes = Notes()
    waiting = threading.Thread(target=notes.await_accepted, args=(60.0,))
    waiting.start()
    while waiting.is_alive():  # noted until it was heard: the wait begins at some moment of its own
        notes.note(KILL, "bus", Answer("accepted", "c1"))
        waiting.join(0.01)


class Stub:
    """What `over_bus` and `Follower` use of an operator."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def request_kill(self, *_: object, **__: object) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    kill_app = request_kill

    def watch(self) -> Any:
        return iter(self._answer)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"command_id": "c1", "stage": "requested"}, Answer("accepted", "c1")),
        ({"command_id": None, "killed_count": 0}, Answer("gone")),
        (NotFound("s1"), Answer("gone")),
        (LinkDown("away"), Answer("later")),
        (Unavailable("full"), Answer("later")),
    ],
)
def test_what_the_bus_says(answer: Any, outcome: Answer) -> None:
    send = over_bus(cast(Operator, Stub(answer)))
    assert send(KILL) == outcome
    assert send(KILL_ALL) == outcome
    assert over_bus(cast(Operator, Stub(Misuse("no"))))(KILL).outcome == "wrong"


@contextmanager
def rest(status: int, body: dict[str, Any]) -> Iterator[tuple[Send, list[tuple[str, Any, str]]]]:
    """A way to a server that gives this answer, and what it was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, sent, self.headers["Idempotency-Key"]))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield over_rest(server.server_port), asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (202, {"command_id": "c1"}, Answer("accepted", "c1")),
        (202, {"command_id": None, "killed_count": 0}, Answer("gone")),
        (404, {}, Answer("gone")),
        (503, {}, Answer("later")),
        (429, {}, Answer("later")),
        (500, {}, Answer("wrong", wrong="status 500: b'{}'")),
        (422, {}, Answer("wrong", wrong="status 422: b'{}'")),
    ],
)
def test_what_rest_says(status: int, body: dict[str, Any], outcome: Answer) -> None:
    with rest(status, body) as (send, asked):
        assert [send(KILL), send(KILL_ALL)] == [outcome, outcome]
        assert asked == [
            ("/sessions/s1/kill", {"reason": "enough"}, "key1"),
            ("/apps/a/b/kill-all", {"reason": "enough"}, "key2"),
        ]
    assert send(KILL) == Answer("later")  # nobody is there any more


def session(name: str, status: str = "idle") -> dict[str, Any]:
    return {
        "session_id": name,
        "app_name": "sales",
        "user_id": "1",
        "status": status,
        "current_task": None,
        "process": "p",
        "kill_requested": False,
    }


def test_a_follower_has_what_the_watch_tells() -> None:
    changes = [
        Change("state", [{"state": "resyncing"}]),
        Change("session", [session("old")]),
        Change("snapshot", [session("s1"), session("s2")]),
        Change("commands", []),
        Change("state", [{"state": "live"}]),
        Change("session", [session("s2", "running")]),
        Change("heard", [{"process": "p"}]),
        Change("session", [session("s3")]),
        Change("ended", [{"session_id": "s1", "reason": "closed"}]),
    ]
    follower = Follower(cast(Operator, Stub(changes)))
    expected = [plain(session("s2", "running")), plain(session("s3"))]
    eventually(lambda: follower.rows() == expected, "all is applied")
    assert follower.state == "live"
