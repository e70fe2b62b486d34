"""An app's sessions as the broker is told of them: stated, confirmed, ended, forgotten."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from sessionclient.replica import (
    HELLO_BYTES,
    MAX_DONE_WAITING,
    MAX_ENDED_WAITING,
    MAX_SESSIONS_PER_PROCESS,
    Replica,
    SessionState,
    TaskDone,
)
from sessionclient.wire import MAX_BATCH_ITEMS, encode
from tests.client.stage import INTRODUCTION, hear, said, welcome
from tests.client.stage_app import AppStage, state, task

HELLO = {"k": "hello", **INTRODUCTION, "sessions": [], "ended": [], "done": [], "last": True}


# --- the shapes on the wire ----------------------------------------------------------------------


def test_a_state_is_told_with_ages_and_without_what_is_none() -> None:
    bare = SessionState("s1", "sales", None, 90.0, "idle")
    assert bare.fields(100.0) == {"s": "s1", "app": "sales", "age": 10.0, "status": "idle"}
    full = SessionState("s1", "sales", "ann", 90.0, "running", "load", 96.0)
    assert full.fields(100.0) == {
        "s": "s1",
        "app": "sales",
        "user": "ann",
        "age": 10.0,
        "status": "running",
        "task": "load",
        "task_age": 4.0,
    }


def test_ages_are_never_negative() -> None:
    early = SessionState("s1", "sales", None, 90.0, "running", "load", 96.0).fields(80.0)
    assert (early["age"], early["task_age"]) == (0.0, 0.0)
    done = TaskDone("s1", 1, "load", 90.0, -1.0, "ok").fields(80.0)
    assert (done["age"], done["took"]) == (0.0, 0.0)


def test_a_finished_task_is_told_with_its_age_and_a_bounded_error() -> None:
    assert TaskDone("s1", 3, "load", 90.0, 2.5, "ok").fields(100.0) == {
        "s": "s1",
        "no": 3,
        "name": "load",
        "age": 10.0,
        "took": 2.5,
        "outcome": "ok",
    }
    failed = TaskDone("s1", 3, "load", 90.0, 2.5, "error", "x" * 2001)
    assert failed.fields(100.0)["error"] == "x" * 2000


def test_a_replica_needs_its_link() -> None:
    replica = Replica(lambda *_: None, lambda *_: None)
    with pytest.raises(RuntimeError, match=r"^the replica has no link yet$"):
        _ = replica.link


# --- stating -------------------------------------------------------------------------------------


def test_what_happens_before_the_first_hello_is_said_by_it() -> None:
    app = AppStage()
    assert app.replica.add(state("s1"), 90.0)
    app.replica.add(state("s0"), 90.0)
    app.replica.update(state("s1", "running", "load", 95.0), [task("s1", 1)], 96.0)
    app.replica.end("s0", "closed", "a callback failed", [task("s0", 1)], 97.0)
    app.replica.bye(98.0)
    assert said(app.link) == []
    app.link.connected(100.0)
    (hello,) = said(app.link)
    assert hello == HELLO | {
        "n": 1,
        "sessions": [state("s1", "running", "load", 95.0).fields(100.0)],
        "ended": [{"s": "s0", "reason": "closed", "error": "a callback failed"}],
        "done": [task("s1", 1).fields(100.0), task("s0", 1).fields(100.0)],
    }


def test_a_new_session_is_registered_and_confirmed_by_its_acknowledgement() -> None:
    app = AppStage.online()
    assert app.replica.add(state("s1"), 101.0)
    assert said(app.link) == [{"k": "register", "n": 2, **state("s1").fields(101.0)}]
    hear(app.link, 102.0, "ack", n=1)
    assert app.replica.confirmed == set()
    hear(app.link, 103.0, "ack", n=2)
    assert app.replica.confirmed == {"s1"}


def test_a_change_is_told_with_the_tasks_that_finished() -> None:
    app = AppStage.online("s1")
    done = [task("s1", 1), task("s1", 2)]
    app.replica.update(state("s1", "running", "plot", 101.0), done, 102.0)
    assert said(app.link) == [
        {
            "k": "status",
            "n": 2,
            "s": "s1",
            "status": "running",
            "task": "plot",
            "task_age": 1.0,
            "done": [entry.fields(102.0) for entry in done],
        }
    ]
    app.replica.update(state("s1"), [], 103.0)
    assert said(app.link) == [{"k": "status", "n": 3, "s": "s1", "status": "idle"}]


def test_a_change_is_told_even_before_the_welcome() -> None:
    app = AppStage()
    app.link.connected(100.0)
    said(app.link)
    app.replica.add(state("s1"), 100.5)
    app.replica.update(state("s1", "running", "load", 100.5), [], 101.0)
    assert [(message["k"], message["n"]) for message in said(app.link)] == [
        ("register", 2),
        ("status", 3),
    ]


def test_finished_tasks_wait_until_they_are_acknowledged() -> None:
    app = AppStage.online("s1")
    app.replica.update(state("s1"), [task("s1", 1)], 101.0)
    app.replica.update(state("s1"), [task("s1", 2)], 102.0)
    hear(app.link, 103.0, "ack", n=2)
    assert [entry.task.number for entry in app.replica.done] == [2]
    hear(app.link, 104.0, "ack", n=3)
    assert not app.replica.done


def test_a_change_of_a_session_that_is_gone_is_not_told_but_its_tasks_are() -> None:
    app = AppStage.online()
    app.replica.update(state("s9"), [], 101.0)
    assert said(app.link) == []
    app.replica.update(state("s9"), [task("s9", 1)], 101.0)
    done = [task("s9", 1).fields(101.0)]
    assert said(app.link) == [{"k": "status", "n": 2, "s": "s9", "status": "idle", "done": done}]
    assert app.replica.sessions == {}
    hear(app.link, 102.0, "say_hello")
    assert said(app.link) == [HELLO | {"n": 3, "done": [task("s9", 1).fields(102.0)]}]
    hear(app.link, 103.0, "ack", n=3)
    assert not app.replica.done


def test_an_end_is_told_once_and_kept_until_it_is_acknowledged() -> None:
    app = AppStage.online("s1")
    app.replica.end("s1", "killed", "x" * 2001, [task("s1", 1)], 101.0)
    app.replica.end("s1", "closed", None, [], 102.0)
    assert said(app.link) == [
        {
            "k": "end",
            "n": 2,
            "s": "s1",
            "reason": "killed",
            "error": "x" * 2000,
            "done": [task("s1", 1).fields(101.0)],
        }
    ]
    assert (app.replica.sessions, app.replica.confirmed) == ({}, set())
    hear(app.link, 103.0, "ack", n=1)
    assert list(app.replica.ended) == ["s1"]
    hear(app.link, 104.0, "ack", n=2)
    assert (app.replica.ended, list(app.replica.done)) == ({}, [])


def test_an_acknowledgement_of_a_session_that_ended_meanwhile_confirms_nothing() -> None:
    app = AppStage.online()
    app.replica.add(state("s1"), 101.0)
    app.replica.end("s1", "closed", None, [], 102.0)
    hear(app.link, 103.0, "ack", n=2)
    assert app.replica.confirmed == set()
    assert list(app.replica.ended) == ["s1"]


# --- another hello -------------------------------------------------------------------------------


def test_each_hello_states_everything_anew_and_its_last_number_acknowledges_it() -> None:
    app = AppStage.online("s1", "s2")
    app.replica.end("s2", "closed", None, [task("s2", 1)], 101.0)
    said(app.link)
    app.link.disconnected(102.0)
    assert app.replica.confirmed == set()
    app.replica.add(state("s3"), 103.0)
    assert said(app.link) == []
    app.link.connected(104.0)
    app.link.tick(105.0)
    stated = {
        "sessions": [state("s1").fields(105.0), state("s3").fields(105.0)],
        "ended": [{"s": "s2", "reason": "closed"}],
        "done": [task("s2", 1).fields(105.0)],
    }
    assert said(app.link) == [HELLO | {"n": 3, **stated}]
    hear(app.link, 105.5, "welcome", **welcome(3))
    hear(app.link, 106.0, "ack", n=2)  # what was sent before the hello tells nothing any more
    assert app.replica.confirmed == set()
    assert list(app.replica.ended) == ["s2"]
    hear(app.link, 107.0, "ack", n=3)
    assert app.replica.confirmed == {"s1", "s3"}
    assert (app.replica.ended, list(app.replica.done)) == ({}, [])


def test_a_hello_on_the_same_connection_takes_confirmations_back() -> None:
    app = AppStage.online("s1")
    assert app.replica.confirmed == {"s1"}
    hear(app.link, 101.0, "say_hello")
    assert app.replica.confirmed == set()
    hear(app.link, 102.0, "ack", n=app.link.number)
    assert app.replica.confirmed == {"s1"}


# --- parts of a hello ----------------------------------------------------------------------------


def parts_of(app: AppStage) -> list[dict[str, Any]]:
    """The messages of a first hello, each of which fits a frame."""
    app.link.connected(100.0)
    parts = said(app.link)
    assert [part["k"] for part in parts] == ["hello"] + ["hello_part"] * (len(parts) - 1)
    assert [part["last"] for part in parts] == [False] * (len(parts) - 1) + [True]
    return parts


def test_a_hello_is_parted_by_count_and_confirmed_by_its_last_part() -> None:
    app = AppStage()
    app.replica.add(state("e0"), 90.0)
    app.replica.end("e0", "closed", None, [task("e0", 1)], 91.0)
    names = [f"s{number}" for number in range(MAX_BATCH_ITEMS)]
    for name in names:
        app.replica.add(state(name), 92.0)
    first, second = parts_of(app)
    # ends first, since they make room for the sessions
    assert first["ended"] == [{"s": "e0", "reason": "closed"}]
    assert [entry["s"] for entry in first["sessions"]] == names[:-1]
    assert [entry["s"] for entry in second["sessions"]] == names[-1:]
    assert (first["done"], second["ended"]) == ([], [])
    assert second["done"] == [task("e0", 1).fields(100.0)]
    hear(app.link, 101.0, "welcome", **welcome(1))
    hear(app.link, 101.0, "ack", n=1)
    assert app.replica.confirmed == set()
    assert list(app.replica.ended) == ["e0"]
    hear(app.link, 102.0, "ack", n=2)
    assert app.replica.confirmed == set(names)
    assert (app.replica.ended, list(app.replica.done)) == ({}, [])


def test_as_many_items_as_fit_are_one_part() -> None:
    app = AppStage()
    for number in range(MAX_BATCH_ITEMS):
        app.replica.add(state(f"s{number}"), 90.0)
    (hello,) = parts_of(app)
    assert len(hello["sessions"]) == MAX_BATCH_ITEMS


def test_a_hello_is_parted_by_bytes() -> None:
    app = AppStage()
    app.replica.add(state("s1"), 90.0)
    wide = "\N{GRINNING FACE}" * 2000
    done = [TaskDone("s1", number, "load", 90.0, 1.0, "error", wide) for number in range(1, 131)]
    app.replica.update(state("s1"), done, 91.0)
    parts = parts_of(app)
    assert len(parts) == 3
    assert [entry["no"] for part in parts for entry in part["done"]] == list(range(1, 131))
    for part, following in itertools.pairwise(parts):
        size = sum(len(encode(entry)) for entry in part["sessions"] + part["done"])
        assert HELLO_BYTES - len(encode(following["done"][0])) < size <= HELLO_BYTES


def test_a_part_may_be_filled_to_its_last_byte() -> None:
    def packed(error: str) -> int:
        return len(encode(TaskDone("s1", 1, "load", 90.0, 1.0, "error", error).fields(100.0)))

    count, rest = divmod(HELLO_BYTES, packed("x" * 2000))
    rest += packed("x" * 2000)  # for the last two, of any size between
    half = rest // 2 - packed("x" * 1000) + 1000
    errors = ["x" * 2000] * (count - 1) + ["x" * half, "x" * (half + rest % 2)]
    assert sum(map(packed, errors)) == HELLO_BYTES
    for more, parts in ((0, 1), (1, 2)):
        app = AppStage()
        texts = [*errors[:-1], errors[-1] + "x" * more]
        done = [TaskDone("s1", 1, "load", 90.0, 1.0, "error", text) for text in texts]
        app.replica.update(state("s1"), done, 91.0)
        assert len(parts_of(app)) == parts


# --- bounds --------------------------------------------------------------------------------------


def test_a_process_has_room_for_so_many_sessions() -> None:
    app = AppStage()
    for number in range(MAX_SESSIONS_PER_PROCESS):
        assert app.replica.add(state(f"s{number}"), 90.0)
    assert not app.replica.add(state("one too many"), 91.0)
    assert len(app.replica.sessions) == MAX_SESSIONS_PER_PROCESS
    app.replica.end("s0", "closed", None, [], 92.0)
    assert app.replica.add(state("fits now"), 93.0)


def test_the_oldest_finished_tasks_go_first() -> None:
    app = AppStage()
    app.replica.add(state("s1"), 90.0)
    for number in range(1, MAX_DONE_WAITING + 1):
        app.replica.update(state("s1"), [task("s1", number)], 91.0)
    assert app.replica.dropped_tasks == 0
    app.replica.update(state("s1"), [task("s1", 9_001), task("s1", 9_002)], 92.0)
    kept = [entry.task.number for entry in app.replica.done]
    assert kept == [*range(3, MAX_DONE_WAITING + 1), 9_001, 9_002]
    assert app.replica.dropped_tasks == 2


def test_the_oldest_ended_sessions_go_first() -> None:
    app = AppStage()
    for number in range(MAX_ENDED_WAITING + 2):
        app.replica.add(state(f"s{number}"), 90.0)
        app.replica.end(f"s{number}", "closed", None, [], 91.0)
    assert list(app.replica.ended) == [f"s{number}" for number in range(2, MAX_ENDED_WAITING + 2)]


# --- goodbye -------------------------------------------------------------------------------------


def test_all_is_settled_when_the_goodbye_is_acknowledged() -> None:
    app = AppStage.online("s1")
    app.replica.end("s1", "exit", None, [], 101.0)
    app.replica.bye(102.0)
    assert [message["k"] for message in said(app.link)] == ["end", "bye"]
    assert not app.replica.settled
    hear(app.link, 103.0, "ack", n=2)
    assert not app.replica.settled
    hear(app.link, 104.0, "ack", n=3)
    assert app.replica.settled


def test_nothing_is_settled_without_a_goodbye() -> None:
    app = AppStage.online()
    assert not app.replica.settled
    app.replica.bye(101.0)
    assert said(app.link) == [{"k": "bye", "n": 2}]
    hear(app.link, 102.0, "ack", n=1)
    assert not app.replica.settled
    hear(app.link, 102.0, "ack", n=2)
    assert app.replica.settled


def test_a_goodbye_before_the_welcome_follows_it() -> None:
    app = AppStage.online("s1")
    app.link.disconnected(101.0)
    app.link.connected(102.0)
    app.replica.bye(102.05)
    assert said(app.link) == []
    app.link.tick(102.2)
    assert [m["k"] for m in said(app.link)] == ["hello"]
    hear(app.link, 103.0, "welcome", **welcome(app.link.number))
    assert said(app.link) == [{"k": "bye", "n": 3}]
    hear(app.link, 103.0, "ack", n=3)
    assert app.replica.settled


def test_a_goodbye_that_was_lost_is_said_again_after_the_hello() -> None:
    app = AppStage.online("s1")
    app.replica.bye(101.0)
    said(app.link)
    hear(app.link, 102.0, "say_hello")
    said(app.link)
    hear(app.link, 103.0, "ack", n=app.link.number)
    assert not app.replica.settled
    hear(app.link, 103.0, "welcome", **welcome(app.link.number))
    assert said(app.link) == [{"k": "bye", "n": 4}]
    hear(app.link, 103.0, "ack", n=4)
    assert app.replica.settled


def test_an_acknowledgement_of_what_was_never_said_is_ignored() -> None:
    app = AppStage.online()
    app.replica.add(state("s1"), 101.0)
    app.replica.bye(101.0)
    hear(app.link, 102.0, "ack", n=1 << 62)
    assert not app.replica.settled
    assert app.replica.confirmed == set()
