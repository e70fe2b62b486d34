"""Kills as they reach a process: carried out once, their outcome told as often as it is asked."""

from __future__ import annotations

from tests.client.stage import hear, said, welcome
from tests.client.stage_app import AppStage, state


def test_a_kill_is_delivered_and_carried_out() -> None:
    app = AppStage.online("s1", "s2", "s3")
    app.kill(101.0, "c1", "s1", "s3")
    assert app.kills == [("s1", "c1", "too long"), ("s3", "c1", "too long")]
    assert said(app.link) == [{"k": "delivered", "n": 2, "c": "c1"}]
    assert set(app.replica.sessions) == {"s1", "s2", "s3"}  # until they have really ended


def test_a_kill_may_come_without_a_reason() -> None:
    app = AppStage.online("s1")
    hear(app.link, 101.0, "command", c="c1", command="kill", s=["s1"])
    assert app.kills == [("s1", "c1", None)]


def test_a_session_is_killed_once_however_often_it_is_asked() -> None:
    app = AppStage.online("s1")
    app.kill(101.0, "c1", "s1", "s1")
    app.kill(102.0, "c1", "s1")
    app.kill(103.0, "c2", "s1")
    assert app.kills == [("s1", "c1", "too long")]
    assert said(app.link) == [
        {"k": "delivered", "n": 2, "c": "c1"},
        {"k": "delivered", "n": 3, "c": "c1"},
        {"k": "delivered", "n": 4, "c": "c2"},
    ]


def test_a_kill_is_carried_out_once_across_connections() -> None:
    app = AppStage.online("s1")
    app.kill(101.0, "c1", "s1")
    app.link.disconnected(102.0)
    app.link.connected(103.0)
    app.link.tick(104.0)
    app.kill(105.0, "c1", "s1")
    assert app.kills == [("s1", "c1", "too long")]


def test_the_end_of_a_killed_session_is_told() -> None:
    app = AppStage.online("s1")
    app.kill(101.0, "c1", "s1")
    app.replica.end("s1", "killed", None, [], 102.0)
    assert said(app.link) == [
        {"k": "delivered", "n": 2, "c": "c1"},
        {"k": "end", "n": 3, "s": "s1", "reason": "killed"},
    ]


def test_a_kill_of_a_session_that_has_ended_tells_its_end_again() -> None:
    app = AppStage.online("s1")
    app.replica.end("s1", "closed", "a callback failed", [], 101.0)
    said(app.link)
    app.kill(102.0, "c1", "s1")
    assert app.kills == []
    assert said(app.link) == [
        {"k": "delivered", "n": 3, "c": "c1"},
        {"k": "end", "n": 4, "s": "s1", "reason": "closed", "error": "a callback failed"},
    ]
    hear(app.link, 103.0, "ack", n=2)  # of the first telling, which the second replaced
    assert list(app.replica.ended) == ["s1"]
    hear(app.link, 104.0, "ack", n=4)
    assert app.replica.ended == {}


def test_a_kill_of_a_session_nobody_remembers_is_answered_with_gone() -> None:
    app = AppStage.online("s1")
    app.kill(101.0, "c1", "s9")
    assert said(app.link) == [
        {"k": "delivered", "n": 2, "c": "c1"},
        {"k": "end", "n": 3, "s": "s9", "reason": "gone"},
    ]
    assert (app.kills, app.replica.ended) == ([], {})


def test_a_failure_is_told_and_told_again_when_asked_again() -> None:
    app = AppStage.online("s1")
    app.kill(101.0, "c1", "s1")
    app.replica.failed("s1", "x" * 2001, 102.0)
    failure = {"k": "failed", "s": "s1", "error": "x" * 2000}
    assert said(app.link) == [{"k": "delivered", "n": 2, "c": "c1"}, failure | {"n": 3}]
    app.kill(103.0, "c2", "s1")
    assert said(app.link) == [{"k": "delivered", "n": 4, "c": "c2"}, failure | {"n": 5}]
    assert app.kills == [("s1", "c1", "too long")]
    assert "s1" in app.replica.sessions


