"""What the client does to its process: one thread, one connection, forks, exits, slow peers."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from sessionclient import Operator, SessionClient
from tests.process.conftest import Connect, StartApp, StartBroker, Track
from tests.support.processes import eventually, free_port, running

pytestmark = pytest.mark.process

PATIENCE = 60.0  # seconds, for a hundred sessions on a machine that may be busy


def connections_to(bus: str) -> int:
    port = int(bus.rpartition(":")[2])
    mine = psutil.Process().net_connections("tcp")
    return sum(1 for c in mine if c.raddr and c.raddr.port == port)


def test_any_number_of_sessions_is_one_thread_and_one_connection(
    start_broker: StartBroker, connect: Connect, track: Track
) -> None:
    broker = start_broker()
    before = threading.active_count()
    trackers = [track(broker.bus, f"app{number % 3}") for number in range(300)]
    eventually(lambda: all(tracker.online for tracker in trackers), "all are registered")
    assert threading.active_count() == before + 1
    assert connections_to(broker.bus) == 1
    with connect(broker) as operator:
        assert len(operator.get_all_sessions()) == 300


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs fork")
def test_a_forked_child_has_its_own_sessions_and_spares_its_parents(
    start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    broker = start_broker()
    operator = connect(broker)
    words = ["-m", "tests.support.forking_app", broker.bus]
    with running(words, tmp_path / "fork.log") as process:
        parent = process.wait_for("parent")[0]["session"]
        (child,) = process.wait_for("child")
        assert child["online"] is False
        assert child["session"] != parent
        eventually(lambda: len(operator.get_all_sessions()) == 2, "both are registered")
        instances = {row["process"] for row in operator.get_all_sessions()}
        assert len(instances) == 2
        operator.request_kill(child["session"])
        (over,) = process.wait_for("child over")
        assert (over["status"], over["alive"]) == (0, True)
        assert [row["session_id"] for row in operator.get_all_sessions()] == [parent]
        assert operator.get_session(parent)["current_task"] is None
        operator.request_kill(parent)
        process.wait_for("parent killed")
        assert process.wait() == 0
        assert len(process.events("child killed")) == 1
        assert process.events("wrong callback") == []
    eventually(lambda: not operator.get_all_sessions(), "both have ended")


def test_a_process_that_exits_runs_its_callbacks_and_says_goodbye(
    start_broker: StartBroker, start_app: StartApp, connect: Connect
) -> None:
    broker = start_broker()
    operator = connect(broker)
    app = start_app(broker.bus, "--sessions", "3")
    sessions = app.wait_for("started")[0]["sessions"]
    eventually(lambda: len(operator.get_all_sessions()) == 3, "all are registered")
    assert app.stop() == 0
    assert sorted(event["session"] for event in app.events("callback")) == sorted(sessions)
    assert operator.get_all_sessions() == []
    for session_id in sessions:
        with pytest.raises(LookupError, match="has ended \\(exit\\)"):
            operator.get_session(session_id)


def test_a_process_that_exits_while_a_kill_is_carried_out_runs_what_is_left_of_it(
    start_broker: StartBroker, start_app: StartApp, connect: Connect
) -> None:
    broker = start_broker()
    operator = connect(broker)
    app = start_app(broker.bus, "--linger")
    (session_id,) = app.wait_for("started")[0]["sessions"]
    eventually(lambda: operator.get_all_sessions(), "it is registered")
    operator.request_kill(session_id)
    app.wait_for("callback")
    assert app.stop() == 0
    assert [told["session"] for told in app.events("callback")] == [session_id]
    assert [told["session"] for told in app.events("last callback")] == [session_id]
    assert operator.get_all_sessions() == []


def test_a_process_without_a_broker_exits_at_once(start_app: StartApp) -> None:
    app = start_app(f"tcp://127.0.0.1:{free_port()}", "--sessions", "3")
    app.wait_for("started")
    asked = time.monotonic()
    assert app.stop() == 0
    assert len(app.events("callback")) == 3
    assert app.events("stopping")[0]["at"] - asked < 20.0  # no wait for a broker in between


def test_a_hanging_callback_is_reported_and_holds_up_nobody(
    start_broker: StartBroker, start_app: StartApp, connect: Connect, track: Track
) -> None:
    broker = start_broker()
    operator = connect(broker)
    app = start_app(broker.bus, "--hang", "--app", "stuck")
    (session_id,) = app.wait_for("started")[0]["sessions"]
    other = track(broker.bus, "quick")
    eventually(lambda: len(operator.get_all_sessions()) == 2, "both are registered")
    stuck = operator.request_kill(session_id)
    app.wait_for("callback")
    done = operator.request_kill(other.session_id, wait=20)
    assert done["stage"] == "completed"
    assert operator.get_command(stuck["command_id"])["stage"] == "delivered"


def test_a_peer_that_does_not_read_delays_no_other(
    start_broker: StartBroker, start_app: StartApp, connect: Connect, tmp_path: Path
) -> None:
    broker = start_broker()
    operator = connect(broker)
    frozen = start_app(broker.bus, "--app", "frozen", "--sessions", "50")
    lively = start_app(broker.bus, "--app", "lively", "--sessions", "50")
    eventually(lambda: len(operator.get_all_sessions()) == 100, "all are registered", PATIENCE)
    # only now, because it tells their number once, when it has the list
    words = ["-c", "from sessionclient.cli import main; main()", "watch", "--server", broker.bus]
    with running(words, tmp_path / "watch.log") as watcher:
        eventually(lambda: "100 sessions live" in watcher.log(), "the watcher follows", PATIENCE)
        frozen.signal(signal.SIGSTOP)
        watcher.signal(signal.SIGSTOP)
        assert operator.request_kill_by_app("frozen") == 50
        killed = operator.kill_app("lively")
        command = operator.get_command(killed["command_id"], wait=PATIENCE)
        assert (command["stage"], command["completed"]) == ("completed", 50)
        assert len(operator.get_all_sessions("frozen")) == 50
        frozen.signal(signal.SIGCONT)
        watcher.signal(signal.SIGCONT)
        eventually(lambda: not operator.get_all_sessions(), "all have ended", PATIENCE)
        assert len(frozen.events("callback")) == 50
        assert len(lively.events("callback")) == 50


def test_nothing_waits_for_a_broker_that_is_not_there() -> None:
    tracker = SessionClient("lonely", server_url=f"tcp://127.0.0.1:{free_port()}")
    ran = threading.Event()
    tracker.on_kill(ran.set)
    with tracker.task("work"):
        assert not tracker.online
    tracker.stop()
    assert ran.is_set()
    operator = Operator(f"tcp://127.0.0.1:{free_port()}", timeout=0.2)
    with operator, pytest.raises(ConnectionError, match="cannot reach the broker at tcp://127"):
        operator.get_all_sessions()
