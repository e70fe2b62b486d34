"""Greeting, numbering and state: what app processes say and how the registry holds it."""

from __future__ import annotations

import pytest

from broker.registry.model import Settings
from tests.support.bench import WALL, Bench, greeting, session


def test_a_hello_is_welcomed_and_its_sessions_are_live() -> None:
    bench = Bench()
    peer = bench.app(b"a")
    peer.say("register", **session("s1", user="ann", age=5.0))
    bench.commit()
    row = bench.state.sessions["s1"].wire()
    assert row == {
        "session_id": "s1",
        "seq": 1,
        "app_name": "sales",
        "user_id": "ann",
        "start_time": WALL - 5.0,
        "status": "idle",
        "current_task": None,
        "task_start": None,
        "kill_requested": False,
        "kill_reason": None,
        "kill_stage": None,
        "kill_error": None,
        "process": "proc",
        "host": "host1",
        "pid": 42,
        "source": "bus",
        "heard": 0.0,
    }
    assert bench.rows.sessions["s1"].app_name == "sales"


def test_the_welcome_tells_the_feed_and_the_epoch() -> None:
    bench = Bench()
    bench.say(b"a", "hello", **greeting(n=7))
    assert bench.take(b"a") == [
        {
            "k": "welcome",
            "n": 7,
            "v": 1,
            "epoch": bench.state.epoch,
            "feed": "tcp://127.0.0.1:5761",
            "stale_after": 120.0,
            "version": "test",
        }
    ]


def test_a_registration_is_acknowledged_only_when_committed() -> None:
    bench = Bench()
    peer = bench.app(b"a")
    peer.say("register", **session("s1"))
    assert peer.take() == []
    bench.commit()
    assert peer.take() == [{"k": "ack", "n": 2}]


def test_a_failed_commit_withholds_the_acknowledgement_until_a_later_one() -> None:
    bench = Bench()
    peer = bench.app(b"a")
    peer.say("register", **session("s1"))
    bench.fail()
    assert peer.take() == []
    peer.say("heartbeat")
    assert peer.take() == [{"k": "ack", "n": 1}]
    bench.jump(1.0)
    bench.commit()
    assert peer.take() == [{"k": "ack", "n": 3}]
    assert bench.rows.sessions["s1"].ended_at is None


def test_a_message_before_hello_is_asked_to_say_hello() -> None:
    bench = Bench()
    bench.say(b"a", "heartbeat", n=1)
    assert bench.take(b"a") == [{"k": "say_hello"}]


def test_a_repeat_is_ignored_and_a_gap_asks_for_hello_once() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    bench.say(b"a", "end", n=1, s="s1", reason="stopped")  # an old number
    assert "s1" in bench.state.sessions
    bench.say(b"a", "end", n=3, s="s1", reason="stopped")  # 2 is missing
    bench.say(b"a", "end", n=4, s="s1", reason="stopped")
    assert "s1" in bench.state.sessions
    assert peer.take() == [{"k": "say_hello"}]
    bench.sleep(1.0)
    bench.say(b"a", "end", n=5, s="s1", reason="stopped")
    assert peer.take() == []
    bench.sleep(1.0)  # the question, or its answer, may have been lost
    bench.say(b"a", "end", n=6, s="s1", reason="stopped")
    assert peer.take() == [{"k": "say_hello"}]
    peer.n = 6
    peer.hello()
    assert bench.state.sessions == {}
    assert [m["k"] for m in peer.take()] == ["welcome"]


def test_hello_makes_the_view_equal() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"), session("s2"))
    peer.hello(session("s2", status="running", task="load", task_age=2.0), session("s3"))
    bench.commit()
    assert set(bench.state.sessions) == {"s2", "s3"}
    assert bench.rows.sessions["s1"].end_reason == "gone"
    assert bench.state.sessions["s2"].task == "load"
    assert bench.state.sessions["s2"].task_start == WALL - 2.0


