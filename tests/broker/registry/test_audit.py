"""Every kill has its rows, in the same transaction; what is refused is noted, but not for ever."""

from __future__ import annotations

from typing import Any

import pytest

from broker.registry import audit
from broker.registry.effects import ReadAudit
from broker.registry.model import Now
from broker.store import AuditRow, Batch
from tests.broker.stores import DictStore, audit_row
from tests.support.bench import WALL, Bench, session

WHO = "operator op-6f70 on host1 pid 42"


def rows(bench: Bench) -> list[AuditRow]:
    return [row for _, row in sorted(bench.rows.audit.items())]


def told(bench: Bench) -> list[tuple[str, str, str | None]]:
    """Action, outcome and detail."""
    bench.sleep(2.0)
    bench.commit()
    return [(row.action, row.outcome, row.detail) for row in rows(bench)]


def bench(*names: str) -> tuple[Bench, Any]:
    made = Bench()
    peer = made.app(b"a", *(session(name) for name in names))
    made.operator()
    return made, peer


def test_a_kill_and_its_row_are_in_one_transaction() -> None:
    made, peer = bench("s1")
    made.say(b"op", "kill", r=1, s="s1", reason="too long")
    batch = made.begin()
    assert batch is not None
    (command,), (row,) = batch.commands, batch.audit
    assert row == AuditRow(
        1, WALL, WHO, "kill", "requested", None, ("s1",), "too long", command.command_id, None
    )
    made.commit()
    peer.say("end", s="s1", reason="killed")
    assert told(made) == [("kill", "requested", None), ("kill", "completed", "1 of 1 ended")]
    assert [row.command_id for row in rows(made)] == [command.command_id] * 2


def test_a_kill_all_names_its_app_its_targets_and_what_failed() -> None:
    made, peer = bench("s1", "s2", "s3")
    made.say(b"op", "kill_all", r=1, app="sales")
    made.commit()
    peer.say("end", s="s1", reason="killed")
    peer.say("failed", s="s2", error="the loop is blocked")
    peer.say("end", s="s3", reason="killed")
    detail = "2 of 3 ended, 1 failed: the loop is blocked"
    assert told(made) == [("kill_all", "requested", None), ("kill_all", "failed", detail)]
    first, last = rows(made)
    assert (first.app_name, first.targets) == ("sales", ("s1", "s2", "s3"))
    assert (last.app_name, last.targets) == ("sales", ())


@pytest.mark.parametrize("kept", [False, True])
def test_a_kill_that_could_not_be_kept_leaves_both_rows(kept: bool) -> None:
    made, _ = bench("s1")
    made.say(b"op", "kill", r=1, s="s1")
    made.fail(kept=kept)
    assert made.take(b"op", "error")[0]["code"] == "unavailable"
    assert told(made) == [("kill", "requested", None), ("kill", "not accepted", "disk broken")]
    assert [row.number for row in rows(made)] == [1, 2]


def test_numbers_go_on_after_a_restart() -> None:
    made, _ = bench("s1", "s2")
    made.say(b"op", "kill", r=1, s="s1")
    made.commit()
    made.restart()
    made.operator()
    made.say(b"op", "kill", r=1, s="s2")
    made.commit()
    assert [(row.number, row.targets) for row in rows(made)] == [(1, ("s1",)), (2, ("s2",))]


def test_the_end_of_a_kill_is_noted_once_also_over_a_restart() -> None:
    made, peer = bench("s1")
    made.say(b"op", "kill", r=1, s="s1")
    made.commit()
    peer.say("end", s="s1", reason="killed")
    made.commit()  # the end is on the disk, the command's own end is not
    made.restart()
    assert [outcome for _, outcome, _ in told(made)] == ["requested", "completed"]
    made.restart()
    assert [outcome for _, outcome, _ in told(made)] == ["requested", "completed"]


def test_a_clean_up_names_what_it_ended() -> None:
    made, _ = bench("s1", "s2")
    made.sleep(30.0)
    made.say(b"op", "heartbeat", n=2)
    made.say(b"op", "cleanup", r=1, older=20.0)
    assert told(made) == [("cleanup", "done", "silent for more than 20 s")]
    assert rows(made)[0].targets == ("s1", "s2")


def test_what_is_refused_again_and_again_is_counted() -> None:
    made, _ = bench("s1")
    made.operator(b"v", role="viewer")
    for number in range(5):
        made.say(b"v", "kill", r=number, s="s1")
    why = "the role 'viewer' may not send 'kill'"
    assert told(made) == [("kill", "refused", why)]
    made.sleep(audit.REPEAT_INTERVAL)
    assert told(made)[1:] == [("kill", "refused", f"4 times more: {why}")]
    made.sleep(2 * audit.REPEAT_INTERVAL)
    assert len(told(made)) == 2
    made.say(b"v", "heartbeat", n=2)
    made.say(b"v", "kill", r=9, s="s1")
    assert told(made)[2:] == [("kill", "refused", why)]


