"""A real broker on a disk that fills up, loses its file, is damaged or locked by another."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import zmq

from sessionclient.errors import Unavailable
from sessionclient.wire import FEED, decode
from tests.broker.starting import free_addresses, refused
from tests.process.conftest import Connect, StartApp, StartBroker, Track
from tests.support.disks import Disk, small_disk
from tests.support.processes import BrokerProcess, eventually

pytestmark = pytest.mark.process

BUSY_BOUND = 14.0  # seconds; a kill waits four for another program's lock, a busy machine longer


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", "16m") as mounted:
        yield mounted


def ask(broker: BrokerProcess, method: str, path: str, **body: Any) -> httpx.Response:
    url = broker.http + path
    return httpx.request(method, url, json=body or None, trust_env=False, timeout=15.0)


def health(broker: BrokerProcess) -> dict[str, Any]:
    answer = ask(broker, "GET", "/readyz")
    found: dict[str, Any] = answer.json()["health"] if answer.status_code == 200 else {}
    return found


@contextmanager
def feed_of(broker: BrokerProcess) -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    with context, context.socket(zmq.SUB) as feed:
        feed.set(zmq.LINGER, 0)
        feed.set(zmq.RCVTIMEO, 20_000)
        feed.set(zmq.SUBSCRIBE, b"")
        feed.connect(broker.feed)
        yield feed


def next_beat(feed: zmq.Socket[bytes]) -> dict[str, Any]:
    while not (message := decode(feed.recv(), FEED)).get("health"):
        pass
    found: dict[str, Any] = message["health"]
    return found


def register_until_refused(broker: BrokerProcess) -> httpx.Response:
    for _ in range(20_000):
        answer = ask(broker, "POST", "/sessions", app_name="x" * 255, user_id="y" * 255)
        if answer.status_code != 201:
            return answer
    raise AssertionError("the disk is never full")


def test_a_full_disk_refuses_new_kills_and_nothing_else_until_there_is_space(
    disk: Disk, start_broker: StartBroker, start_app: StartApp, connect: Connect
) -> None:
    broker = start_broker("--gateway", "--db", str(disk.directory / "sessions.db"))
    app, operator = start_app(broker.bus, "--sessions", "2"), connect(broker)
    first, second = app.wait_for("started")[0]["sessions"]
    eventually(lambda: len(operator.get_all_sessions()) == 2, "both are registered")
    pid = broker.pid
    app.signal(signal.SIGSTOP)
    accepted = operator.request_kill(first, "accepted before")
    disk.fill(leave=64 << 10)

    answer = register_until_refused(broker)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.json()["detail"].startswith("not registered: no space left for ")
    started = time.monotonic()
    answer = ask(broker, "POST", f"/sessions/{second}/kill", reason="refused")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.json()["detail"] == (
        "not accepted, nothing was killed: no space left for"
        f" {disk.directory / 'sessions.db'}; free some"
    )
    assert time.monotonic() - started < BUSY_BOUND
    assert health(broker)["status"] == "degraded"
    assert health(broker)["cause"] == "full"
    assert "panelbus_degraded 1.0" in ask(broker, "GET", "/metrics").text
    with feed_of(broker) as feed:
        assert next_beat(feed)["cause"] == "full"
    assert {row["session_id"] for row in operator.get_all_sessions()} >= {first, second}

    app.signal(signal.SIGCONT)
    (callback,) = app.wait_for("callback")
    assert (callback["session"], callback["reason"]) == (first, "accepted before")
    assert operator.get_command(accepted["command_id"], wait=20)["stage"] == "completed"
    assert health(broker)["cause"] == "full"

    disk.empty()
    eventually(lambda: health(broker).get("status") == "ok", "space is noticed")
    assert ask(broker, "POST", f"/sessions/{second}/kill?wait=10").json()["stage"] == "completed"
    assert broker.pid == pid
    assert "the database takes writes again" in broker.log()
    assert broker.stop() == 0
    with closing(sqlite3.connect(disk.directory / "sessions.db")) as connection:
        (kept,) = connection.execute(
            "SELECT end_reason FROM sessions WHERE session_id = ?", (first,)
        ).fetchone()
    assert kept == "killed"  # the end of an accepted kill was kept although the disk was full


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_an_idle_broker_whose_file_is_removed_stops_with_status_1(
    start_broker: StartBroker, suffix: str
) -> None:
    broker = start_broker()
    Path(f"{broker.database}{suffix}").unlink()
    assert broker.wait() == 1
    assert f"stopped: {broker.database} or its -wal was removed or replaced" in broker.log()
    assert "restore a backup, then start the broker again" in broker.log()
    if not suffix:
        assert not broker.database.exists()


def test_damage_met_while_it_runs_stops_the_broker_and_names_the_way_back(
    start_broker: StartBroker, track: Track, connect: Connect
) -> None:
    broker = start_broker()
    tracker, operator = track(broker.bus), connect(broker)
    eventually(lambda: tracker.online, "it is registered")
    for number in range(50):
        # an error stands in the table of tasks only, a name also where the session is, for a moment
        with suppress(ValueError), tracker.task("x" * 200):
            raise ValueError(f"fault {number} ")
    eventually(lambda: len(operator.get_tasks(tracker.session_id)) == 50, "tasks are there")
    tracker.stop()  # or it might state them anew, and its broker meet the damage before it is asked
    eventually(lambda: operator.get_all_sessions() == [], "the session has ended")
    assert broker.stop() == 0
    _damage(broker.database, b"fault 1 ")
    broker.start()
    broker.wait_until_serving()
    with pytest.raises(Unavailable, match="damaged"):
        operator.get_tasks(tracker.session_id)
    assert broker.wait() == 1
    log = broker.log()
    assert f"stopped: {broker.database} is damaged (" in log
    assert f"put the newest backup back: panelbus restore BACKUP --db {broker.database}" in log
    assert broker.database.exists()


def _damage(path: Path, text: bytes) -> None:
    """Spoil the page of a table that holds this text."""
    content = bytearray(path.read_bytes())
    start = content.index(text) // 4096 * 4096
    content[start : start + 4096] = b"\xa5" * 4096
    path.write_bytes(content)


def test_a_database_locked_by_another_costs_a_bounded_wait_and_heartbeats_none(
    start_broker: StartBroker, track: Track
) -> None:
    broker = start_broker("--gateway")
    tracker = track(broker.bus)
    eventually(lambda: tracker.online, "it is registered")
    with closing(sqlite3.connect(broker.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        answer = ask(broker, "POST", f"/sessions/{tracker.session_id}/kill")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "is locked by another program" in answer.json()["detail"]
        assert time.monotonic() - started < BUSY_BOUND
        (row,) = ask(broker, "GET", "/sessions").json()["sessions"]

        def beaten() -> bool:
            (now,) = ask(broker, "GET", "/sessions").json()["sessions"]
            return bool(now["last_heartbeat"] > row["last_heartbeat"])

        eventually(beaten, "heartbeats are heard")
        assert health(broker)["cause"] == "busy"
        other.execute("ROLLBACK")
    eventually(lambda: health(broker).get("status") == "ok", "it is well again")
    url = f"/sessions/{tracker.session_id}/kill?wait=10"
    assert ask(broker, "POST", url).json()["stage"] == "completed"


def test_a_read_only_disk_is_refused_at_the_start(disk: Disk) -> None:
    path = disk.directory / "sessions.db"
    disk.make_read_only()
    line = refused(*free_addresses(), "--db", str(path))
    assert line == (
        f"can't write beside {path}: Read-only file system; choose another place with --db"
    )