def test_a_hello_in_parts_counts_only_when_it_is_whole() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"), session("s2"))
    peer.hello(session("s1"), last=False)
    assert set(bench.state.sessions) == {"s1", "s2"}
    assert peer.take() == []
    peer.say("hello_part", sessions=[session("s3")], ended=[], last=True)
    assert set(bench.state.sessions) == {"s1", "s3"}
    assert peer.take("welcome")[0]["n"] == 2


def test_a_hello_part_without_a_hello_is_ignored() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    peer.say("hello_part", sessions=[], ended=[], last=True)
    assert set(bench.state.sessions) == {"s1"}


def test_a_greeting_of_too_many_sessions_is_refused() -> None:
    bench = Bench(settings=Settings(max_sessions_per_process=2))
    peer = bench.app(b"a")
    peer.hello(*(session(f"s{i}") for i in range(5)))
    assert peer.take()[0]["code"] == "too_many"
    assert bench.state.sessions == {}


def test_ended_sessions_in_a_hello_end_with_their_own_reason() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    peer.hello(ended=[{"s": "s1", "reason": "closed"}, {"s": "never", "reason": "closed"}])
    bench.commit()
    assert bench.rows.sessions["s1"].end_reason == "closed"
    assert "never" not in bench.rows.sessions


def test_a_new_connection_replaces_the_old_one() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    peer.route = b"b"
    peer.hello(session("s1"))
    assert bench.state.processes["proc"].route == b"b"
    bench.say(b"a", "end", n=peer.n + 1, s="s1", reason="stopped")  # the frozen predecessor
    assert "s1" in bench.state.sessions
    assert bench.take(b"a") == [{"k": "say_hello"}]


def test_a_late_hello_of_an_earlier_connection_is_ignored() -> None:
    bench = Bench()
    peer = bench.app(b"b", session("s1"))
    bench.say(b"a", "hello", **greeting(n=peer.n))
    assert bench.state.processes["proc"].route == b"b"
    assert "s1" in bench.state.sessions


def test_an_instance_is_proven_by_its_secret() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.say(b"x", "hello", **greeting(n=99) | {"secret": b"another secret.."})
    (answer,) = bench.take(b"x")
    assert answer["code"] == "forbidden"
    assert bench.state.processes["proc"].route == b"a"
    assert "s1" in bench.state.sessions


def test_the_secret_is_still_asked_after_a_restart() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.restart()
    bench.say(b"x", "hello", **greeting(n=99) | {"secret": b"another secret.."})
    assert bench.take(b"x")[0]["code"] == "forbidden"
    assert "s1" in bench.state.sessions


def test_another_process_cannot_claim_or_end_a_session() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    thief = bench.app(b"t", instance="thief")
    thief.say("register", **session("s1"))
    assert thief.take()[0] == {
        "k": "refused",
        "s": "s1",
        "reason": "it belongs to another process",
    }
    thief.say("end", s="s1", reason="stopped")
    thief.say("status", s="s1", status="running")
    assert bench.state.sessions["s1"].process.instance == "proc"
    assert bench.state.sessions["s1"].status == "idle"


def test_a_connection_speaks_for_one_instance_in_one_role() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.operator(b"op")
    refused = {
        "k": "error",
        "code": "forbidden",
        "message": (
            "this connection speaks for another instance or role already; open one of its own"
        ),
    }
    for role, instance in (("app", "second"), ("viewer", "proc"), ("operator", "second")):
        bench.say(b"a", "hello", **greeting(role, instance, 9, sessions=[]))
        assert bench.take(b"a") == [refused]
    for role in ("app", "viewer"):
        bench.say(b"op", "hello", **greeting(role, "second", 9))
        assert bench.take(b"op") == [refused]
    assert bench.state.stats.rejected == {"second_identity": 5}
    assert set(bench.state.processes) == {"proc"}
    assert bench.state.processes["proc"].route == b"a"
    assert set(bench.state.sessions) == {"s1"}
    assert [peer.role for peer in bench.state.peers.values()] == ["app", "operator"]
    bench.operator(b"op")  # the same again is no other


def test_a_forgotten_connection_may_present_itself_as_anybody() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.sleep(bench.settings.cleanup_after + 2)
    bench.app(b"a", session("s2"), instance="second")
    assert set(bench.state.sessions) == {"s2"}


