"""How a broker ends: by a signal, orderly and with everything kept; by itself, when it must."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from broker.store import Loaded
from broker.store_sqlite import SqliteStore
from sessionclient import Operator
from sessionclient.errors import LinkDown, Unavailable
from tests.broker.raw import RawPeer
from tests.broker.starting import free_addresses, run
from tests.broker.stores import EVERYTHING
from tests.support.bench import session
from tests.support.processes import BrokerProcess, eventually, free_port, listening, running_broker

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
]

A_FEW_SECONDS = 15.0  # on a busy machine


def stop(broker: BrokerProcess, number: signal.Signals = signal.SIGTERM) -> int:
    """Its exit status; it has to end within a few seconds."""
    started = time.monotonic()
    broker.signal(number)
    status = broker.wait()
    assert time.monotonic() - started < A_FEW_SECONDS
    assert "Traceback" not in broker.log()
    return status


def load(path: Path) -> Loaded:
    with closing(SqliteStore.open(path)) as store:
        return store.load(max_tombstones=EVERYTHING, max_commands=EVERYTHING, max_gone=EVERYTHING)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_orderly_and_the_last_registrations_are_kept(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running_broker(tmp_path) as broker, RawPeer(broker.bus) as peer:
        names = [f"s{index}" for index in range(500)]
        peer.greet("app", *map(session, names[:-1]))
        peer.tell("register", **session(names[-1]))
        peer.say("heartbeat", n=99)  # a gap, which is answered at once: all the rest was taken
        while peer.answer()["k"] != "say_hello":
            pass
        assert stop(broker, number) == 0
        assert broker.log().rstrip().endswith("stopped")
        assert [row.session_id for row in load(broker.database).sessions] == names


def test_what_is_written_lazily_is_kept_too(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path) as broker,
        RawPeer(broker.bus) as peer,
        Operator(broker.bus) as operator,
    ):
        peer.greet("app", session("s1"))
        done = {"s": "s1", "no": 1, "name": "load", "age": 3.0, "took": 2.0, "outcome": "ok"}
        peer.tell("status", s="s1", status="saving", task="save", task_age=0.0, done=[done])
        eventually(lambda: operator.get_session("s1")["status"] == "saving", "it is known")
        assert stop(broker) == 0
        (row,) = load(broker.database).sessions
        assert (row.status, row.current_task) == ("saving", "save")
        with closing(SqliteStore.open(broker.database)) as store:
            assert [task.name for task in store.tasks("s1", 10)] == ["load"]


def test_two_signals_are_one_orderly_end(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, Operator(broker.bus) as operator:
        operator.create_session("web")
        broker.signal(signal.SIGINT)
        assert stop(broker) == 0
        assert len(load(broker.database).sessions) == 1


def test_the_gateway_ends_with_it(tmp_path: Path) -> None:
    with running_broker(tmp_path, "--gateway") as broker, Operator(broker.bus) as operator:
        operator.stats()
        assert stop(broker) == 0
        assert not listening(broker.http_port)
        assert not listening(broker.bus_port)
        assert not listening(broker.feed_port)


def test_every_log_line_can_be_json(tmp_path: Path) -> None:
    flags = ("--gateway", "--log-format", "json", "--log-level", "debug")
    with running_broker(tmp_path, *flags) as broker, RawPeer(broker.bus) as peer:
        peer.send(b"\xc1")
        assert peer.answer()["code"] == "bad_request"
        assert stop(broker) == 0
        entries = [json.loads(line) for line in broker.log().splitlines()]
    messages = [entry["message"] for entry in entries]
    assert f"bus on {broker.bus}, feed on {broker.feed}" in messages[0]
    assert str(broker.database) in messages[0]
    assert any(text.startswith("refused 1 malformed messages, last: ") for text in messages)
    assert messages[-1] == "stopped"
    for entry in entries:
        assert {"time", "level", "logger", "message"} <= set(entry)


def test_a_database_that_vanishes_ends_it_with_the_reason(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, Operator(broker.bus, timeout=5) as operator:
        operator.create_session("web")
        broker.database.unlink()
        with pytest.raises((Unavailable, LinkDown)):
            operator.create_session("web")
        assert broker.wait() == 1
        last = broker.log().rstrip().splitlines()[-1]
        assert "CRITICAL" in last
        assert f"{broker.database} or its -wal was removed or replaced while in use" in last
        assert "Traceback" not in broker.log()


def test_a_database_others_lock_degrades_it_and_does_not_hold_up_its_end(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, Operator(broker.bus, timeout=10) as operator:
        operator.create_session("before")
        with closing(sqlite3.connect(broker.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(Unavailable, match="is locked by another program"):
                operator.create_session("meanwhile")
            assert operator.stats()["health"]["cause"] == "busy"
            assert [row["app_name"] for row in operator.get_all_sessions()] == ["before"]
            assert stop(broker) == 0
        assert [row.app_name for row in load(broker.database).sessions] == ["before"]


def test_after_a_full_stop_it_starts_again_with_what_there_was(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, Operator(broker.bus, timeout=20) as operator:
        session_id = operator.create_session("web", "ann")
        killed = operator.request_kill(session_id, "why")
        assert stop(broker) == 0
        broker.start()
        broker.wait_until_serving()
        (row,) = operator.get_all_sessions()
        assert (row["session_id"], row["kill_reason"]) == (session_id, "why")
        assert operator.get_command(killed["command_id"])["stage"] == "requested"
        assert operator.update_heartbeat(session_id) is True


def test_a_gateway_that_can_not_run_as_configured_ends_it_with_both_reasons(tmp_path: Path) -> None:
    flags = [*free_addresses(), "--gateway", "--http", f"127.0.0.1:{free_port()}"]
    done = run(*flags, "--db", str(tmp_path / "sessions.db"), PANELBUS_ALLOW_HOST="name:80")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "gateway: " in done.stderr
    assert "'name:80' is not a host name" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "broker: the gateway can't run as it was started; see its message above"
    assert load(tmp_path / "sessions.db").sessions == []
