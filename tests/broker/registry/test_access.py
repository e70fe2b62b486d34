"""Who may do what, by the key that was proved and not by what is said."""

from __future__ import annotations

from typing import Any

import pytest

from broker.registry.access import Credential
from broker.registry.model import Settings
from tests.support.bench import AppPeer, Bench, greeting, session

KEYS = {
    "k-sales": Credential("sales", "app"),
    "k-stock": Credential("stock", "app"),
    "k-eve": Credential("eve", "viewer"),
    "k-ops": Credential("ops", "operator"),
}


def bench() -> Bench:
    made = Bench(access=KEYS)
    made.users = {b"a": "k-sales", b"b": "k-stock", b"v": "k-eve", b"op": "k-ops"}
    return made


def code(bench: Bench, route: bytes) -> tuple[str, str]:
    (answer,) = bench.take(route, "error")
    return answer["code"], answer["message"]


def outcomes(bench: Bench) -> list[tuple[str, str, str]]:
    """Actor, action and outcome of every row of the audit, oldest first."""
    bench.sleep(2.0)
    bench.commit()
    return [(row.actor, row.action, row.outcome) for _, row in sorted(bench.rows.audit.items())]


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "role", "welcome"),
    [
        ("k-sales", "app", True),
        ("k-sales", "viewer", False),
        ("k-sales", "operator", False),
        ("k-eve", "viewer", True),
        ("k-eve", "operator", False),
        ("k-eve", "app", False),
        ("k-ops", "operator", True),
        ("k-ops", "viewer", True),
        ("k-ops", "app", False),
        ("k-nobody", "app", False),
        ("", "viewer", False),
        (None, "operator", False),
    ],
)
def test_a_key_is_good_for_its_own_role(user: str | None, role: str, welcome: bool) -> None:
    made = bench()
    if user is not None:
        made.users[b"x"] = user
    made.say(b"x", "hello", **greeting(role=role))
    answers = made.take(b"x")
    assert [answer["k"] for answer in answers] == (["welcome"] if welcome else ["error"])
    if not welcome:
        assert answers[0]["code"] == "forbidden"
        assert made.registry.state.stats.rejected["forbidden"] == 1
        made.say(b"x", "list" if role != "app" else "heartbeat", r=1, n=2)
        assert [answer["k"] for answer in made.take(b"x")] == ["say_hello"]
        ((_, action, outcome),) = outcomes(made)
        assert (action, outcome) == ("hello", "refused")


def test_a_viewer_can_t_kill_and_it_is_noted_that_it_tried() -> None:
    made = bench()
    made.app(b"a", session("s1"))
    made.operator(b"v", role="viewer")
    made.say(b"v", "kill", r=1, s="s1")
    assert code(made, b"v") == ("forbidden", "the role 'viewer' may not send 'kill'")
    assert not made.state.commands
    assert outcomes(made) == [("key eve on host1 pid 42", "kill", "refused")]


def test_an_app_s_key_can_t_send_an_operator_s_command() -> None:
    made = bench()
    made.app(b"a", session("s1"))
    made.say(b"a", "kill", r=1, s="s1")
    assert code(made, b"a")[0] == "forbidden"
    assert outcomes(made) == [("key sales on host1 pid 42", "kill", "refused")]


def test_an_instance_belongs_to_the_key_that_brought_it_even_with_the_secret() -> None:
    made = bench()
    made.app(b"a", session("s1"))
    thief = AppPeer(made, b"b", "proc")
    thief.n = 100
    thief.hello()
    assert code(made, b"b") == ("forbidden", "instance 'proc' belongs to another process")
    assert "s1" in made.state.sessions
    made.restart()  # and after a restart too
    thief.hello()
    assert code(made, b"b")[0] == "forbidden"
    assert "s1" in made.state.sessions


def test_an_instance_from_before_keys_is_taken_over_by_the_first_key_with_its_secret() -> None:
    made = Bench()
    peer = made.app(b"a", session("s1"))
    made.access = KEYS
    made.users = {b"a": "k-sales", b"b": "k-stock"}
    made.restart()
    peer.hello(session("s1"))
    made.commit()
    assert made.rows.processes["proc"].owner == "sales"
    assert dict(made.state.owned) == {"sales": 1}
    AppPeer(made, b"b", "proc").hello()
    assert code(made, b"b")[0] == "forbidden"


def test_without_keys_an_owner_of_before_counts_no_longer() -> None:
    made = bench()
    peer = made.app(b"a", session("s1"))
    made.access = None
    made.restart()
    peer.hello(session("s1"))
    assert [answer["k"] for answer in peer.take()] == ["welcome"]


# --- another list --------------------------------------------------------------------------------


