"""One connection's life: greeting, numbering, heartbeats, refusals and silence."""

from __future__ import annotations

from typing import Any

import pytest

from sessionclient.link import (
    HELLO_TIMEOUT,
    RECONNECT_JITTER,
    SILENCE,
    UNWELCOME_PAUSE,
    Link,
    Reset,
    Send,
)
from sessionclient.wire import Message
from tests.client.stage import (
    EMPTY,
    INTERVAL,
    INTRODUCTION,
    FixedRandom,
    go_online,
    hear,
    new_link,
    said,
    welcome,
)

ENDLESS = float("inf")


class Recorder:
    """A payload that writes down what it is told."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = [EMPTY]
        self.told: list[tuple[Any, ...]] = []

    def greetings(self, now: float) -> list[dict[str, Any]]:
        self.told.append(("greetings", now))
        return self.parts

    def welcomed(self, welcome: Message, now: float) -> None:
        self.told.append(("welcomed", welcome, now))

    def disconnected(self, now: float) -> None:
        self.told.append(("disconnected", now))

    def acknowledged(self, number: int) -> None:
        self.told.append(("acknowledged", number))

    def received(self, message: Message, now: float) -> None:
        self.told.append(("received", message, now))

    def take(self) -> list[tuple[Any, ...]]:
        told, self.told = self.told, []
        return told


def online(now: float = 100.0) -> tuple[Link, Recorder]:
    payload = Recorder()
    link = new_link(payload)
    go_online(link, now)
    payload.take()
    return link, payload


HELLO = {"k": "hello", **INTRODUCTION, **EMPTY}


# --- greeting ------------------------------------------------------------------------------------


def test_a_link_that_is_down_does_nothing_and_waits_for_nothing() -> None:
    link = new_link(Recorder())
    link.tick(1e9)
    assert (link.state, link.greeted, link.take_effects()) == ("down", False, [])
    assert link.next_deadline() == ENDLESS


def test_the_first_connection_says_hello_at_once() -> None:
    payload, rng = Recorder(), FixedRandom()
    link = new_link(payload, rng)
    link.connected(100.0)
    assert said(link) == [HELLO | {"n": 1}]
    assert payload.take() == [("greetings", 100.0)]
    assert (link.state, link.greeted, rng.spans) == ("greeting", True, [])
    assert link.next_deadline() == 100.0 + HELLO_TIMEOUT


def test_a_later_connection_waits_a_random_moment_before_its_hello() -> None:
    rng = FixedRandom(0.5)
    link = new_link(Recorder(), rng)
    go_online(link, 100.0)
    link.disconnected(110.0)
    link.connected(120.0)
    assert rng.spans == [(0.0, RECONNECT_JITTER)]
    assert (said(link), link.greeted) == ([], False)
    assert link.next_deadline() == 120.1
    link.tick(120.09)
    assert said(link) == []
    link.tick(120.1)
    assert said(link) == [HELLO | {"n": 2}]


def test_only_the_first_part_introduces_and_every_part_has_its_number() -> None:
    payload = Recorder()
    payload.parts = [EMPTY | {"last": False}, EMPTY | {"last": False}, EMPTY]
    link = new_link(payload)
    link.connected(100.0)
    assert said(link) == [
        HELLO | {"n": 1, "last": False},
        {"k": "hello_part", "n": 2, **EMPTY, "last": False},
        {"k": "hello_part", "n": 3, **EMPTY},
    ]


def test_a_welcome_brings_the_link_online() -> None:
    payload = Recorder()
    link = new_link(payload)
    link.connected(100.0)
    payload.take()
    hear(link, 100.5, "welcome", **welcome(1))
    assert payload.take() == [("welcomed", {"k": "welcome", **welcome(1)}, 100.5)]
    assert (link.state, link.trouble) == ("online", None)
    assert link.next_deadline() == 100.0 + INTERVAL


def test_a_welcome_to_a_hello_that_was_not_said_is_ignored() -> None:
    payload = Recorder()
    link = new_link(payload)
    link.connected(100.0)
    payload.take()
    hear(link, 100.5, "welcome", **welcome(2))
    assert (link.state, payload.take()) == ("greeting", [])


def test_a_second_welcome_is_ignored() -> None:
    link, payload = online()
    hear(link, 101.0, "welcome", **welcome(1))
    assert (link.state, payload.take()) == ("online", [])


def test_a_hello_without_an_answer_is_said_again() -> None:
    payload = Recorder()
    link = new_link(payload)
    link.connected(100.0)
    said(link)
    link.tick(101.9)
    assert said(link) == []
    link.tick(102.0)
    assert said(link) == [HELLO | {"n": 2}]
    assert payload.take() == [("greetings", 100.0), ("greetings", 102.0)]
    hear(link, 102.5, "welcome", **welcome(1))  # the answer to the first, which was only slow
    assert link.state == "online"


def test_say_hello_is_answered_at_once_when_online() -> None:
    link, _ = online()
    hear(link, 101.0, "say_hello")
    assert said(link) == [HELLO | {"n": 2}]
    assert (link.state, link.next_deadline()) == ("greeting", 103.0)


def test_say_hello_that_crossed_a_hello_is_not_answered_twice() -> None:
    link, payload = online()
    hear(link, 101.0, "say_hello")
    said(link)
    hear(link, 101.5, "say_hello")
    assert (said(link), link.state) == ([], "greeting")
    link.tick(103.0)
    assert said(link) == [HELLO | {"n": 3}]
    assert payload.take() == [("greetings", 101.0), ("greetings", 103.0)]


# --- numbers -------------------------------------------------------------------------------------


def test_numbers_go_on_across_connections() -> None:
    link, payload = online()
    assert link.send(101.0, "heartbeat") == 2
    link.disconnected(102.0)
    assert payload.take() == [("disconnected", 102.0)]
    assert (link.state, link.greeted, link.next_deadline()) == ("down", False, ENDLESS)
    link.take_effects()
    link.connected(103.0)
    link.tick(link.next_deadline())
    assert [message["n"] for message in said(link)] == [3]


def test_fields_that_are_none_are_left_out() -> None:
    link, _ = online()
    assert link.send(101.0, "failed", s="s1", error="", more=None) == 2
    assert link.take_effects() == [Send({"k": "failed", "n": 2, "s": "s1", "error": ""})]


def test_a_request_goes_out_as_it_is_without_a_number() -> None:
    link, _ = online()
    link.request({"k": "stats", "r": 1})
    assert said(link) == [{"k": "stats", "r": 1}]
    assert (link.number, link.next_deadline()) == (1, 100.0 + INTERVAL)


def test_effects_are_handed_over_once_and_in_order() -> None:
    link, _ = online()
    link.send(101.0, "heartbeat")
    link.request({"k": "stats", "r": 1})
    assert [message["k"] for message in said(link)] == ["heartbeat", "stats"]
    assert link.take_effects() == []


# --- what the broker says ------------------------------------------------------------------------


def test_acknowledgements_and_the_rest_go_to_the_payload() -> None:
    link, payload = online()
    hear(link, 101.0, "ack", n=1)
    hear(link, 102.0, "command", c="c1", command="kill", s=["s1"])
    hear(link, 103.0, "error", r=4, code="not_found", message="no")
    assert payload.take() == [
        ("acknowledged", 1),
        ("received", {"k": "command", "c": "c1", "command": "kill", "s": ["s1"]}, 102.0),
        ("received", {"k": "error", "r": 4, "code": "not_found", "message": "no"}, 103.0),
    ]
    assert (link.state, link.trouble, said(link)) == ("online", None, [])


@pytest.mark.parametrize(
    "code", ["unsupported_version", "forbidden", "conflict", "too_many", "unavailable"]
)
def test_a_broker_that_refuses_us_is_asked_again_after_a_pause(code: str) -> None:
    payload = Recorder()
    link = new_link(payload)
    link.connected(100.0)
    said(link)
    payload.take()
    hear(link, 101.0, "error", code=code, message="not you")
    assert (link.state, link.greeted, link.trouble) == ("greeting", False, f"{code}: not you")
    assert link.next_deadline() == 101.0 + UNWELCOME_PAUSE
    link.tick(130.9)
    assert (said(link), payload.take()) == ([], [])
    link.tick(131.0)
    assert said(link) == [HELLO | {"n": 2}]
    hear(link, 131.5, "welcome", **welcome(2))
    assert (link.state, link.trouble) == ("online", None)


def test_a_refusal_takes_an_online_link_back_to_the_greeting() -> None:
    link, _ = online()
    hear(link, 101.0, "error", code="too_many", message="full")
    assert (link.state, link.greeted) == ("greeting", False)
    hear(link, 102.0, "say_hello")  # the pause holds whatever the broker says meanwhile
    assert said(link) == []
    assert link.next_deadline() == 131.0


def test_a_bad_request_is_logged_once_and_the_conversation_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link, _ = online()
    hear(link, 101.0, "error", code="bad_request", message="what?")
    hear(link, 101.0, "error", code="bad_request", message="what again?")
    assert caplog.messages == ["the broker did not understand a message: what?"]
    assert (link.state, link.greeted, link.trouble) == ("online", True, None)
    assert link.misunderstood == 2
    assert link.next_deadline() == 100.0 + INTERVAL


def test_a_new_connection_ends_the_pause() -> None:
    link, _ = online()
    hear(link, 101.0, "error", code="unavailable", message="later")
    link.disconnected(102.0)
    link.connected(103.0)
    link.tick(103.1)
    assert said(link) == [HELLO | {"n": 2}]


# --- heartbeats and silence ----------------------------------------------------------------------


def test_a_heartbeat_is_sent_when_nothing_was_said_for_an_interval() -> None:
    link, _ = online()
    link.tick(129.9)
    assert said(link) == []
    link.tick(130.0)
    assert said(link) == [{"k": "heartbeat", "n": 2}]
    hear(link, 130.1, "ack", n=2)
    assert link.next_deadline() == 160.0


def test_anything_numbered_puts_the_heartbeat_off() -> None:
    link, _ = online()
    link.send(120.0, "delivered", c="c1")
    assert link.next_deadline() == 150.0
    link.take_effects()
    link.tick(149.9)
    assert said(link) == []


def test_the_interval_can_be_shortened_and_the_hello_tells_it() -> None:
    link, _ = online()
    link.beat_within(5.0, 101.0)
    assert link.next_deadline() == 106.0
    link.tick(106.0)
    assert said(link) == [{"k": "heartbeat", "n": 2}]
    hear(link, 106.5, "say_hello")
    assert said(link) == [HELLO | {"n": 3, "interval": 5.0}]


def test_a_heartbeat_that_is_due_earlier_stays_due() -> None:
    link, _ = online()
    link.beat_within(20.0, 125.0)
    assert link.next_deadline() == 130.0


def test_the_link_beats_three_times_within_what_the_broker_calls_stale() -> None:
    link = new_link(Recorder())
    link.connected(100.0)
    hear(link, 101.0, "welcome", **welcome(1, stale_after=15.0))
    said(link)
    assert link.next_deadline() == 106.0
    link.tick(106.0)
    assert said(link) == [{"k": "heartbeat", "n": 2}]
    hear(link, 106.5, "ack", n=2)
    assert link.next_deadline() == 111.0
    link.send(108.0, "delivered", c="c1")
    assert link.next_deadline() == 113.0


def test_a_patient_broker_does_not_slow_the_heartbeats_down() -> None:
    link = new_link(Recorder())
    link.connected(100.0)
    hear(link, 101.0, "welcome", **welcome(1, stale_after=3600.0))
    assert link.next_deadline() == 100.0 + INTERVAL
    link.send(110.0, "delivered", c="c1")
    assert link.next_deadline() == 110.0 + INTERVAL


def test_silence_after_a_heartbeat_gives_the_connection_up() -> None:
    link, payload = online()
    link.beat_within(4.0, 100.0)
    for now in (104.0, 108.0, 112.0):  # counted from the first that had no answer
        link.tick(now)
    assert [message["k"] for message in said(link)] == ["heartbeat"] * 3
    assert link.next_deadline() == 114.0
    link.tick(113.9)
    assert said(link) == []
    link.tick(104.0 + SILENCE)
    assert link.take_effects() == [Reset()]
    assert payload.take() == [("disconnected", 114.0)]
    assert (link.state, link.greeted, link.next_deadline()) == ("down", False, ENDLESS)


def test_silence_after_hellos_gives_the_connection_up() -> None:
    link = new_link(Recorder())
    link.connected(100.0)
    for now in (102.0, 104.0, 106.0, 108.0):
        link.tick(now)
    assert [message["n"] for message in said(link)] == [1, 2, 3, 4, 5]
    link.tick(110.0)
    assert link.take_effects() == [Reset()]
    assert link.state == "down"


def test_any_answer_breaks_the_silence() -> None:
    link, _ = online()
    link.tick(130.0)
    hear(link, 139.0, "command", c="c1", command="kill", s=[])
    said(link)
    link.tick(140.0)
    assert (link.state, said(link)) == ("online", [])
    assert link.next_deadline() == 160.0


def test_a_new_connection_starts_a_silence_of_its_own() -> None:
    link, _ = online()
    link.tick(130.0)
    link.disconnected(131.0)
    link.connected(139.9)
    link.take_effects()
    link.tick(140.0)
    assert said(link) == [HELLO | {"n": 3}]
    link.tick(149.9)
    assert link.state == "greeting"
    link.take_effects()
    link.tick(150.0)
    assert link.take_effects() == [Reset()]
