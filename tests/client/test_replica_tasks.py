"""Finished tasks go in messages that fit, however many there are and however long."""

from __future__ import annotations

from sessionclient.replica import MAX_DONE_WAITING, TASKS_PER_MESSAGE, TaskDone
from sessionclient.wire import MAX_LONG_TEXT_CHARS, MAX_TEXT_CHARS
from tests.client.stage import hear, said
from tests.client.stage_app import AppStage, state

WIDE = "\N{GRINNING FACE}"  # four bytes


def many(count: int) -> list[TaskDone]:
    """Tasks with the longest texts there may be."""
    name, error = WIDE * MAX_TEXT_CHARS, WIDE * MAX_LONG_TEXT_CHARS
    return [TaskDone("s1", n, name, 80.0, 1.0, "error", error) for n in range(1, count + 1)]


def test_many_finished_tasks_are_told_in_several_messages() -> None:
    app = AppStage.online("s1")
    app.replica.update(state("s1", "running"), many(2 * TASKS_PER_MESSAGE + 1), 101.0)
    messages = said(app.link)
    assert [(m["k"], m["status"], len(m["done"])) for m in messages] == [
        ("status", "running", TASKS_PER_MESSAGE),
        ("status", "running", TASKS_PER_MESSAGE),
        ("status", "running", 1),
    ]
    hear(app.link, 102.0, "ack", n=messages[1]["n"])
    assert len(app.replica.done) == 1


def test_an_end_comes_after_the_tasks_that_do_not_fit_beside_it() -> None:
    app = AppStage.online("s1")
    app.replica.end("s1", "closed", None, many(TASKS_PER_MESSAGE + 2), 101.0)
    messages = said(app.link)
    assert [(m["k"], len(m["done"])) for m in messages] == [
        ("status", TASKS_PER_MESSAGE),
        ("end", 2),
    ]
    hear(app.link, 102.0, "ack", n=messages[-1]["n"])
    assert (len(app.replica.done), app.replica.ended) == (0, {})


def test_all_that_may_wait_can_be_told() -> None:
    app = AppStage.online("s1")
    app.replica.update(state("s1"), many(MAX_DONE_WAITING), 101.0)
    assert sum(len(m["done"]) for m in said(app.link)) == MAX_DONE_WAITING


def test_a_refused_session_leaves_nothing_behind() -> None:
    app = AppStage.online("s1")
    app.kill(101.0, "c1", "s1")
    app.replica.failed("s1", "the loop is blocked", 101.0)
    hear(app.link, 102.0, "refused", s="s1", reason="it has ended")
    said(app.link)
    app.kill(103.0, "c2", "s1")
    told = [(m["k"], m.get("s"), m.get("reason")) for m in said(app.link)]
    assert told == [("delivered", None, None), ("end", "s1", "gone")]