def test_a_key_that_is_revoked_is_cut_off_at_once_and_others_are_not() -> None:
    made = bench()
    peer = made.app(b"a", session("s1"))
    other = made.app(b"b", session("s2"), instance="other")
    made.operator(b"op")
    assert not made.registry.set_access({k: v for k, v in KEYS.items() if k != "k-sales"}, made.now)
    made.settle()
    text = "this key is not on the broker's list, or no longer"
    assert code(made, b"a") == ("forbidden", text)
    peer.say("register", **session("s3"))
    assert [answer["k"] for answer in peer.take()] == ["say_hello"]
    peer.hello(session("s1"), session("s3"))
    assert code(made, b"a") == ("forbidden", text)
    assert list(made.state.sessions) == ["s1", "s2"]  # what it had is listed until it is stale
    other.say("register", **session("s4"))
    made.commit()
    assert [answer["k"] for answer in other.take()] == ["ack"]
    made.say(b"op", "list", r=1)
    assert made.take(b"op", "reply")
    made.registry.set_access(KEYS, made.now)  # given back
    peer.hello(session("s1"))
    assert [answer["k"] for answer in peer.take()] == ["welcome"]
    assert ("key sales", "connect", "revoked") in outcomes(made)


@pytest.mark.parametrize(
    ("role", "route", "changed"),
    [
        ("viewer", b"v", {"k-eve": None}),
        ("operator", b"op", {"k-ops": None}),
        ("operator", b"op", {"k-ops": Credential("ops", "app")}),
    ],
)
def test_it_is_told_when_one_that_could_read_the_feed_is_cut_off(
    role: str, route: bytes, changed: dict[str, Credential | None]
) -> None:
    made = bench()
    made.operator(route, role=role)
    allowed = {key: value for key, value in (KEYS | changed).items() if value is not None}
    assert made.registry.set_access(allowed, made.now)
    made.settle()
    assert code(made, route)[0] == "forbidden"


def test_a_reader_need_not_have_greeted_anybody_to_lose_the_feed() -> None:
    made = bench()
    made.operator(b"op")
    assert made.registry.set_access({k: v for k, v in KEYS.items() if k != "k-eve"}, made.now)
    made.say(b"op", "list", r=1)
    assert made.take(b"op", "reply")


def test_a_change_that_takes_the_feed_from_nobody_says_so() -> None:
    made = bench()
    made.operator(b"op")
    changed = {k: v for k, v in KEYS.items() if k != "k-sales"}
    changed |= {"k-ops": Credential("ops", "viewer"), "k-new": Credential("new", "operator")}
    assert not made.registry.set_access(changed, made.now)
    made.settle()
    assert code(made, b"op")[0] == "forbidden"  # an operator no longer, but it may read the feed


def test_nothing_is_answered_to_who_was_cut_off_meanwhile() -> None:
    made = bench()
    made.app(b"a", session("s1"))
    made.operator(b"op")
    made.operator(b"v", role="viewer")
    made.say(b"op", "kill", r=1, s="s1")
    made.commit()
    (reply,) = made.take(b"op", "reply")
    made.say(b"v", "command_state", r=2, c=reply["result"]["command_id"], wait=60.0)
    made.say(b"op", "audit", r=3)
    assert made.state.waiter_count == 1
    made.registry.set_access({"k-sales": KEYS["k-sales"]}, made.now)
    made.settle()
    assert made.state.waiter_count == 0
    made.take(b"op")
    made.take(b"v")
    made.answer_reads()
    made.sleep(61.0)
    assert made.take(b"op") == made.take(b"v") == []


def test_an_attempt_to_take_over_an_instance_is_noted() -> None:
    made = bench()
    made.app(b"a", session("s1"))
    AppPeer(made, b"b", "proc").hello()
    assert outcomes(made) == [("key stock on host1", "hello", "refused")]


def test_one_user_can_t_use_up_all_processes() -> None:
    made = Bench(settings=Settings(max_processes_per_owner=2), access=KEYS)
    made.users = {b"a": "k-sales", b"a2": "k-sales", b"a3": "k-sales", b"op": "k-ops"}
    made.operator(b"op")
    for by in (ANN, ANN, BOB):
        created(made, by)
    made.say(b"op", "create", r=9, app="web", by=ANN)
    text = "'token ann' has 2 processes already, the most there may be"
    assert code(made, b"op") == ("too_many", text)
    made.app(b"a", instance="p1")
    made.app(b"a2", instance="p2")
    AppPeer(made, b"a3", "p3").hello()
    assert code(made, b"a3") == (
        "too_many",
        "'sales' has 2 processes already, the most there may be",
    )
    made.restart()
    assert dict(made.state.owned_processes) == {"token ann": 2, "token bob": 1}


# --- on behalf of --------------------------------------------------------------------------------

