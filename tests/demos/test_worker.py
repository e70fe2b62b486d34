"""The worker itself, and how a process of the pool begins."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from demos import worker
from tests.support.processes import ROOT


def test_it_logs_until_its_event_is_set(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOG_EVERY", 0.01)
    caplog.set_level(logging.INFO, "demos.worker")
    stop = threading.Event()

    async def run() -> dict[str, object]:
        running = asyncio.ensure_future(worker.worker("w1", stop, "0123456789abcdef"))
        while len(caplog.messages) < 3:
            await asyncio.sleep(0.001)
        assert not running.done()
        stop.set()
        return await running

    summary = asyncio.run(run())
    assert caplog.messages[0] == "worker w1 for session 01234567: line 1"
    assert caplog.messages[-1].startswith("worker w1 for session 01234567: stopped after")
    assert summary["task_id"] == "w1"
    assert summary["pid"] == os.getpid()
    assert isinstance(summary["lines"], int)
    assert summary["lines"] == len(caplog.messages) - 1 >= 3


def test_it_ends_at_once_when_its_event_is_set_already() -> None:
    stop = threading.Event()
    stop.set()
    assert asyncio.run(worker.worker("w1", stop))["lines"] == 1


def test_its_loop_has_a_thread_for_every_worker() -> None:
    loop = worker.new_loop()
    try:
        executor = loop._default_executor  # type: ignore[attr-defined]
        assert isinstance(executor, ThreadPoolExecutor)
        assert executor._max_workers == worker.PER_PROCESS
    finally:
        loop.close()


def test_it_loads_nothing_of_panel() -> None:
    code = "import sys, demos.worker; print({'panel', 'bokeh', 'zmq'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
