"""Which task a session shows: the newest that is open."""

from __future__ import annotations

from sessionclient.tasks import TaskStack


def test_a_session_without_tasks_is_idle() -> None:
    assert TaskStack().current() == ("idle", None, None)


def test_tasks_are_numbered_from_one_and_never_again() -> None:
    stack = TaskStack()
    assert [stack.start("load", 1.0), stack.start("plot", 2.0)] == [1, 2]
    stack.end(2)
    stack.end(1)
    assert stack.start("load", 3.0) == 3
    assert stack.started == 3


def test_the_enclosing_task_shows_again_when_the_nested_one_ends() -> None:
    stack = TaskStack()
    outer = stack.start("load", 1.0)
    inner = stack.start("parse", 2.0)
    assert stack.current() == ("running", "parse", 2.0)
    assert stack.end(inner) == ("parse", 2.0)
    assert stack.current() == ("running", "load", 1.0)
    assert stack.end(outer) == ("load", 1.0)
    assert stack.current() == ("idle", None, None)


def test_concurrent_tasks_may_end_in_any_order() -> None:
    stack = TaskStack()
    first, second, third = (stack.start(f"task {at}", float(at)) for at in (1, 2, 3))
    stack.end(second)
    assert stack.current() == ("running", "task 3", 3.0)
    stack.end(third)
    assert stack.current() == ("running", "task 1", 1.0)
    stack.end(first)
    assert stack.current() == ("idle", None, None)


def test_a_task_ends_once() -> None:
    stack = TaskStack()
    number = stack.start("load", 1.0)
    assert stack.end(number) == ("load", 1.0)
    assert stack.end(number) is None
    assert stack.end(0) is None
    assert stack.end(99) is None


def test_stacks_share_nothing() -> None:
    TaskStack().start("load", 1.0)
    assert TaskStack().current() == ("idle", None, None)