def test_refusals_of_very_many_are_counted_together() -> None:
    trail, now = audit.Trail(), Now(1.0, WALL)
    for number in range(audit.MAX_REPEATS + 10):
        trail.refused(now, f"key {number}", "kill", "not yours", f"key {number} on some host")
    assert len(trail.rows) == audit.MAX_REPEATS + 1
    assert trail.rows[0].actor == "key 0 on some host"
    assert trail.rows[-1].actor == audit.OTHERS
    trail.tick(Now(1.0 + audit.REPEAT_INTERVAL, WALL))
    assert trail.rows[-1].detail == "9 times more: others were refused, too"


def test_strangers_leave_few_rows_and_hide_nobody_who_is_known() -> None:
    trail, now = audit.Trail(), Now(1.0, WALL)
    for number in range(10_000):
        trail.stranger(now, f"unknown keys from 10.0.{number // 256}.{number % 256}", "unknown")
    assert len(trail.rows) == audit.MAX_STRANGERS + 1
    trail.refused(now, "key eve", "kill", "not yours")
    assert trail.rows[-1].actor == "key eve"


def test_whoever_tries_under_many_names_is_one_in_the_audit() -> None:
    made, _ = bench("s1")
    for number in range(50):
        route = b"v%d" % number
        made.operator(route, role="viewer")
        made.say(route, "kill", r=1, s="s1")
    assert len(told(made)) == 1


def test_rows_a_failing_disk_has_not_taken_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_UNSAVED", 3)
    trail, now = audit.Trail(), Now(1.0, WALL)
    for number in range(5):
        trail.note(now, "ann", f"a{number}", "done")
    assert ([row.action for row in trail.rows], trail.dropped) == (["a2", "a3", "a4"], 2)
    taken = trail.take()
    trail.note(now, "ann", "a5", "done")
    trail.put_back(taken)
    assert ([row.action for row in trail.rows], trail.dropped) == (["a3", "a4", "a5"], 3)


def test_who_was_turned_away_by_the_transport_is_noted_and_counted() -> None:
    made = Bench()
    made.registry.denied("key x from 10.0.0.1", "unknown key", 3, made.now)
    made.registry.denied("key x from 10.0.0.1", "unknown key", 2, made.now)
    assert made.state.stats.rejected["unknown_key"] == 5
    assert told(made) == [("connect", "refused", "unknown key")]


def test_the_audit_is_read_in_pages_by_operators() -> None:
    made, peer = bench("s1", "s2", "s3")
    for number in (1, 2, 3):
        made.say(b"op", "kill", r=number, s=f"s{number}")
        made.commit()
    made.take(b"op")
    made.say(b"op", "audit", r=4, limit=2)
    made.answer_reads()
    (reply,) = made.take(b"op")
    found = reply["result"]
    assert [row["number"] for row in found["rows"]] == [3, 2]
    assert found["rows"][0] == {
        "number": 3,
        "at": WALL,
        "actor": WHO,
        "action": "kill",
        "outcome": "requested",
        "app_name": None,
        "targets": ["s3"],
        "reason": None,
        "command_id": found["rows"][0]["command_id"],
        "detail": None,
        "total": 1,
    }
    made.say(b"op", "audit", r=5, limit=2, before=found["next"])
    made.answer_reads()
    (reply,) = made.take(b"op")
    assert ([row["number"] for row in reply["result"]["rows"]], reply["result"]["next"]) == (
        [1],
        None,
    )
    peer.say("audit", r=6)
    assert peer.take("error")[0]["code"] == "forbidden"


def test_a_page_fits_a_frame_however_long_its_rows_are() -> None:
    made = Bench()
    made.operator()
    ids = tuple(f"{number:064d}" for number in range(150))
    for number in range(1, 60):
        made.rows.audit[number] = AuditRow(
            number, WALL, "x" * 600, "kill_all", "requested", "a", ids, "r" * 2000, "c", None
        )
    made.say(b"op", "audit", r=1, limit=1000)
    made.answer_reads()
    (reply,) = made.take(b"op")
    found = reply["result"]
    assert 1 < len(found["rows"]) < 59
    assert found["next"] == found["rows"][-1]["number"]
    assert (len(found["rows"][0]["targets"]), found["rows"][0]["total"]) == (100, 150)


def test_a_read_asks_the_store_for_its_page() -> None:
    store = DictStore()
    store.commit(Batch(audit=[audit_row(number) for number in (1, 2, 3)]))
    assert ReadAudit(b"op", 7, 3, 1).fetch(store) == [audit_row(2)]
