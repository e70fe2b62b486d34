"""What happens to rows whose commit fails."""

from __future__ import annotations

from tests.support.bench import Bench, session


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
