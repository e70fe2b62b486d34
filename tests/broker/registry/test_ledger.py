"""Which rows go into which commit, and what happens to those whose commit fails."""

from __future__ import annotations

from typing import Any

import pytest

from broker.registry.model import Settings
from tests.support.bench import AppPeer, Bench, session


def test_the_newest_truth_of_a_command_survives_commits_that_fail() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"))
    bench.operator()
    bench.say(b"op", "kill", r=1, s="s1")
    bench.commit()
    command_id = peer.take()[0]["c"]
    bench.sleep(2.0)
    peer.say("delivered", c=command_id)
    bench.fail()  # the disk has not taken "delivered"
    peer.say("end", s="s1", reason="killed")
    bench.sleep(2.0)
    bench.fail()  # nor this batch, which holds it again beside "completed"
    bench.sleep(2.0)
    bench.commit()
    assert bench.rows.commands[command_id].stage == "completed"
    assert bench.rows.commands[command_id].finished_at is not None


def busy(bench: Bench, peer: AppPeer, status: str) -> None:
    peer.say("status", s="s1", status=status)


def test_a_kill_does_not_wait_for_rows_that_nobody_waits_for() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"), session("s2"))
    bench.operator()
    bench.commit()
    bench.sleep(0.9)
    busy(bench, peer, "working")
    bench.say(b"op", "kill", r=1, s="s2")
    bench.mono += 0.2  # now the flush is due, too
    first = bench.begin()
    assert first is not None
    assert ([row.session_id for row in first.statuses], len(first.commands)) == ([], 1)
    bench.commit()
    assert bench.rows.sessions["s1"].status == "working"


def test_nor_do_those_rows_wait_for_ever_behind_kills() -> None:
    bench = Bench()
    peer = bench.app(b"a", *(session(f"s{number}") for number in range(9)))
    bench.operator()
    bench.commit()
    bench.sleep(2.0)
    busy(bench, peer, "working")
    for number, written in enumerate(([], ["s1"], [])):
        bench.mono += 2.0
        bench.say(b"op", "kill", r=number, s=f"s{number + 2}")  # while the one before is written
        if bench.batch is not None:
            bench.rows.commit(bench.batch)
            bench.registry.committed(0.001, bench.now)
            bench.settle()
        batch = bench.begin()
        assert batch is not None
        assert ([row.session_id for row in batch.statuses], len(batch.commands)) == (written, 1)


@pytest.mark.parametrize("kept", [False, True])
def test_a_status_whose_commit_fails_is_written_by_a_later_one(kept: bool) -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"), session("s2"))
    bench.commit()
    bench.sleep(2.0)
    busy(bench, peer, "working")
    peer.say("status", s="s2", status="working")
    bench.mono += 2.0
    bench.begin()
    peer.say("end", s="s2", reason="stopped")
    bench.fail(kept=kept)
    bench.sleep(3.0)
    bench.commit()
    assert bench.rows.sessions["s1"].status == "working"
    assert bench.rows.sessions["s2"].end_reason == "stopped"


# --- pieces --------------------------------------------------------------------------------------

PIECES = Settings(rows_per_flush=3)


def step(bench: Bench) -> list[str]:
    """One commit; whose rows it had."""
    batch = bench.begin()
    assert batch is not None
    kept = bench.rows.commit(batch)
    bench.batch = None
    bench.registry.committed(0.001, bench.now, kept)
    bench.settle()
    return [row.session_id for row in batch.sessions]


def many(count: int, first: int = 1) -> list[dict[str, Any]]:
    return [session(f"s{number}") for number in range(first, first + count)]


def test_many_sessions_go_to_the_disk_in_pieces_the_oldest_first() -> None:
    bench = Bench(settings=PIECES)
    bench.app(b"a").hello(*many(7))
    assert [step(bench) for _ in range(3)] == [["s1", "s2", "s3"], ["s4", "s5", "s6"], ["s7"]]
    assert bench.begin() is None


