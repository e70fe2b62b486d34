"""Requests that wait for answers: sent, sent again, answered once, given up in time."""

from __future__ import annotations

from typing import Any

import pytest

from sessionclient.errors import (
    LinkDown,
    NotFound,
    PanelbusError,
    Refused,
    RequestTimeout,
)
from sessionclient.link import Send
from sessionclient.requests import MAX_PENDING, Requests
from sessionclient.wire import Message
from tests.client.stage import INTRODUCTION, go_online, hear, new_link, said, welcome

ADDRESS = "tcp://broker:5760"
CANNOT_REACH = (
    "cannot reach the broker at tcp://broker:5760; is it running there? (start one with:"
    " panelbus broker)"
)
LOST = "the connection to tcp://broker:5760 was lost; whether it was done is unknown"


class Desk:
    """Requests on a link, and every answer in the order it came."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.requests = Requests(ADDRESS, self._welcomed, self._lost)
        self.link = new_link(self.requests)
        self.requests.attach(self.link)

    @classmethod
    def online(cls) -> Desk:
        desk = cls()
        go_online(desk.link, 100.0)
        desk.take()
        return desk

    def _welcomed(self, welcome: Message, now: float) -> None:
        self.events.append(("welcomed", welcome["epoch"], now))

    def _lost(self, now: float) -> None:
        self.events.append(("lost", now))

    def ask(self, name: str, kind: str, deadline: float = 200.0, **fields: Any) -> int | None:
        def resolve(result: Any, error: PanelbusError | None) -> None:
            self.events.append((name, result, type(error), str(error)))

        return self.requests.ask(kind, fields, deadline, resolve)

    def take(self) -> list[tuple[Any, ...]]:
        events, self.events = self.events, []
        return events

    def reconnect(self) -> None:
        """The connection breaks at 105 s and its successor is welcome at 112 s."""
        self.link.disconnected(105.0)
        self.link.connected(110.0)
        self.link.tick(111.0)
        hear(self.link, 112.0, "welcome", **welcome(self.link.number))


NO_ERROR = (type(None), "None")


def test_requests_need_their_link() -> None:
    requests = Requests(ADDRESS, lambda *_: None, lambda _: None)
    with pytest.raises(RuntimeError, match=r"^the requests have no link yet$"):
        requests.ask("stats", {}, 1.0, lambda *_: None)


def test_an_operator_has_no_sessions_to_state() -> None:
    desk = Desk()
    desk.link.connected(100.0)
    state = {"sessions": [], "ended": [], "last": True}
    assert said(desk.link) == [{"k": "hello", "n": 1, **INTRODUCTION, **state}]


def test_a_request_is_sent_at_once_when_online_without_what_is_none() -> None:
    desk = Desk.online()
    assert desk.ask("a", "kill", s="s1", reason=None, wait=0.0) == 1
    assert desk.ask("b", "stats") == 2
    assert said(desk.link) == [
        {"k": "kill", "r": 1, "s": "s1", "wait": 0.0},
        {"k": "stats", "r": 2},
    ]


def test_a_reply_answers_its_request_once() -> None:
    desk = Desk.online()
    desk.ask("a", "stats")
    desk.ask("b", "commands")
    hear(desk.link, 101.0, "reply", r=2, result=[1])
    hear(desk.link, 102.0, "reply", r=1, result={"live": 3})
    hear(desk.link, 103.0, "reply", r=1, result="again")
    hear(desk.link, 104.0, "reply", r=99, result="nobody asked")
    assert desk.take() == [("b", [1], *NO_ERROR), ("a", {"live": 3}, *NO_ERROR)]


def test_a_reply_without_a_result_is_none() -> None:
    desk = Desk.online()
    desk.ask("a", "delete", s="s1")
    hear(desk.link, 101.0, "reply", r=1)
    assert desk.take() == [("a", None, *NO_ERROR)]


def test_an_error_answers_with_the_class_of_its_code() -> None:
    desk = Desk.online()
    desk.ask("a", "get", s="s1")
    desk.ask("b", "kill_all", app="x")
    hear(desk.link, 101.0, "error", r=1, code="not_found", message="there is no session 's1'")
    hear(desk.link, 101.0, "error", r=2, code="too_many", message="full")
    assert desk.take() == [
        ("a", None, NotFound, "there is no session 's1'"),
        ("b", None, Refused, "full"),
    ]


def test_other_messages_and_acknowledgements_answer_nothing() -> None:
    desk = Desk.online()
    desk.ask("a", "stats")
    hear(desk.link, 101.0, "command", c="c1", command="kill", s=["s1"])
    hear(desk.link, 101.0, "refused", s="s1", reason="what?")
    hear(desk.link, 101.0, "ack", n=1)
    assert desk.take() == []
    assert desk.requests.next_deadline() == 200.0


def test_requests_wait_for_the_welcome() -> None:
    desk = Desk()
    desk.ask("a", "stats")
    desk.link.connected(100.0)
    desk.ask("b", "create", app="web")
    assert [message["k"] for message in said(desk.link)] == ["hello"]
    hear(desk.link, 100.5, "welcome", **welcome(1))
    assert said(desk.link) == [{"k": "stats", "r": 1}, {"k": "create", "r": 2, "app": "web"}]
    assert desk.take() == [("welcomed", "e1", 100.5)]


def test_requests_are_sent_again_after_a_reconnect() -> None:
    desk = Desk.online()
    desk.ask("a", "kill", s="s1", key="k1")
    desk.ask("b", "stats")
    hear(desk.link, 101.0, "reply", r=2)
    said(desk.link)
    desk.reconnect()
    assert desk.take() == [("b", None, *NO_ERROR), ("lost", 105.0), ("welcomed", "e1", 112.0)]
    hello, again = said(desk.link)
    assert (hello["k"], again) == ("hello", {"k": "kill", "r": 1, "s": "s1", "key": "k1"})
    hear(desk.link, 113.0, "reply", r=1, result={"command_id": "c1"})
    assert desk.take() == [("a", {"command_id": "c1"}, *NO_ERROR)]


@pytest.mark.parametrize("kind", ["create", "backup"])
def test_what_makes_something_new_is_not_asked_twice(kind: str) -> None:
    desk = Desk.online()
    desk.ask("a", kind, app="web", file="a.db")
    said(desk.link)
    desk.reconnect()
    assert desk.take() == [
        ("a", None, LinkDown, LOST),
        ("lost", 105.0),
        ("welcomed", "e1", 112.0),
    ]
    assert [message["k"] for message in said(desk.link)] == ["hello"]


def test_a_creation_that_was_never_sent_is_sent_after_the_reconnect() -> None:
    desk = Desk.online()
    desk.link.disconnected(103.0)
    desk.ask("a", "create", app="web")
    desk.reconnect()
    assert said(desk.link)[1:] == [{"k": "create", "r": 1, "app": "web"}]
    assert desk.take() == [("lost", 103.0), ("lost", 105.0), ("welcomed", "e1", 112.0)]


def test_a_creation_is_lost_when_the_broker_forgot_us_meanwhile() -> None:
    desk = Desk.online()
    desk.ask("a", "create", app="web")
    desk.ask("b", "stats")
    hear(desk.link, 101.0, "say_hello")
    said(desk.link)
    hear(desk.link, 102.0, "welcome", **welcome(2))
    assert desk.take() == [("a", None, LinkDown, LOST), ("welcomed", "e1", 102.0)]
    assert said(desk.link) == [{"k": "stats", "r": 2}]


def test_a_request_made_by_an_answer_is_sent_once() -> None:
    desk = Desk.online()

    def again(_result: Any, _error: PanelbusError | None) -> None:
        desk.ask("second", "create", app="web")

    desk.requests.ask("create", {"app": "web"}, 200.0, again)
    hear(desk.link, 101.0, "say_hello")
    said(desk.link)
    hear(desk.link, 102.0, "welcome", **welcome(2))
    assert said(desk.link) == [{"k": "create", "r": 2, "app": "web"}]


def test_a_cancelled_request_is_not_answered_nor_sent_again() -> None:
    desk = Desk.online()
    number = desk.ask("a", "stats")
    assert number == 1
    said(desk.link)
    desk.requests.cancel(number)
    desk.requests.cancel(number)
    hear(desk.link, 101.0, "reply", r=1)
    desk.reconnect()
    assert desk.take() == [("lost", 105.0), ("welcomed", "e1", 112.0)]
    assert [message["k"] for message in said(desk.link)] == ["hello"]
    assert desk.requests.next_deadline() == float("inf")


# --- too late ------------------------------------------------------------------------------------


def test_what_is_overdue_is_given_up_and_the_rest_waits() -> None:
    desk = Desk.online()
    desk.ask("b", "stats", deadline=120.0)
    desk.ask("a", "stats", deadline=110.0)
    assert desk.requests.next_deadline() == 110.0
    desk.requests.tick(109.9)
    assert desk.take() == []
    desk.requests.tick(110.0)
    text = "the broker at tcp://broker:5760 did not answer 'stats'"
    assert desk.take() == [("a", None, RequestTimeout, text)]
    assert desk.requests.next_deadline() == 120.0
    hear(desk.link, 111.0, "reply", r=2)  # too late for this one
    assert desk.take() == []


@pytest.mark.parametrize("connected", [False, True])
def test_an_overdue_request_tells_when_the_broker_cannot_be_reached(connected: bool) -> None:
    desk = Desk()
    if connected:
        desk.link.connected(100.0)
    desk.ask("a", "stats", deadline=110.0)
    desk.requests.tick(110.0)
    assert desk.take() == [("a", None, LinkDown, CANNOT_REACH)]


def test_an_overdue_request_tells_when_the_broker_refuses_us() -> None:
    desk = Desk()
    desk.link.connected(100.0)
    hear(desk.link, 101.0, "error", code="unsupported_version", message="speak version 2")
    desk.ask("a", "stats", deadline=110.0)
    desk.requests.tick(110.0)
    text = "the broker at tcp://broker:5760 refuses us: unsupported_version: speak version 2"
    assert desk.take() == [("a", None, LinkDown, text)]


def test_closing_gives_all_of_them_up() -> None:
    desk = Desk.online()
    desk.ask("a", "stats")
    desk.ask("b", "create", app="web")
    desk.requests.give_up("the operator was closed")
    desk.requests.give_up("a second time")
    assert desk.take() == [
        ("a", None, LinkDown, "the operator was closed"),
        ("b", None, LinkDown, "the operator was closed"),
    ]


def test_only_so_many_requests_may_wait() -> None:
    desk = Desk()
    for _ in range(MAX_PENDING):
        assert desk.ask("a", "stats") is not None
    assert desk.ask("b", "stats") is None
    assert desk.take() == [("b", None, Refused, "10000 requests are waiting already")]
    desk.requests.cancel(1)
    assert desk.ask("c", "stats") == MAX_PENDING + 1


def test_the_refusal_of_one_too_many_has_its_code() -> None:
    desk = Desk()
    for _ in range(MAX_PENDING):
        desk.ask("a", "stats")
    errors: list[PanelbusError | None] = []
    desk.requests.ask("stats", {}, 1.0, lambda _, error: errors.append(error))
    (error,) = errors
    assert isinstance(error, Refused)
    assert error.code == "too_many"


def test_the_link_beats_for_an_operator_too() -> None:
    desk = Desk.online()
    desk.link.tick(130.0)
    assert desk.link.take_effects() == [Send({"k": "heartbeat", "n": 2})]


def test_an_answer_may_cancel_another_request_that_is_overdue_too() -> None:
    desk = Desk.online()
    answers: list[str] = []

    def first(_result: Any, _error: PanelbusError | None) -> None:
        answers.append("first")
        assert second is not None
        desk.requests.cancel(second)

    desk.requests.ask("stats", {}, 110.0, first)
    second = desk.requests.ask("stats", {}, 110.0, lambda *_: answers.append("second"))
    desk.requests.tick(110.0)
    assert answers == ["first"]
