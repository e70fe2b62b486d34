"""One pool of processes for all sessions: made when first needed, gone with the last session."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiomultiprocess import Pool
from aiomultiprocess.types import ProxyException

from demos.engine import Engine, method_here
from demos.worker import StopEvent, worker

log = logging.getLogger("demos.pool")

POOL_PROCESSES: Final = 4
WORKERS_PER_RUN: Final = 2
STOP_TIME: Final = 3.0  # seconds workers have to end after they were told; milliseconds will do
LOOK: Final = 0.5  # seconds between two looks whether a worker's process is still there


class PoolProblem(RuntimeError):
    """Why a run can't start, in words for the user."""


@dataclass(eq=False)  # hashable, by what it is
class WorkerState:
    """One worker as the page shows it."""

    task_id: str
    state: str = "starting"  # then running; then stopped, failed, lost or abandoned
    pid: int | None = None
    started: float = 0.0  # monotonic seconds
    seconds: float | None = None  # how long it ran, once it has ended
    lines: int | None = None  # that it logged


class Run:
    """Two workers of one session, which share the session's own stop event."""

    def __init__(self, engine: Engine, event: StopEvent, session_id: str, number: int) -> None:
        self.engine = engine
        self._event = event
        self._told: float | None = None  # monotonic seconds, when they were told to stop
        # unique in the pool, because the scheduler goes by it
        ids = [f"{session_id[:8]}-{number}.{i + 1}" for i in range(WORKERS_PER_RUN)]
        self.workers = [WorkerState(task_id, started=time.monotonic()) for task_id in ids]
        self._session_id = session_id

    @property
    def stopping(self) -> bool:
        return self._told is not None

    def stop(self) -> None:
        """Tell both workers to end; from any thread, any number of times."""
        if self._told is None:
            self._told = time.monotonic()
        # the manager is gone, and with it whatever was to be told
        with suppress(OSError, EOFError):
            self._event.set()

    async def follow(self, changed: Callable[[], None]) -> None:
        """Run the workers until each has ended; ``changed`` is called when one's state changes.

        Nothing that waits is left behind: a worker whose process died would never answer, nor one
        that does not heed its event.
        """
        applied = {asyncio.ensure_future(self._apply(state)): state for state in self.workers}
        pending = set(applied)
        await asyncio.sleep(0)  # one turn of the loop, in which they are given to processes
        try:
            while pending:
                self._look({applied[task] for task in pending})
                for task in [task for task in pending if applied[task].seconds is not None]:
                    task.cancel()
                changed()
                _, pending = await asyncio.wait(
                    pending, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*applied, return_exceptions=True)
        changed()
        # a worker that was taken for lost may run yet, picked up by the process that followed
        if not self.stopping:
            await asyncio.to_thread(self.stop)

    async def _apply(self, state: WorkerState) -> None:
        arguments = (state.task_id, self._event, self._session_id)
        try:
            summary = await self.engine.pool.apply(worker, arguments)
        except ProxyException as error:
            log.warning("worker %s failed: %s", state.task_id, error)
            self._ended(state, "failed")
        else:
            state.lines = summary["lines"]
            self._ended(state, "stopped")

    def _look(self, pending: set[WorkerState]) -> None:
        """Notice where workers run, and which of them will not answer any more."""
        overdue = self._told is not None and time.monotonic() > self._told + STOP_TIME
        for state in pending:
            pid = self.engine.pid_of(state.task_id)
            if state.pid is None and pid is not None:
                state.pid, state.state = pid, "running"
            elif state.pid != pid:
                self._ended(state, "lost")
            elif overdue:
                self._ended(state, "abandoned")

    def _ended(self, state: WorkerState, how: str) -> None:
        state.state = how
        state.seconds = time.monotonic() - state.started
        self.engine.scheduler.forget(state.task_id, died=how == "lost")