def test_a_process_is_told_that_it_is_durable_with_the_last_piece() -> None:
    bench = Bench(settings=PIECES)
    big, small = bench.app(b"a"), bench.app(b"b", instance="other")
    big.hello(*many(5))
    small.hello(session("x"))
    for peer in (big, small):
        peer.take()
    assert step(bench) == ["s1", "s2", "s3"]
    big.say("heartbeat")
    before = [message["n"] for message in big.take("ack")]
    assert not small.take("ack")
    assert step(bench) == ["s4", "s5", "x"]
    (number,) = (message["n"] for message in big.take("ack"))
    assert before < [number]
    assert small.take("ack")


def test_nor_is_it_told_so_when_its_finished_tasks_are_written_before() -> None:
    bench = Bench(settings=PIECES)
    done = {"no": 1, "name": "t", "age": 5.0, "took": 4.0, "outcome": "ok"}
    peer = bench.app(b"a")
    bench.commit()
    peer.take()
    peer.hello(*many(5), done=[{"s": "s1", **done}])
    step(bench)
    assert [row.task_no for row in bench.rows.tasks.values()] == [1]
    assert not peer.take("ack")
    step(bench)
    assert peer.take("ack")


def test_a_kill_takes_the_sessions_it_is_about_along() -> None:
    """Else a crash would leave a kill of a session that the broker does not know."""
    bench = Bench(settings=PIECES)
    bench.operator()
    bench.app(b"a").hello(*many(7))
    bench.say(b"op", "kill", r=1, s="s6")
    assert step(bench) == ["s1", "s2", "s3", "s6"]
    assert bench.take(b"op", "reply")[0]["result"]["stage"] == "requested"
    bench.restart()
    assert bench.state.sessions["s6"].commands


def cleaning_up(sessions: int) -> Bench:
    """A bench whose operator has asked for the end of so many silent sessions, as request 1."""
    bench = Bench(settings=PIECES)
    bench.operator()
    bench.app(b"a", *many(sessions))
    bench.commit()
    bench.sleep(5.0)
    bench.take(b"op")
    bench.say(b"op", "cleanup", r=1, older=4.0)
    return bench


def test_whoever_ended_many_is_answered_with_the_last_of_them() -> None:
    bench = cleaning_up(7)
    bench.say(b"op", "create", r=2, app="web")
    bench.say(b"op", "delete", r=3, s=[*bench.state.sessions][-1])
    answered = []
    for _ in range(3):
        step(bench)
        answered.append([message["r"] for message in bench.take(b"op")])
    assert answered == [[], [], [1, 2, 3]]


def test_a_piece_that_fails_refuses_those_it_had_rows_of_and_no_others() -> None:
    bench = cleaning_up(5)
    assert bench.begin() is not None
    bench.say(b"op", "create", r=2, app="web")
    bench.fail()
    assert [(m["r"], m["code"]) for m in bench.take(b"op")] == [(1, "unavailable")]
    bench.jump(1.0)
    bench.commit()
    assert [message["r"] for message in bench.take(b"op", "reply")] == [2]
    assert {row.end_reason for row in bench.rows.sessions.values()} == {"stale", None}


def test_statuses_go_in_the_order_of_registration_each_once_and_the_newest() -> None:
    bench = Bench(settings=PIECES)
    peer = bench.app(b"a", *many(8))
    bench.commit()
    bench.sleep(2.0)
    for number in (7, 2, 8, 5, 1, 3, 6):
        peer.say("status", s=f"s{number}", status="working")
    peer.say("end", s="s3", reason="closed")
    bench.mono += 1.0
    first = bench.begin()
    assert first is not None
    assert [row.session_id for row in first.statuses] == ["s1", "s2", "s5"]
    peer.say("end", s="s6", reason="closed")  # it was to go next
    peer.say("status", s="s8", status="resting")
    peer.say("status", s="s2", status="resting")
    bench.rows.commit(first)
    bench.batch = None
    bench.registry.committed(0.001, bench.now)
    second = bench.begin()
    assert second is not None
    assert [(row.session_id, row.status) for row in second.statuses] == [
        ("s7", "working"),
        ("s8", "resting"),
        ("s2", "resting"),
    ]


