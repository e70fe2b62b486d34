"""Which rows go into which commit, and what happens to those whose commit fails."""

from __future__ import annotations

import pytest

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