def test_a_failure_while_the_broker_is_away_is_told_when_it_asks() -> None:
    app = AppStage.online("s1")
    app.kill(101.0, "c1", "s1")
    said(app.link)
    app.link.disconnected(102.0)
    app.replica.failed("s1", "the loop is blocked", 103.0)
    assert said(app.link) == []
    app.link.connected(104.0)
    app.link.tick(105.0)
    app.kill(106.0, "c1", "s1")
    assert said(app.link)[-1] == {
        "k": "failed",
        "n": 5,
        "s": "s1",
        "error": "the loop is blocked",
    }


def test_a_failure_is_told_again_after_each_welcome_since_no_hello_states_it() -> None:
    app = AppStage.online("s1", "s2")
    app.kill(101.0, "c1", "s1", "s2")
    app.replica.failed("s1", "the page does not end", 102.0)  # lost on its way
    said(app.link)
    hear(app.link, 103.0, "say_hello")
    assert [message["k"] for message in said(app.link)] == ["hello"]
    hear(app.link, 104.0, "welcome", **welcome(4))
    failure = {"k": "failed", "n": 5, "s": "s1", "error": "the page does not end"}
    assert said(app.link) == [failure]


def test_a_failure_of_a_session_that_is_gone_is_not_told() -> None:
    app = AppStage.online("s1")
    app.replica.end("s1", "closed", None, [], 101.0)
    said(app.link)
    app.replica.failed("s1", "too late", 102.0)
    assert said(app.link) == []


def test_a_session_that_ends_after_its_failure_tells_its_end_from_then_on() -> None:
    app = AppStage.online("s1")
    app.kill(101.0, "c1", "s1")
    app.replica.failed("s1", "the loop is blocked", 102.0)
    app.replica.end("s1", "killed", None, [], 103.0)
    said(app.link)
    app.kill(104.0, "c1", "s1")
    assert said(app.link)[-1] == {"k": "end", "n": 6, "s": "s1", "reason": "killed"}


def test_a_command_nobody_knows_is_ignored() -> None:
    app = AppStage.online("s1")
    hear(app.link, 101.0, "command", c="c1", command="dance", s=["s1"])
    hear(app.link, 101.0, "reply", r=1)
    assert (app.kills, said(app.link)) == ([], [])


# --- refusals ------------------------------------------------------------------------------------


def test_a_refused_session_is_let_go_and_not_stated_again() -> None:
    app = AppStage.online("s1", "s2")
    hear(app.link, 101.0, "refused", s="s1", reason="it belongs to another process")
    assert app.refusals == [("s1", "it belongs to another process")]
    assert (set(app.replica.sessions), app.replica.confirmed) == ({"s2"}, {"s2"})
    app.replica.update(state("s1"), [], 102.0)
    app.replica.end("s1", "closed", None, [], 103.0)
    assert said(app.link) == []
    assert app.replica.ended == {}
    hear(app.link, 104.0, "say_hello")
    (hello,) = said(app.link)
    assert [entry["s"] for entry in hello["sessions"]] == ["s2"]


def test_a_session_refused_before_it_was_confirmed_never_is() -> None:
    app = AppStage.online()
    app.replica.add(state("s1"), 101.0)
    hear(app.link, 102.0, "refused", s="s1", reason="the process has too many")
    hear(app.link, 103.0, "ack", n=2)
    assert app.replica.confirmed == set()


def test_a_refusal_of_a_session_that_is_gone_is_ignored() -> None:
    app = AppStage.online("s1")
    app.replica.end("s1", "closed", None, [], 101.0)
    hear(app.link, 102.0, "refused", s="s1", reason="what?")
    assert app.refusals == []
    assert list(app.replica.ended) == ["s1"]
