"""One thread follows a real broker for all pages: sessions, their changes and ends, and outages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from monitor import live as live_module
from monitor import table as table_module
from monitor.live import Live
from sessionclient import Misuse, SessionClient
from tests.monitor.reading import PageClient
from tests.support.processes import BrokerProcess, eventually, running_broker

pytestmark = pytest.mark.process

Track = Callable[..., SessionClient]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path) as started:
        yield started


@pytest.fixture
def live(broker: BrokerProcess) -> Iterator[Live]:
    """Following the broker, its first snapshot taken."""
    following = Live(broker.bus)
    following.start()
    eventually(lambda: state(following) == "live", "it is live")
    yield following
    following.close()


@pytest.fixture
def track(broker: BrokerProcess) -> Iterator[Track]:
    """A session of this process at the broker."""
    with ExitStack() as stack:

        def start(app: str = "sales", user: str | None = None) -> SessionClient:
            tracker = SessionClient(app, user, broker.bus, heartbeat_interval=0.5)
            stack.callback(tracker.stop)
            return tracker

        yield start


def state(live: Live) -> str:
    return str(live.read(lambda board: board.state))


def known(live: Live) -> set[str]:
    """Ids on the board."""
    ids: set[str] = live.read(lambda board: set(board.sessions))
    return ids


def task_of(page: PageClient, tracker: SessionClient) -> Any:
    return page.rows()[tracker.session_id]["Task"]


def appear(live: Live, *trackers: SessionClient) -> None:
    """Wait until exactly these are on the board and in the table."""
    ids = {tracker.session_id for tracker in trackers}
    eventually(lambda: known(live) == ids, "they are on the board")
    eventually(lambda: live.table.size() == len(ids), "they are in the table")


# --- what is followed ----------------------------------------------------------------------------


def test_sessions_appear_on_the_board_and_in_the_table(live: Live, track: Track) -> None:
    trackers = [track("sales", "ann"), track("stock")]
    appear(live, *trackers)
    rows = PageClient(live.table).rows()
    shown = {sid: (row["App"], row["User"], row["Status"]) for sid, row in rows.items()}
    assert shown == {
        trackers[0].session_id: ("sales", "ann", "idle"),
        trackers[1].session_id: ("stock", None, "idle"),
    }
    assert live.figures()[:4] == (2, 0, 0, 0)


def test_a_task_shows_while_it_runs(live: Live, track: Track) -> None:
    tracker = track()
    appear(live, tracker)
    page = PageClient(live.table)
    with tracker.task("load"):
        eventually(lambda: task_of(page, tracker) == "load", "the task is shown")
        assert page.rows()[tracker.session_id]["Status"] == "running"
        assert live.figures().running == 1
    eventually(lambda: task_of(page, tracker) is None, "the task is over")
    assert live.figures().running == 0


def test_a_session_that_ends_leaves_the_table(live: Live, track: Track) -> None:
    stays, goes = track(), track()
    appear(live, stays, goes)
    goes.stop()
    appear(live, stays)
    assert PageClient(live.table).rows().keys() == {stays.session_id}
    end = live.read(lambda board: board.ended[goes.session_id])
    assert (end["end_reason"], end["app_name"]) == ("stopped", "sales")


def test_a_kill_is_followed_to_its_end(live: Live, track: Track) -> None:
    tracker = track()
    appear(live, tracker)
    answer = live.operator.request_kill(tracker.session_id, "too big")
    appear(live)

    def command() -> dict[str, Any]:
        found: dict[str, Any] = live.read(lambda board: dict(board.commands[answer["command_id"]]))
        return found

    eventually(lambda: command()["stage"] == "completed", "the kill is complete")
    assert {"requested", "completed"} <= command()["reached"].keys()
    assert live.figures().kills_last_hour == 1
    assert sum(live.kills()[1]) == 1
    of_it = live.read(lambda board: board.commands_of(tracker.session_id))
    assert [each["reason"] for each in of_it] == ["too big"]


def test_the_apps_are_sampled_for_the_charts(live: Live, track: Track) -> None:
    appear(live, track())
    eventually(lambda: live.series().at, "a first sample")
    # what was there at that moment is a matter of luck; that it is one for all lines is not
    at, counts = live.series()
    assert {len(line) for line in counts.values()} <= {len(at)}


def test_one_change_at_a_time_is_enough(
    broker: BrokerProcess, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "CHANGES_A_TURN", 1)
    trackers = [track() for _ in range(5)]
    following = Live(broker.bus)
    following.start()
    appear(following, *trackers)
    following.close()


def test_a_worn_table_is_replaced_with_all_its_rows(
    live: Live, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, goes = track(), track()
    appear(live, stays, goes)
    monkeypatch.setattr(table_module, "RENEW_AFTER", 1)
    name = live.table.name
    goes.stop()
    appear(live, stays)
    with stays.task("so that something changes"):
        eventually(lambda: live.table.name != name, "a new table")
    appear(live, stays)
    assert PageClient(live.table).rows().keys() == {stays.session_id}


# --- being told ----------------------------------------------------------------------------------


def test_listeners_are_told_until_they_leave(live: Live, track: Track) -> None:
    left: list[str] = []
    told: list[str] = []
    leave = live.listen(lambda: left.append(threading.current_thread().name))
    live.listen(lambda: told.append(threading.current_thread().name))
    assert live.listeners == 2
    trackers = [track()]
    eventually(lambda: left and told, "both are told")
    leave()
    leave()
    assert live.listeners == 1
    before, heard = len(left), len(told)
    trackers.append(track())
    appear(live, *trackers)
    eventually(lambda: len(told) > heard, "the other one is told again")
    assert len(left) <= before + 1  # it may have been on its way
    assert set(left + told) == {"panelbus-live"}


def test_a_listener_may_read_and_leave_where_it_is_told(live: Live, track: Track) -> None:
    seen: list[int] = []

    def once() -> None:
        seen.append(live.figures().live)
        leave()

    leave = live.listen(once)
    tracker = track()
    appear(live, tracker)
    eventually(lambda: seen, "it is told")
    tracker.stop()
    appear(live)
    assert (len(seen), live.listeners) == (1, 0)


def test_the_last_word_is_told_when_it_closes(live: Live) -> None:
    told = threading.Event()
    live.listen(told.set)
    live.close()
    assert told.is_set()


# --- outages -------------------------------------------------------------------------------------


def test_a_broker_that_dies_and_comes_back_is_followed_again(
    live: Live, broker: BrokerProcess, track: Track
) -> None:
    trackers = [track(), track("stock")]
    appear(live, *trackers)
    broker.kill()
    eventually(lambda: state(live) == "down", "it is down")
    assert known(live) == {tracker.session_id for tracker in trackers}  # the last known
    assert live.table.size() == 2
    trackers.pop().stop()
    broker.start()
    broker.wait_until_serving()
    eventually(lambda: state(live) == "live", "it is live again")
    appear(live, *trackers)
    trackers.append(track("later"))
    appear(live, *trackers)


def test_a_broker_that_comes_later_is_found(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, ("--no-gateway",))
    broker.kill()  # its addresses are known now, and nobody is there
    following = Live(broker.bus)
    following.start()
    try:
        assert following.read(lambda board: (board.state, board.ready)) == ("down", False)
        assert following.series().at == []
        broker.start()
        eventually(lambda: state(following) == "live", "it is live")
        eventually(lambda: following.read(lambda board: board.ready), "it has a snapshot")
    finally:
        following.close()
        broker.stop()


def test_a_new_snapshot_may_be_asked_for(live: Live, track: Track) -> None:
    tracker = track()
    appear(live, tracker)
    since = live.read(lambda board: board.since)
    live.resync()
    eventually(
        lambda: live.read(lambda board: board.since != since and board.state == "live"),
        "it was resyncing and is live again",
    )
    appear(live, tracker)


# --- beginning and end -------------------------------------------------------------------------


def test_a_wrong_address_is_told_at_once() -> None:
    with pytest.raises(Misuse, match="http://host:1"):
        Live("http://host:1")


def test_to_start_twice_is_to_start_once(live: Live) -> None:
    live.start()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("panelbus-live") == 1


def test_to_close_leaves_no_thread(broker: BrokerProcess) -> None:
    before = set(threading.enumerate())
    following = Live(broker.bus)
    following.start()
    eventually(lambda: state(following) == "live", "it is live")
    PageClient(following.table).table.size()
    assert len(set(threading.enumerate()) - before) >= 2
    following.close()
    following.close()
    eventually(lambda: set(threading.enumerate()) <= before, "all threads have ended")


def test_one_that_never_started_closes_too() -> None:
    following = Live("tcp://127.0.0.1:1")
    following.resync()
    following.close()
    following.close()
    assert state(following) == "down"


def test_a_page_that_can_not_be_told_does_not_stop_the_others(broker: BrokerProcess) -> None:
    live = Live(broker.bus)

    def raises() -> None:
        raise RuntimeError("this page is broken")

    live.listen(raises)
    live.start()
    tracker = SessionClient("sales", None, broker.bus)
    eventually(lambda: live.table.size() >= 1, "it still follows")
    live.close()
    tracker.stop()