def killing_all(sessions: int) -> tuple[Bench, AppPeer]:
    """A bench with an app of so many sessions, whose end as a whole was asked for and is stored."""
    bench = Bench(settings=PIECES)
    bench.operator()
    peer = bench.app(b"a", *many(sessions))
    bench.commit()
    bench.say(b"op", "kill_all", r=1, app="sales")
    bench.commit()
    return bench, peer


def test_a_finished_command_follows_the_ends_of_its_many_targets() -> None:
    bench, peer = killing_all(8)
    (command_id,) = bench.rows.commands
    peer.say("bye")
    assert [len(step(bench)) for _ in range(3)] == [3, 3, 2]
    assert bench.rows.commands[command_id].finished_at is None
    assert [row.outcome for row in bench.rows.audit.values()] == ["requested"]
    assert step(bench) == []
    assert bench.rows.commands[command_id].completed == 8
    assert [row.outcome for row in bench.rows.audit.values()] == ["requested", "completed"]


@pytest.mark.parametrize("kept", [False, True])
def test_it_does_so_too_when_a_piece_fails(kept: bool) -> None:
    bench, peer = killing_all(8)
    (command_id,) = bench.rows.commands
    peer.say("bye")
    step(bench)
    bench.fail(kept=kept)
    bench.jump(1.0)
    step(bench)
    assert bench.rows.commands[command_id].finished_at is None
    bench.commit()
    assert bench.rows.commands[command_id].completed == 8
    assert [row.outcome for row in bench.rows.audit.values()] == ["requested", "completed"]


def test_the_more_wait_the_larger_the_pieces() -> None:
    bench = Bench(settings=Settings(rows_per_flush=1))
    peer = bench.app(b"a")
    peer.hello(*many(64))
    assert len(step(bench)) == 4


def test_at_the_end_everything_goes_at_once() -> None:
    bench = Bench(settings=PIECES)
    bench.app(b"a").hello(*many(8))
    bench.registry.flush_now()
    assert len(step(bench)) == 8
    assert not bench.registry.unsaved()


def test_a_status_that_waits_is_that_of_the_session_as_it_is_now() -> None:
    """Not of the one that was cleaned up and came back under the same id."""
    bench = Bench(settings=PIECES)
    bench.operator()
    peer = bench.app(b"a", *many(5))
    bench.commit()
    bench.sleep(2.0)
    for number in range(1, 6):
        peer.say("status", s=f"s{number}", status="working")
    bench.mono += 1.0
    first = bench.begin()
    assert first is not None
    assert len(first.statuses) == 3
    bench.say(b"op", "cleanup", r=1, older=0.5)
    bench.commit()
    again = bench.app(b"a2", *many(5))
    bench.commit()
    again.say("status", s="s4", status="resting")
    bench.sleep(2.0)
    bench.commit()
    assert bench.rows.sessions["s4"].status == "resting"


def test_a_process_does_not_wait_for_a_session_that_is_another_s_now() -> None:
    bench = Bench(settings=Settings(max_tombstones=1, rows_per_flush=2))
    first, second = bench.app(b"a", *many(4)), bench.app(b"b", instance="other")
    bench.commit()
    second.take()
    for number in (2, 3, 1, 4):  # so that the ends of all but the last are forgotten
        first.say("end", s=f"s{number}", reason="closed")
    second.say("register", **session("s1"))
    step(bench)
    assert not second.take("ack")
    step(bench)
    assert bench.rows.sessions["s1"].process == "other" or second.take("refused")


def test_a_kill_whose_ends_reached_the_disk_before_it_did_is_finished_by_a_restart() -> None:
    bench, peer = killing_all(7)
    for number in range(1, 8):
        peer.say("end", s=f"s{number}", reason="killed")
    while bench.state.ledger.urgent:
        step(bench)
    (command,) = bench.rows.commands.values()
    assert command.finished_at is None
    bench.restart()
    (again,) = bench.state.finished.values()
    assert (again.command_id, again.stage) == (command.command_id, "completed")
    assert (again.completed, bench.state.open_commands) == (7, {})
