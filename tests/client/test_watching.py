"""A reader of changes: bounded, woken by events, and never left with a silent gap."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from sessionclient.mirror import Change
from sessionclient.watching import MAX_WAITING, Watch

SNAPSHOT = Change("snapshot", [])
COMMANDS = Change("commands", [])


def change(number: int) -> Change:
    return Change("session", [{"session_id": f"s{number}"}])


def state(name: str) -> Change:
    return Change("state", [{"state": name}])


class Seat:
    """A watch, and how often it asked for a snapshot, left and told its reader."""

    def __init__(self) -> None:
        self.resyncs = 0
        self.left: list[Watch] = []
        self.notified = 0
        self.watch = Watch(self._resync, self.left.append)

    def _resync(self) -> None:
        self.resyncs += 1

    def notify(self) -> None:
        self.notified += 1

    def overrun(self) -> None:
        for number in range(MAX_WAITING + 1):
            self.watch.push(change(number))
        assert self.resyncs == 1

    def waiting(self) -> list[Change]:
        found = []
        while (item := self.watch.get(timeout=0.0)) is not None:
            found.append(item)
        return found


def test_changes_come_in_order() -> None:
    seat = Seat()
    for item in (SNAPSHOT, COMMANDS, change(1)):
        seat.watch.push(item)
    assert [seat.watch.get() for _ in range(3)] == [SNAPSHOT, COMMANDS, change(1)]
    assert seat.watch.get(timeout=0.0) is None
    assert not seat.watch.finished


def test_a_snapshot_replaces_what_waits() -> None:
    seat = Seat()
    for item in (state("live"), change(1), SNAPSHOT, change(2)):
        seat.watch.push(item)
    assert seat.waiting() == [state("live"), SNAPSHOT, change(2)]


def test_as_many_changes_as_allowed_may_wait() -> None:
    seat = Seat()
    for number in range(MAX_WAITING):
        seat.watch.push(change(number))
    assert (len(seat.waiting()), seat.resyncs) == (MAX_WAITING, 0)


def test_a_reader_that_is_too_slow_gets_a_new_snapshot_and_nothing_before_it() -> None:
    seat = Seat()
    seat.overrun()
    seat.watch.push(change(1))
    seat.watch.push(COMMANDS)
    assert (seat.waiting(), seat.resyncs) == ([], 1)
    for item in (SNAPSHOT, COMMANDS, change(2)):
        seat.watch.push(item)
    assert seat.waiting() == [SNAPSHOT, COMMANDS, change(2)]


def test_a_reader_that_is_too_slow_still_hears_of_the_state() -> None:
    seat = Seat()
    seat.overrun()
    seat.watch.push(state("down"))
    assert seat.waiting() == [state("down")]


def test_a_snapshot_replaces_all_news_but_the_newest_state() -> None:
    seat = Seat()
    seat.watch.push(state("resyncing"))
    seat.watch.push(SNAPSHOT._replace(kind="session"))
    seat.watch.push(state("live"))
    seat.watch.push(SNAPSHOT)
    assert seat.waiting() == [state("live"), SNAPSHOT]


def test_states_are_bounded_as_well() -> None:
    seat = Seat()
    seat.overrun()
    for _ in range(MAX_WAITING + 1):
        seat.watch.push(state("live"))
    assert (seat.waiting(), seat.resyncs) == ([state("live")], 2)


def test_the_state_is_told_even_when_it_is_the_change_too_many() -> None:
    seat = Seat()
    for _ in range(MAX_WAITING):
        seat.watch.push(SNAPSHOT._replace(kind="session"))
    seat.watch.push(state("down"))
    assert (seat.waiting(), seat.resyncs) == ([state("down")], 1)


def test_a_push_wakes_a_waiting_reader() -> None:
    seat = Seat()
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(seat.watch.get)
        seat.watch.push(SNAPSHOT)
        assert got.result(timeout=30.0) == SNAPSHOT


def test_the_end_wakes_a_waiting_reader() -> None:
    seat = Seat()
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(seat.watch.get)
        seat.watch.finish()
        assert got.result(timeout=30.0) is None


def test_what_waited_is_read_before_the_end() -> None:
    seat = Seat()
    seat.watch.push(SNAPSHOT)
    seat.watch.push(change(1))
    seat.watch.finish()
    assert not seat.watch.finished
    assert list(seat.watch) == [SNAPSHOT, change(1)]
    assert seat.watch.finished


def test_an_iteration_goes_on_as_changes_come() -> None:
    seat = Seat()
    read: list[Change] = []
    first = threading.Event()

    def follow() -> None:
        for item in seat.watch:
            read.append(item)
            first.set()

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        seat.watch.push(SNAPSHOT)
        assert first.wait(30.0)
        seat.watch.push(change(1))
        seat.watch.finish()
        following.result(timeout=30.0)
    assert read == [SNAPSHOT, change(1)]


def test_whoever_asked_is_told_of_every_change_and_of_the_end() -> None:
    seat = Seat()
    seat.watch.push(SNAPSHOT)
    seat.watch.notify = seat.notify
    seat.watch.push(change(1))
    assert seat.notified == 1
    seat.watch.finish()
    assert seat.notified == 2


def test_what_is_thrown_away_is_not_told() -> None:
    seat = Seat()
    seat.overrun()
    seat.watch.notify = seat.notify
    seat.watch.push(change(1))
    assert seat.notified == 0
    seat.watch.push(state("down"))
    assert seat.notified == 1


def test_closing_leaves_and_ends_and_may_be_done_again() -> None:
    seat = Seat()
    seat.watch.close()
    seat.watch.close()
    assert seat.left == [seat.watch] * 2
    assert seat.watch.finished
    assert seat.watch.get() is None


def test_a_with_block_closes_its_watch() -> None:
    seat = Seat()
    with seat.watch as entered:
        assert entered is seat.watch
        assert not entered.finished
    assert (seat.left, seat.watch.finished) == ([seat.watch], True)
