"""The writer's thread: one batch at a time, in order, with reads between, and an orderly end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from queue import Queue

import pytest

from broker.store import (
    AuditRow,
    Batch,
    Kept,
    Loaded,
    Store,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
    TaskRow,
)
from broker.writer import MAX_READS, Checked, Outcome, Writer
from tests.broker.stores import task
from tests.support.processes import eventually

SOON = 40.0  # seconds; generous, for a busy machine


class FakeStore:
    """A store whose every commit waits for `gate` and then does as it is told."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.calls: Queue[str] = Queue()
        self.threads: set[str] = set()
        self.error: StoreError | None = None
        self.kept = Kept()
        self.closed = 0

    def _note(self, call: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.calls.put(call)

    def load(self, **limits: int) -> Loaded:
        raise AssertionError(f"nobody loads {limits} rows here")

    def commit(self, batch: Batch) -> Kept:
        self._note(f"commit {batch.purge_before:g}")
        assert self.gate.wait(SOON)
        if self.error is not None:
            raise self.error
        return self.kept

    def check(self, *, probe: bool) -> StoreUnavailable | None:
        self._note(f"check {probe}")
        if isinstance(self.error, StoreUnusable):
            raise self.error
        return self.kept.trouble

    def copy(self, file: str, go_on: Callable[[], bool]) -> tuple[str, int]:
        raise AssertionError(f"nobody copies to {file} here")

    def tasks(self, session_id: str, limit: int) -> list[TaskRow]:
        self._note(f"tasks {session_id}")
        return [task(limit, session_id)]

    def audit(self, before: int | None, limit: int) -> list[AuditRow]:
        raise AssertionError(f"nobody reads the audit here: {before}, {limit}")

    def close(self) -> None:
        self._note("close")
        self.closed += 1

    def said(self) -> list[str]:
        """The calls since the last look."""
        calls = []
        while not self.calls.empty():
            calls.append(self.calls.get())
        return calls


def batch(number: int) -> Batch:
    return Batch(purge_before=float(number))


class Bench:
    """A writer on a fake store, and the outcomes it has told."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.outcomes: Queue[Outcome | Checked] = Queue()
        self.writer = Writer(self.store, self._done)

    def _done(self, outcome: Outcome | Checked) -> None:
        self.outcomes.put(outcome)

    def outcome(self) -> Outcome:
        found = self.outcomes.get(timeout=SOON)
        assert isinstance(found, Outcome)
        return found

    def hold(self) -> None:
        """Submit a batch that stays under way until the gate opens."""
        self.store.gate.clear()
        self.writer.submit(batch(0))
        assert self.store.calls.get(timeout=SOON) == "commit 0"


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.writer.start()
    yield made
    made.store.gate.set()
    assert made.writer.close(SOON)


def test_a_batch_is_committed_in_a_thread_of_its_own(bench: Bench) -> None:
    assert bench.writer.idle
    bench.writer.submit(batch(1))
    assert bench.outcome().error is None
    assert bench.store.said() == ["commit 1"]
    assert bench.store.threads == {"panelbus-writer"}


def test_it_tells_that_a_purge_left_something(bench: Bench) -> None:
    for more in (True, False):
        bench.store.kept = Kept(more_to_purge=more)
        bench.writer.submit(batch(1))
        assert bench.outcome().kept.more_to_purge is more


def test_batches_follow_one_another(bench: Bench) -> None:
    for number in range(5):
        bench.writer.submit(batch(number))
        assert bench.outcome().error is None
        assert bench.writer.idle
    assert bench.store.said() == [f"commit {number}" for number in range(5)]


def test_it_is_busy_until_the_store_is_done(bench: Bench) -> None:
    bench.hold()
    assert not bench.writer.idle
    with pytest.raises(RuntimeError, match="busy"):
        bench.writer.submit(batch(2))
    assert bench.outcomes.empty()
    bench.store.gate.set()
    assert bench.outcome().seconds > 0.0
    assert bench.writer.idle
    assert bench.store.said() == []


def test_it_is_idle_again_when_it_tells_the_outcome() -> None:
    store, seen = FakeStore(), Queue[bool]()
    writer = Writer(store, lambda _outcome: seen.put(writer.idle))
    writer.start()
    writer.submit(batch(1))
    assert seen.get(timeout=SOON)
    assert writer.close(SOON)


@pytest.mark.parametrize(
    "error", [StoreUnavailable("the disk is full", "full"), StoreUnusable("replaced")]
)
def test_an_error_of_the_store_is_an_outcome(bench: Bench, error: StoreError) -> None:
    bench.store.error = error
    bench.writer.submit(batch(1))
    assert bench.outcome().error is error
    bench.store.error = None
    bench.writer.submit(batch(2))
    assert bench.outcome().error is None


def test_a_read_waits_its_turn_and_runs_in_the_same_thread(bench: Bench) -> None:
    found: Queue[list[TaskRow]] = Queue()

    def read(session_id: str, store: Store) -> None:
        found.put(store.tasks(session_id, 3))

    bench.hold()
    assert bench.writer.read(partial(read, "a"))
    assert bench.writer.read(partial(read, "b"))
    assert found.empty()
    bench.store.gate.set()
    bench.outcome()
    bench.writer.submit(batch(4))
    bench.outcome()
    assert [found.get(timeout=SOON) for _ in "ab"] == [[task(3, "a")], [task(3, "b")]]
    assert bench.store.said() == ["tasks a", "tasks b", "commit 4"]
    assert bench.store.threads == {"panelbus-writer"}


def test_a_read_does_not_make_it_busy(bench: Bench) -> None:
    began, go_on = threading.Event(), threading.Event()

    def read(_store: Store) -> None:
        began.set()
        assert go_on.wait(SOON)

    bench.writer.read(read)
    assert began.wait(SOON)
    assert bench.writer.idle
    bench.writer.submit(batch(1))
    go_on.set()
    assert bench.outcome().error is None


def test_too_many_reads_are_turned_away_and_the_rest_is_done(bench: Bench) -> None:
    done: Queue[int] = Queue()
    bench.hold()
    taken = [bench.writer.read(lambda _store: done.put(1)) for _ in range(MAX_READS + 5)]
    assert taken == [True] * MAX_READS + [False] * 5
    bench.store.gate.set()
    bench.outcome()
    eventually(lambda: done.qsize() == MAX_READS, "every read that was taken is done")
    assert bench.writer.read(lambda _store: done.put(1))


def test_the_outcome_tells_what_the_commit_told(bench: Bench) -> None:
    bench.store.kept = Kept((), StoreUnavailable("short of space", "full"))
    bench.writer.submit(batch(1))
    assert bench.outcome().kept == bench.store.kept


def test_a_check_waits_its_turn_and_tells_how_the_store_is(bench: Bench) -> None:
    bench.store.kept = Kept((), StoreUnavailable("short of space", "full"))
    bench.hold()
    assert bench.writer.check(probe=True)
    bench.store.gate.set()
    assert bench.outcome().error is None
    assert bench.outcomes.get(timeout=SOON) == Checked(bench.store.kept.trouble)
    bench.store.error = StoreUnusable("replaced")
    assert bench.writer.check(probe=False)
    assert bench.outcomes.get(timeout=SOON) == Checked(bench.store.error)
    assert bench.store.said() == ["check True", "check False"]
    assert bench.store.threads == {"panelbus-writer"}


def read_last(store: Store) -> None:
    store.tasks("last", 1)


def test_closing_finishes_what_is_queued_and_closes_the_store() -> None:
    bench = Bench()
    bench.writer.start()
    bench.hold()
    bench.writer.read(read_last)
    assert not bench.writer.close(0.0)  # the disk is not done
    assert bench.store.closed == 0
    bench.store.gate.set()
    assert bench.outcome().error is None
    eventually(lambda: bench.store.closed == 1, "the store is closed")
    assert bench.store.said() == ["tasks last", "close"]
    assert bench.writer.close(SOON)
    assert bench.store.closed == 1


def test_a_writer_that_never_ran_closes_its_store_all_the_same() -> None:
    bench = Bench()
    assert bench.writer.close(0.0)
    assert bench.store.said() == ["close"]