ANN = {"name": "token ann", "role": "app"}
BOB = {"name": "token bob", "role": "app"}
VIEWER = {"name": "token vic", "role": "viewer"}
CHIEF = {"name": "token carl", "role": "operator"}


def created(made: Bench, by: dict[str, str] | None) -> str:
    made.say(b"op", "create", r=1, app="web", by=by)
    made.commit()
    (reply,) = made.take(b"op", "reply")
    return str(reply["result"]["session_id"])


@pytest.mark.parametrize("kind", ["touch", "set_status", "delete", "get"])
def test_an_app_s_user_reaches_its_own_sessions_only(kind: str) -> None:
    made = bench()
    made.operator(b"op")
    mine, other, nobody_s = created(made, ANN), created(made, BOB), created(made, None)
    more = {"status": "busy"} if kind == "set_status" else {}
    for foreign in (other, nobody_s):
        made.say(b"op", kind, r=2, s=foreign, by=ANN, **more)
        assert code(made, b"op") == ("forbidden", "this session was made by somebody else")
    assert {other, nobody_s} <= made.state.sessions.keys()
    made.restart()  # whose it is is kept
    made.operator(b"op")
    made.say(b"op", kind, r=3, s=other, by=ANN, **more)
    assert code(made, b"op")[0] == "forbidden"
    made.say(b"op", kind, r=4, s=mine, by=ANN, **more)
    made.commit()
    (reply,) = made.take(b"op", "reply")
    assert reply["r"] == 4


@pytest.mark.parametrize("kind", ["kill", "kill_all", "cleanup", "list", "audit", "stats"])
def test_an_app_s_user_may_do_nothing_else(kind: str) -> None:
    made = bench()
    made.operator(b"op")
    sid = created(made, ANN)
    fields: dict[str, dict[str, Any]] = {
        "kill": {"s": sid},
        "kill_all": {"app": "web"},
        "cleanup": {"older": 0.0},
    }
    made.say(b"op", kind, r=2, by=ANN, **fields.get(kind, {}))
    assert code(made, b"op") == ("forbidden", f"the role 'app' may not send {kind!r}")


def test_a_viewer_s_user_may_look_and_not_act() -> None:
    made = bench()
    made.operator(b"op")
    sid = created(made, ANN)
    made.say(b"op", "list", r=2, by=VIEWER)
    assert made.take(b"op", "reply")
    for kind, more in (("kill", {"s": sid}), ("delete", {"s": sid}), ("create", {"app": "x"})):
        made.say(b"op", kind, r=3, by=VIEWER, **more)
        assert code(made, b"op")[0] == "forbidden"
    assert (
        "token vic (viewer) through key ops on host1 pid 42",
        "kill",
        "refused",
    ) in outcomes(made)


def test_nobody_gains_a_right_by_speaking_for_another() -> None:
    made = bench()
    made.app(b"a", session("s1"))
    made.operator(b"v", role="viewer")
    made.say(b"v", "kill", r=1, s="s1", by=CHIEF)
    assert code(made, b"v")[0] == "forbidden"


def test_an_operator_s_user_may_end_what_others_made_and_is_named() -> None:
    made = bench()
    made.operator(b"op")
    sid = created(made, ANN)
    made.say(b"op", "delete", r=2, s=sid, by=CHIEF)
    made.commit()
    assert made.take(b"op", "reply")
    who = "token carl (operator) through key ops on host1 pid 42"
    assert outcomes(made) == [(who, "delete", "done")]


def test_what_one_deletes_of_one_s_own_is_no_business_of_the_audit() -> None:
    made = bench()
    made.operator(b"op")
    made.say(b"op", "delete", r=2, s=created(made, ANN), by=ANN)
    assert outcomes(made) == []


# --- how much ------------------------------------------------------------------------------------


def test_one_key_can_t_take_all_the_room() -> None:
    made = Bench(settings=Settings(max_sessions_per_owner=2), access=KEYS)
    made.users = {b"a": "k-sales", b"a2": "k-sales", b"b": "k-stock", b"op": "k-ops"}
    made.app(b"a", session("s1"))
    second = AppPeer(made, b"a2", "second")
    second.hello(session("s2"), session("s3"))
    (refused,) = second.take("refused")
    assert refused == {
        "k": "refused",
        "s": "s3",
        "reason": "'sales' has 2 sessions already, the most there may be; end some",
    }
    made.app(b"b", session("s4"), instance="third")
    assert list(made.state.sessions) == ["s1", "s2", "s4"]
    made.operator(b"op")
    created(made, ANN)
    created(made, ANN)
    made.say(b"op", "create", r=9, app="web", by=ANN)
    text = "'token ann' has 2 sessions already, the most there may be; end some"
    assert code(made, b"op") == ("too_many", text)
    second.say("end", s="s2", reason="closed")
    second.say("register", **session("s5"))
    assert "s5" in made.state.sessions