def test_another_task_of_the_same_status_is_told() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    for task in ("load", "save"):
        peer.say("status", s="s1", status="running", task=task, task_age=0.0)
        assert bench.state.sessions["s1"].task == task
    assert bench.state.statuses == {"sales": {"running": 1}}
    began = bench.state.sessions["s1"].task_start
    bench.sleep(10.0)
    peer.say("status", s="s1", status="running", task="save", task_age=0.0)  # begun anew
    assert bench.state.sessions["s1"].task_start == began + 10.0


def test_status_and_tasks_are_kept() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    peer.say("status", s="s1", status="running", task="load", task_age=1.0)
    done = {"s": "s1", "no": 1, "name": "load", "age": 3.0, "took": 2.0, "outcome": "ok"}
    peer.say("status", s="s1", status="idle", done=[done])
    bench.sleep(2.0)
    bench.commit()
    assert bench.rows.sessions["s1"].status == "idle"
    task = bench.rows.tasks["s1", 1]
    assert (task.started_at, task.ended_at, task.outcome) == (WALL - 3.0, WALL - 1.0, "ok")
    assert peer.take() == [{"k": "ack", "n": 3}]


def test_a_number_is_not_acknowledged_before_the_tasks_below_it() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    done = {"s": "s1", "no": 1, "name": "load", "age": 3.0, "took": 2.0, "outcome": "ok"}
    peer.say("status", s="s1", status="idle", done=[done])
    peer.say("register", **session("s2"))
    bench.commit()
    assert "s2" in bench.rows.sessions
    assert ("s1", 1) not in bench.rows.tasks
    assert peer.take() == []
    bench.sleep(1.0)
    bench.fail()
    assert peer.take() == []
    bench.sleep(1.0)
    bench.commit()
    assert ("s1", 1) in bench.rows.tasks
    assert peer.take() == [{"k": "ack", "n": 3}]


def test_a_greeting_is_acknowledged_by_the_next_commit_with_the_tasks_it_brings() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))  # whose commit was the flush of this second
    done = {"s": "s1", "no": 1, "name": "load", "age": 3.0, "took": 2.0, "outcome": "ok"}
    peer.hello(session("s1"), done=[done])
    peer.take()
    bench.commit()  # at the same instant
    assert ("s1", 1) in bench.rows.tasks
    assert peer.take() == [{"k": "ack", "n": 2}]


def test_repeated_statements_change_nothing() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1", status="running", task="load", task_age=1.0))
    bench.published.clear()
    bench.sleep(5.0)
    peer.hello(session("s1", status="running", task="load", task_age=6.2))
    assert [c for m in bench.published for c in m["changes"] if c[0] != "h"] == []


def test_bye_ends_all_sessions_of_the_process_only() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"), session("s2"))
    bench.app(b"b", session("s3"), instance="other")
    peer.say("bye")
    bench.commit()
    assert set(bench.state.sessions) == {"s3"}
    assert bench.rows.sessions["s1"].end_reason == "exit"
    assert peer.take() == [{"k": "ack", "n": 2}]


def test_what_ended_for_good_stays_ended() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    peer.say("end", s="s1", reason="stopped")
    bench.commit()
    peer.take()
    peer.say("register", **session("s1"))
    assert bench.state.sessions == {}
    assert peer.take() == [{"k": "refused", "s": "s1", "reason": "it has ended (stopped)"}]


def test_silence_ends_a_session_and_its_own_return_takes_that_back() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    bench.sleep(601.0)
    bench.commit()
    assert bench.state.sessions == {}
    assert bench.rows.sessions["s1"].end_reason == "stale"
    peer.say("heartbeat")
    assert peer.take() == [{"k": "say_hello"}]
    peer.hello(session("s1", age=700.0))
    bench.commit()
    assert set(bench.state.sessions) == {"s1"}
    assert bench.rows.sessions["s1"].ended_at is None


def test_our_own_sleep_is_not_taken_for_silence() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.jump(3600.0)
    assert "s1" in bench.state.sessions


