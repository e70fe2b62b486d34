"""The processes behind the shared pool: workers and their manager, started and ended together."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.context
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any, Final, Protocol

import aiomultiprocess
import aiomultiprocess.core
from aiomultiprocess.types import QueueID, TaskID

from demos import child, worker

END_TIME: Final = 5.0  # seconds terminated processes have before they are killed


def start_method(platform: str, version: tuple[int, int]) -> str:
    """How to start processes on this platform (as `sys.platform`) and Python version.

    Windows can only spawn. Elsewhere they are forked: at once there, and they share the memory of
    what is loaded. The server has threads, and a fork copies locks that those hold; nothing a
    worker uses is among them, and sessionclient starts afresh in a forked child. Python 3.12 and
    later warn of such a fork all the same, so there they are forked by a server process that has
    one thread, which is what Python 3.14 made its own default.
    """
    if platform == "win32":
        return "spawn"
    return "forkserver" if version >= (3, 12) else "fork"


def method_here() -> str:
    """The `start_method` of this interpreter."""
    return start_method(sys.platform, (sys.version_info.major, sys.version_info.minor))


class LeastLoaded(aiomultiprocess.Scheduler):
    """Gives each task to the queue with the fewest, and remembers where each worker went.

    With one queue a process that is the process with the most room, so a session's two workers run
    in two processes.
    """

    def __init__(self) -> None:
        self._tasks: dict[QueueID, set[TaskID]] = {}
        self._placed: dict[str, tuple[QueueID, TaskID]] = {}  # by a worker's first argument

    @property
    def running(self) -> int:
        """Tasks that were given out and have not ended."""
        return sum(map(len, self._tasks.values()))

    def register_queue(self, tx: Any) -> QueueID:
        queue = QueueID(len(self._tasks))
        self._tasks[queue] = set()
        return queue

    def register_process(self, qid: QueueID) -> None:
        """Every queue has one process."""

    def schedule_task(
        self,
        task_id: TaskID,
        func: Callable[..., Awaitable[Any]],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> QueueID:
        queue = min(self._tasks, key=lambda qid: (len(self._tasks[qid]), qid))
        self._tasks[queue].add(task_id)
        self._placed[args[0]] = queue, task_id
        return queue

    def complete_task(self, task_id: TaskID) -> None:
        for tasks in self._tasks.values():
            tasks.discard(task_id)

    def queue_of(self, worker_id: str) -> QueueID | None:
        """Where this worker went; None before it was given out and after `forget`."""
        return self._placed.get(worker_id, (None, None))[0]

    def forget(self, worker_id: str, died: bool = False) -> None:
        """Nobody asks for this worker any more. If its process ``died`` its place is free again,
        else only once it is completed."""
        queue, task_id = self._placed.pop(worker_id, (None, None))
        if died and queue is not None:
            self._tasks[queue].discard(task_id)


class Stoppable(Protocol):
    """What an engine knows of a run."""

    def stop(self) -> None: ...


class Engine:
    """One pool and one manager; belongs to the event loop that made it."""

    def __init__(self, processes: int, method: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.size = processes
        self.capacity = processes * worker.PER_PROCESS  # workers at the same time
        self.tasks: set[asyncio.Task[Any]] = set()  # everything that waits for a worker
        self.runs: set[Stoppable] = set()
        context: Any = multiprocessing.get_context(method)
        # on Windows a named pipe, which leaves nothing behind
        self._folder = None if os.name == "nt" else tempfile.mkdtemp(prefix="panelbus-demos-")
        address = None if self._folder is None else str(Path(self._folder) / "manager")
        self.manager = SyncManager(address=address, ctx=context)
        self.manager.start(child.begin, (self._folder,))
        self.scheduler = LeastLoaded()
        try:
            self.pool = self._make_pool(method)
        except OSError:  # no more processes or files to be had
            self._end_manager()
            raise

    def _make_pool(self, method: str) -> aiomultiprocess.Pool:
        aiomultiprocess.set_start_method(method)
        # aiomultiprocess would start a second manager, which nothing but the end of this process
        # ends and no watch on the parent; its processes take ours instead
        aiomultiprocess.core._manager = self.manager
        return aiomultiprocess.Pool(
            processes=self.size,
            queuecount=self.size,
            childconcurrency=worker.PER_PROCESS,
            scheduler=self.scheduler,
            initializer=worker.begin_process,
            loop_initializer=worker.new_loop,
        )

    def pids(self) -> list[int]:
        """Of the pool's processes."""
        return [process.pid for process in self.pool.processes if process.pid is not None]

    def pid_of(self, worker_id: str) -> int | None:
        """The process a worker was given to, None before it was and after that process died."""
        queue = self.scheduler.queue_of(worker_id)
        owners = [process for process, qid in self.pool.processes.items() if qid == queue]
        return next((process.pid for process in owners if process.is_alive()), None)

    async def end(self, grace: float) -> None:
        """Stop what still runs, wait ``grace`` seconds for it, then end every process.

        Nothing is left that waits: an `apply` of a terminated pool would never be done.
        """
        # in threads, because a manager that hangs must not hold us up
        told = {asyncio.ensure_future(asyncio.to_thread(run.stop)) for run in self.runs}
        if waiting := told | self.tasks:
            await asyncio.wait(waiting, timeout=grace)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self._end_pool()
        await asyncio.to_thread(self._end_manager)

    async def _end_pool(self) -> None:
        processes = list(self.pool.processes)
        self.pool.terminate()
        joined = asyncio.ensure_future(self.pool.join())
        done, _ = await asyncio.wait({joined}, timeout=END_TIME)
        if not done:
            for process in processes:
                process.kill()
            await joined  # nothing survives that
        for sent, _received in self.pool.queues.values():
            sent.close()  # lets its thread end

    def _end_manager(self) -> None:
        if aiomultiprocess.core._manager is self.manager:
            aiomultiprocess.core._manager = None
        self.manager.shutdown()
        self._remove_folder()

    def end_now(self) -> None:
        """The interpreter exits without `end`: or it would wait for the workers for ever."""
        for process in self.pool.processes:
            process.kill()
        self._end_manager()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
