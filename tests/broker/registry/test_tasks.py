"""A session's finished tasks, asked of the store and of what is on its way there."""

from __future__ import annotations

from typing import Any

import pytest

from broker.registry import apps, operators
from broker.registry.effects import ReadTasks
from broker.store import StoreUnavailable
from sessionclient.wire import TO_BROKER
from tests.support.bench import Bench, session


def task(number: int, name: str = "t", **more: Any) -> dict[str, Any]:
    return {"s": "s1", "no": number, "name": name, "age": 5, "took": 4, "outcome": "ok", **more}


def read_tasks(bench: Bench, session_id: str = "s1") -> dict[str, Any]:
    """Ask for a session's tasks, and answer the question that puts to the store."""
    bench.say(b"op", "tasks", r=1, s=session_id)
    (read,) = bench.registry.take_reads()
    assert isinstance(read, ReadTasks)
    rows = [row for row in bench.rows.tasks.values() if row.session_id == read.session_id]
    bench.registry.read_done(read, rows[-read.limit :])
    bench.settle()
    (answer,) = bench.take(b"op")
    return answer


def test_tasks_are_those_stored_and_those_still_on_their_way() -> None:
    bench = Bench()
    peer = bench.app(b"a", session("s1"), session("s2"))
    bench.operator()
    peer.say("status", s="s1", status="idle", done=[task(1)])
    bench.sleep(2.0)
    bench.commit()
    failed = task(2, outcome="error", error="ValueError: no")
    peer.say("status", s="s1", status="idle", done=[failed, {**task(1), "s": "s2"}])
    first, second = read_tasks(bench)["result"]["tasks"]
    assert (first["task_no"], first["outcome"], first["error"]) == (1, "ok", None)
    assert first["ended_at"] - first["started_at"] == pytest.approx(4.0)
    assert (second["task_no"], second["error"]) == (2, "ValueError: no")
    bench.sleep(2.0)
    bench.begin()  # on their way to the disk, neither here nor there
    assert len(read_tasks(bench)["result"]["tasks"]) == 2
    peer.say("end", s="s1", reason="closed")
    bench.commit()
    assert len(read_tasks(bench)["result"]["tasks"]) == 2


def test_tasks_of_an_unknown_session_and_of_a_broken_disk() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.operator()
    assert read_tasks(bench)["result"] == {"tasks": []}
    answer = read_tasks(bench, "nobody")
    assert answer["code"] == "not_found"
    assert "nobody" in answer["message"]
    bench.say(b"op", "tasks", r=2, s="s1")
    (read,) = bench.registry.take_reads()
    bench.registry.read_done(read, StoreUnavailable("the disk is gone", "io"))
    bench.settle()
    assert bench.take(b"op")[0]["code"] == "unavailable"


def test_every_kind_a_client_may_send_is_handled() -> None:
    handled = {"hello", *apps.HANDLERS, *operators.HANDLERS}
    assert handled == set(TO_BROKER)
    for kind, spec in TO_BROKER.items():
        if "app" in spec.roles and kind != "hello":
            assert kind in apps.HANDLERS
        if "operator" in spec.roles and kind != "hello":
            assert kind in operators.HANDLERS