class SharedPool:
    """`acquire` and `release` may be called in any thread, all else on the event loop."""

    def __init__(self, processes: int = POOL_PROCESSES, method: str | None = None) -> None:
        self._processes = processes
        self._method = method_here() if method is None else method
        self._lock = threading.Lock()
        self._sessions: set[str] = set()
        self._engine: Engine | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._number = 0

    @property
    def sessions(self) -> int:
        """How many share the pool."""
        return len(self._sessions)

    @property
    def size(self) -> int:
        """Processes the pool has, or will have."""
        return self._processes

    @property
    def pids(self) -> list[int]:
        """Of the pool's processes; none before the first run."""
        return [] if self._engine is None else self._engine.pids()

    def acquire(self, session_id: str) -> None:
        """This session shares the pool from now on. It costs nothing before the first run."""
        with self._lock:
            self._sessions.add(session_id)

    def release(self, session_id: str) -> None:
        """This session is over; with the last one the pool goes, too. May be repeated."""
        with self._lock:
            self._sessions.discard(session_id)
            engine = None if self._sessions else self._engine
        if engine is not None:
            with suppress(RuntimeError):  # the loop is closed: the process exits, and all with it
                engine.loop.call_soon_threadsafe(self._end_unless_used)

    def get_pool(self) -> Pool:
        """The pool, which is started if there is none."""
        return self._get_engine().pool

    def get_manager(self) -> Any:
        """The manager whose events the pool's workers understand."""
        return self._get_engine().manager

    def _get_engine(self) -> Engine:
        if self._engine is None:
            self._engine = Engine(self._processes, self._method)
            atexit.register(self._engine.end_now)
        return self._engine

    async def run(
        self, session_id: str, begun: Callable[[Run], None], changed: Callable[[], None]
    ) -> None:
        """Run two workers for this session until they have ended.

        Args:
            session_id: must have been acquired.
            begun: gets the run, with which it can be stopped.
            changed: called when a worker's state changes.

        Raises:
            PoolProblem: there is no room, or the pool is broken.
        """
        self._check(session_id)
        try:
            engine = self._get_engine()
        except (OSError, EOFError) as error:
            raise PoolProblem(f"The pool can't be started: {error}") from error
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a run needs a task of the event loop")
        engine.tasks.add(task)
        try:
            event = await self._new_event(engine)
            self._check(session_id)  # it may have ended meanwhile, and with it the pool
            run = self._new_run(engine, event, session_id)
            engine.runs.add(run)
            begun(run)
            try:
                await run.follow(changed)
            finally:
                engine.runs.discard(run)
        finally:
            engine.tasks.discard(task)

    def _check(self, session_id: str) -> None:
        if session_id not in self._sessions:
            raise PoolProblem("The session has ended.")

    def _new_run(self, engine: Engine, event: StopEvent, session_id: str) -> Run:
        if engine is not self._engine:
            raise PoolProblem("The pool is being ended; please try again.")
        if engine.scheduler.running + WORKERS_PER_RUN > engine.capacity:
            raise PoolProblem(f"All {engine.capacity} places of the pool are taken.")
        self._number += 1
        return Run(engine, event, session_id, self._number)

    async def _new_event(self, engine: Engine) -> StopEvent:
        try:
            event: StopEvent = await asyncio.to_thread(engine.manager.Event)
        except (OSError, EOFError) as error:
            # without its manager a pool can stop nobody: the next run gets a new one
            self._begin_end(engine)
            raise PoolProblem("The pool's manager has died; please try again.") from error
        return event

    async def shutdown(self) -> None:
        """End the pool and its manager, and wait for that. Without a pool nothing happens."""
        if self._engine is not None:
            self._begin_end(self._engine)
        me = asyncio.current_task()
        await asyncio.gather(*(task for task in self._ending if task is not me))

    def _end_unless_used(self) -> None:
        if not self._sessions and self._engine is not None:
            self._begin_end(self._engine)

    def _begin_end(self, engine: Engine) -> None:
        """From here on a new run gets a new pool; the old one ends by itself."""
        if self._engine is engine:
            self._engine = None
            ending = engine.loop.create_task(self._end(engine))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _end(self, engine: Engine) -> None:
        await engine.end(STOP_TIME)
        atexit.unregister(engine.end_now)
