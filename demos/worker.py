"""What runs in the processes of the pool: a worker that goes on until its event is set."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from demos import child

log = logging.getLogger("demos.worker")

LOG_EVERY: Final = 5  # seconds between two lines of a worker
SHORT_ID: Final = 8  # characters of a session id that are shown
# Workers one process runs at the same time. Each waits in a thread, so there are as many threads:
# with fewer, a worker that is told to stop would wait for another's turn to end.
PER_PROCESS: Final = 16


class StopEvent(Protocol):
    """What a worker needs of an event; one of threading will do in tests."""

    def set(self) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...


async def worker(
    task_id: str, stop_event: StopEvent, session_id: str | None = None
) -> dict[str, Any]:
    """Log a line every `LOG_EVERY` seconds until ``stop_event`` is set.

    Args:
        task_id: how the worker calls itself.
        stop_event: a manager's event; the worker ends within milliseconds after it is set.
        session_id: the session it works for, of which the first characters are shown.

    Returns:
        ``task_id``, the process's ``pid``, the ``seconds`` it ran and the ``lines`` it logged.
    """
    whose = session_id[:SHORT_ID] if session_id else "nobody"
    started = time.monotonic()
    lines, stopped = 0, False
    while not stopped:
        lines += 1
        log.info("worker %s for session %s: line %d", task_id, whose, lines)
        stopped = await asyncio.to_thread(stop_event.wait, LOG_EVERY)
    seconds = time.monotonic() - started
    log.info("worker %s for session %s: stopped after %.1f s", task_id, whose, seconds)
    return {"task_id": task_id, "pid": os.getpid(), "seconds": seconds, "lines": lines}


def begin_process() -> None:
    """Run first in every process of the pool."""
    child.begin()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"%(asctime)s pool process {os.getpid()}: %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def new_loop() -> asyncio.AbstractEventLoop:
    """The event loop of a pool's process, with a thread for every worker it may run."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(PER_PROCESS, thread_name_prefix="wait"))
    return loop
