"""Threads for jobs in the background: grown when needed, reused, bounded, gone when idle."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from sessionclient.callbacks import Runners
from tests.support.processes import eventually

PATIENCE = 30.0  # seconds until a test that hangs has failed


class Job:
    """A job that tells when it has begun and ends when it may; free from the start if so made."""

    def __init__(self, free: bool = False) -> None:
        self.begun, self.free = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        if free:
            self.free.set()

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.begun.set()
        self.free.wait(PATIENCE)

    def runs_on(self) -> threading.Thread:
        """The thread it has begun on."""
        assert self.begun.wait(PATIENCE)
        assert self.thread is not None
        return self.thread


class Pool:
    """Runners whose jobs are all let go in the end, and whose threads end with them."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, runners: Runners, free: bool = False) -> Job:
        job = Job(free)
        self.jobs.append(job)
        runners.submit(job)
        return job

    def close(self) -> None:
        for job in self.jobs:
            job.free.set()
        for job in self.jobs:
            thread = job.runs_on()
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


def test_a_job_runs_on_a_daemon_thread_of_the_runners(pool: Pool) -> None:
    thread = pool.submit(Runners(idle=0.01), free=True).runs_on()
    assert thread is not threading.current_thread()
    assert (thread.name, thread.daemon) == ("panelbus-runner", True)


def test_a_job_does_not_wait_for_one_that_takes_long(pool: Pool) -> None:
    runners = Runners(idle=0.01)
    first = pool.submit(runners)
    first.runs_on()
    second = pool.submit(runners)
    assert second.runs_on() is not first.runs_on()
    assert not first.free.is_set()


def test_jobs_beyond_the_limit_wait_for_a_thread_in_order(pool: Pool) -> None:
    runners = Runners(limit=1, idle=0.01)
    first = pool.submit(runners)
    thread = first.runs_on()
    second, third = pool.submit(runners), pool.submit(runners, free=True)
    first.free.set()
    assert second.runs_on() is thread
    assert not third.begun.is_set()
    second.free.set()
    assert third.runs_on() is thread


def test_an_idle_thread_goes_and_the_next_job_has_a_new_one(pool: Pool) -> None:
    runners = Runners(limit=1, idle=0.0)
    first = pool.submit(runners, free=True).runs_on()
    first.join(PATIENCE)
    assert not first.is_alive()
    second = pool.submit(runners, free=True).runs_on()
    assert second is not first


class LateQueue(queue.SimpleQueue[Callable[[], None]]):
    """Its first ``get`` gives up although a job has come meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.gave_up = False

    def get(self, block: bool = True, timeout: float | None = None) -> Callable[[], None]:
        if not self.gave_up:
            self.gave_up = True
            raise queue.Empty
        return super().get(block, timeout)


def test_a_job_that_came_as_its_thread_was_about_to_go_is_run_by_it(pool: Pool) -> None:
    runners = Runners(limit=1, idle=0.01)
    runners._jobs = late = LateQueue()
    job = pool.submit(runners, free=True)
    assert job.runs_on().name == "panelbus-runner"
    assert late.gave_up


class CountedQueue(queue.SimpleQueue[Callable[[], None]]):
    """Tells of every wait that begins; the second one is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.waits = 0

    def get(self, block: bool = True, timeout: float | None = None) -> Callable[[], None]:
        self.waits += 1
        self.begun.release()
        return super().get(block, PATIENCE if self.waits < 2 else 0.0)


def test_a_thread_that_waits_takes_the_next_job(pool: Pool) -> None:
    runners = Runners()
    runners._jobs = jobs = CountedQueue()
    thread = pool.submit(runners, free=True).runs_on()
    assert jobs.begun.acquire(timeout=PATIENCE)
    assert pool.submit(runners, free=True).runs_on() is thread


class SlowHands(queue.SimpleQueue[Callable[[], None]]):
    """Whoever has taken a job from it is held up before it can say so."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.go = threading.Event(), threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> Callable[[], None]:
        job = super().get(block, timeout)
        self.taken.set()
        self.go.wait(30.0)
        return job


def test_a_job_does_not_wait_for_a_thread_that_has_just_taken_another() -> None:
    runners, hang, second = Runners(), threading.Event(), threading.Event()
    runners._jobs = hands = SlowHands()

    def wait() -> None:
        hang.wait(30.0)

    runners.submit(lambda: None)  # begun with its thread, which takes the next one from the queue
    eventually(lambda: runners._open == 0, "the thread is free")
    runners.submit(wait)
    assert hands.taken.wait(30.0)
    runners.submit(second.set)
    hands.go.set()
    try:
        assert second.wait(10.0)
    finally:
        hang.set()


def test_a_job_is_done_at_once_when_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runners = Runners(limit=1)
    ran: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        runners.submit(lambda: ran.append(threading.current_thread().name))
    assert ran == [threading.current_thread().name]
    done = threading.Event()
    runners.submit(done.set)
    assert done.wait(30.0)