def test_our_own_sleep_is_not_taken_for_silence_however_short_silence_is_set() -> None:
    bench = Bench(settings=Settings(stale_after=1.0, cleanup_after=2.0))
    bench.app(b"a", session("s1"))
    bench.jump(4.0)
    assert bench.state.observed < 1.0
    assert "s1" in bench.state.sessions


def test_a_loop_that_turns_when_it_is_told_to_loses_no_time() -> None:
    bench = Bench(settings=Settings(stale_after=1.0, cleanup_after=2.0))
    bench.app(b"a", session("s1"))
    began = bench.mono, bench.state.observed
    while "s1" in bench.state.sessions:
        bench.registry.beat(bench.now)
        bench.jump(bench.registry.next_deadline(bench.now) - bench.mono)
    assert bench.mono - began[0] == pytest.approx(bench.state.observed - began[1])
    assert 2.0 <= bench.mono - began[0] < 3.1


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wall_clock_that_jumps_moves_no_timeout(hours: int) -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.wall += hours * 3600.0
    bench.sleep(590.0)
    assert "s1" in bench.state.sessions
    bench.sleep(12.0)
    assert bench.state.sessions == {}


def test_a_clock_that_went_back_makes_nobody_younger() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.sleep(500.0)
    before = bench.state.observed
    bench.jump(-100.0)
    assert bench.state.observed == before
    bench.sleep(202.0)
    assert bench.state.sessions == {}


def test_after_a_restart_everybody_has_the_whole_time_again() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.sleep(500.0)
    bench.restart()
    bench.sleep(590.0)
    assert "s1" in bench.state.sessions


def test_a_flood_of_registrations_stops_at_the_limit() -> None:
    bench = Bench(settings=Settings(max_sessions_per_process=3))
    peer = bench.app(b"a")
    for number in range(5):
        peer.say("register", **session(f"s{number}"))
    assert len(bench.state.sessions) == 3
    assert [m["s"] for m in peer.take("refused")] == ["s3", "s4"]


def test_too_many_processes_and_peers_are_refused() -> None:
    bench = Bench(settings=Settings(max_processes=1, max_peers=2))
    bench.app(b"a")
    bench.say(b"b", "hello", **greeting(instance="second"))
    assert bench.take(b"b")[0]["code"] == "too_many"
    bench.operator(b"c")
    bench.say(b"d", "hello", **greeting(role="viewer", instance="v"))
    assert bench.take(b"d")[0]["code"] == "too_many"


def test_a_vanished_connection_is_dropped_and_its_process_stays() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.registry.unreachable(b"a")
    bench.registry.unreachable(b"never")
    assert bench.state.processes["proc"].route is None
    assert "s1" in bench.state.sessions


def test_an_app_may_not_speak_as_an_operator_nor_a_viewer_kill() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.say(b"a", "kill", r=1, s="s1")
    assert bench.take(b"a")[0]["code"] == "forbidden"
    bench.operator(b"v", role="viewer")
    bench.say(b"v", "kill", r=1, s="s1")
    assert bench.take(b"v")[0]["code"] == "forbidden"
    bench.say(b"v", "end", n=2, s="s1", reason="stopped")
    assert bench.take(b"v")[0]["code"] == "forbidden"
    assert not bench.state.sessions["s1"].commands


def test_a_session_for_which_there_is_no_room_is_refused_with_the_limit() -> None:
    bench = Bench(settings=Settings(max_sessions_per_process=2, max_sessions=3))
    peer = bench.app(b"a", session("s1"), session("s2"))
    peer.say("register", **session("s3"))
    assert peer.take() == [
        {
            "k": "refused",
            "s": "s3",
            "reason": "its process has 2 sessions already, the most there may be; end some",
        }
    ]
    other = bench.app(b"b", session("s4"), instance="other")
    other.say("register", **session("s5"))
    reason = "the broker has 3 sessions already, the most there may be"
    assert other.take() == [{"k": "refused", "s": "s5", "reason": reason}]
    assert bench.state.stats.rejected == {"too_many_sessions": 2}
    peer.say("end", s="s1", reason="closed")
    peer.say("register", **session("s6"))
    bench.commit()
    assert set(bench.state.sessions) == {"s2", "s4", "s6"}
