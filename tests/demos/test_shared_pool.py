"""The shared pool inside one event loop, with every way of starting processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest

from demos import shared_pool, worker
from demos.shared_pool import STOP_TIME, WORKERS_PER_RUN, PoolProblem, Run, SharedPool
from demos.worker import StopEvent

pytestmark = pytest.mark.process

METHODS = ["fork", "forkserver", "spawn"]
WAIT = 20.0  # seconds; generous, for a busy machine


async def stubborn(_task_id: str, _event: StopEvent, _session_id: str) -> dict[str, Any]:
    """A worker that does not heed its event."""
    await asyncio.Event().wait()
    return {}


async def failing(task_id: str, _event: StopEvent, _session_id: str) -> dict[str, Any]:
    raise ValueError(f"{task_id} can't")


class Session:
    """One session of the pool with its run."""

    def __init__(self, pool: SharedPool, session_id: str) -> None:
        self.pool, self.id = pool, session_id
        self.run: Run | None = None
        self._changed = asyncio.Event()
        pool.acquire(session_id)
        self.task = asyncio.ensure_future(
            pool.run(session_id, self._begun, lambda: self._changed.set())
        )

    def _begun(self, run: Run) -> None:
        self.run = run

    @property
    def states(self) -> list[str]:
        return [] if self.run is None else [worker.state for worker in self.run.workers]

    async def until(self, *states: str) -> None:
        """Wait until its workers are in these states."""
        async with asyncio.timeout(WAIT):
            while self.states != list(states):
                await self._changed.wait()
                self._changed.clear()

    async def stopped(self) -> None:
        assert self.run is not None
        await asyncio.to_thread(self.run.stop)
        async with asyncio.timeout(WAIT):
            await self.task


def children() -> list[psutil.Process]:
    """The pool's processes and its manager; not what multiprocessing keeps for itself."""
    own = psutil.Process().children(recursive=True)
    return [p for p in own if not is_helper(p)]


def is_helper(process: psutil.Process) -> bool:
    words = " ".join(process.cmdline())
    return "resource_tracker" in words or ("forkserver" in words and process.ppid() == os.getpid())


def in_loop(test: Callable[[], Awaitable[None]]) -> None:
    """Run it; afterwards nothing may be pending and no process may be left."""

    async def run() -> None:
        await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    before = set(children())
    asyncio.run(run())
    assert set(children()) <= before


@pytest.mark.parametrize("method", METHODS)
def test_a_session_s_end_stops_its_own_workers_and_the_last_one_ends_all(method: str) -> None:
    async def test() -> None:
        pool = SharedPool(2, method)
        assert pool.pids == []
        first, second = Session(pool, "first"), Session(pool, "second")
        await first.until("running", "running")
        await second.until("running", "running")
        assert pool.sessions == 2
        assert len(set(pool.pids)) == 2
        assert first.run is not None
        assert {w.pid for w in first.run.workers} == set(pool.pids)  # one in each process
        await first.stopped()
        assert first.states == ["stopped", "stopped"]
        assert all(w.lines == 1 for w in first.run.workers)
        assert second.states == ["running", "running"]
        pool.release("first")
        pool.release("first")
        assert pool.sessions == 1
        await asyncio.sleep(0)
        assert len(pool.pids) == 2
        pool.release("second")  # while its workers run: they are told, and waited for
        async with asyncio.timeout(WAIT):
            await second.task
        assert second.states == ["stopped", "stopped"]
        await pool.shutdown()
        assert pool.pids == []

    in_loop(test)


def test_a_session_that_comes_as_the_last_one_goes_keeps_the_pool() -> None:
    async def test() -> None:
        pool = SharedPool(1)
        pool.acquire("one")
        before = pool.get_pool()
        pool.release("one")
        pool.acquire("two")
        for _ in range(3):  # turns of the loop, in which it would go
            await asyncio.sleep(0)
        assert pool.get_pool() is before
        await pool.shutdown()

    in_loop(test)


def test_a_shut_down_pool_is_followed_by_a_new_one() -> None:
    async def test() -> None:
        pool = SharedPool(1)
        pool.acquire("one")
        before = pool.get_pool()
        assert pool.get_pool() is before
        assert pool.get_manager() is pool.get_manager()
        await pool.shutdown()
        await pool.shutdown()
        assert pool.get_pool() is not before
        await pool.shutdown()

    in_loop(test)


def test_workers_that_do_not_heed_are_left_behind_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_pool, "worker", stubborn)

    async def test() -> None:
        pool = SharedPool(1)
        session, other = Session(pool, "deaf"), Session(pool, "too")
        await session.until("running", "running")
        started = asyncio.get_running_loop().time()
        await session.stopped()
        assert session.states == ["abandoned", "abandoned"]
        assert asyncio.get_running_loop().time() - started < STOP_TIME + WAIT
        await other.until("running", "running")
        await pool.shutdown()  # with awaitables that would never be done
        async with asyncio.timeout(WAIT):
            await asyncio.gather(other.task, return_exceptions=True)
        assert other.task.done()

    in_loop(test)


def test_what_a_worker_raises_is_its_own_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_pool, "worker", failing)

    async def test() -> None:
        pool = SharedPool(1)
        session = Session(pool, "one")
        async with asyncio.timeout(WAIT):
            await session.task
        assert session.states == ["failed", "failed"]
        await pool.shutdown()

    in_loop(test)


def test_a_worker_whose_process_dies_is_noticed() -> None:
    async def test() -> None:
        pool = SharedPool(2)
        session = Session(pool, "one")
        await session.until("running", "running")
        assert session.run is not None
        pid = session.run.workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await session.until("lost", "running")
        await session.stopped()
        assert session.states == ["lost", "stopped"]
        await pool.shutdown()

    in_loop(test)


def test_a_dead_manager_is_told_and_replaced() -> None:
    async def test() -> None:
        pool = SharedPool(1)
        pool.acquire("one")
        pool.get_pool()
        (manager,) = [p for p in children() if p.pid not in pool.pids]
        manager.kill()
        manager.wait(WAIT)
        with pytest.raises(PoolProblem, match="manager has died"):
            await pool.run("one", lambda _run: None, lambda: None)
        session = Session(pool, "two")
        await session.until("running", "running")
        await session.stopped()
        await pool.shutdown()

    in_loop(test)


def test_a_pool_that_is_full_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PER_PROCESS", WORKERS_PER_RUN)

    async def test() -> None:
        pool = SharedPool(1)
        session = Session(pool, "one")
        await session.until("running", "running")
        with pytest.raises(PoolProblem, match="All 2 places of the pool are taken"):
            await Session(pool, "two").task
        await session.stopped()
        again = Session(pool, "two")
        await again.until("running", "running")
        await again.stopped()
        await pool.shutdown()

    in_loop(test)


def test_a_session_that_is_over_starts_nothing() -> None:
    async def test() -> None:
        pool = SharedPool(1)
        with pytest.raises(PoolProblem, match="The session has ended"):
            await pool.run("never acquired", lambda _run: None, lambda: None)
        await pool.shutdown()

    in_loop(test)
