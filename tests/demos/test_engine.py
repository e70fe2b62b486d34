"""How processes are started, where workers go, and the private name that one manager needs."""

from __future__ import annotations

import inspect

import aiomultiprocess.core
import pytest
from aiomultiprocess.types import QueueID, TaskID

from demos.engine import LeastLoaded, start_method


@pytest.mark.parametrize(
    ("platform", "version", "method"),
    [
        ("linux", (3, 11), "fork"),
        ("darwin", (3, 11), "fork"),
        ("linux", (3, 12), "forkserver"),
        ("darwin", (3, 14), "forkserver"),
        ("win32", (3, 11), "spawn"),
        ("win32", (3, 14), "spawn"),
    ],
)
def test_the_start_method(platform: str, version: tuple[int, int], method: str) -> None:
    assert start_method(platform, version) == method


async def nothing() -> None:
    """A worker that is never run."""


def placed(scheduler: LeastLoaded, number: int, name: str) -> QueueID:
    return scheduler.schedule_task(TaskID(number), nothing, (name,), {})


def test_tasks_go_where_there_is_most_room() -> None:
    scheduler = LeastLoaded()
    first, second = scheduler.register_queue(None), scheduler.register_queue(None)
    assert [placed(scheduler, n, f"w{n}") for n in range(4)] == [first, second, first, second]
    assert scheduler.running == 4
    scheduler.complete_task(TaskID(1))
    scheduler.complete_task(TaskID(3))
    assert placed(scheduler, 4, "w4") == second
    assert scheduler.queue_of("w4") == second
    assert scheduler.running == 3


def test_a_forgotten_task_keeps_its_place_unless_its_process_died() -> None:
    scheduler = LeastLoaded()
    scheduler.register_queue(None)
    placed(scheduler, 1, "stays")
    placed(scheduler, 2, "dies")
    scheduler.forget("stays")
    scheduler.forget("dies", died=True)
    scheduler.forget("unknown", died=True)
    assert scheduler.queue_of("stays") is None
    assert scheduler.running == 1


def test_aiomultiprocess_keeps_its_manager_where_the_engine_puts_ours() -> None:
    source = inspect.getsource(aiomultiprocess.core.get_manager)
    assert "global _manager" in source
    assert "if _manager is None" in source
