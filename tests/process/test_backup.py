"""panelbus backup and restore with a real broker: under load, cut short, and without one."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker.store import Batch
from broker.store_sqlite import SqliteStore
from sessionclient import Operator
from sessionclient.cli import main
from sessionclient.errors import PanelbusError, Refused
from tests.broker.stores import session
from tests.process.conftest import Connect, StartBroker, Track
from tests.support.processes import BrokerProcess, eventually

pytestmark = pytest.mark.process

HISTORY = 60_000  # sessions that make a copy take a while


def run(*words: str, server: str = "tcp://127.0.0.1:1") -> Result:
    return CliRunner().invoke(main, list(words), env={"PANELBUS_URL": server, "PANELBUS_DB": ""})


def content(path: Path) -> dict[str, Any]:
    """All rows of all tables, which must be sound."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}


@contextmanager
def load(broker: BrokerProcess) -> Iterator[list[str]]:
    """Sessions are registered without a pause; the list grows with those that were accepted."""
    stop, accepted = threading.Event(), list[str]()

    def register() -> None:
        with Operator(broker.bus, timeout=20) as operator:
            while not stop.is_set():
                accepted.append(operator.create_session("load", "y" * 200))

    thread = threading.Thread(target=register)
    thread.start()
    try:
        yield accepted
    finally:
        stop.set()
        thread.join(30.0)


def big_database(path: Path) -> None:
    """With enough history for a copy to take a while."""
    with closing(SqliteStore.open(path)) as store:
        for start in range(0, HISTORY, 10_000):
            many = [
                session(f"h{n}", n + 1, status="x" * 255, ended_at=9e9, end_reason="closed")
                for n in range(start, start + 10_000)
            ]
            store.commit(Batch(sessions=many))


def test_a_backup_under_load_is_one_instant_and_restores_to_it(
    start_broker: StartBroker, track: Track
) -> None:
    broker = start_broker()
    tracker = track(broker.bus)
    eventually(lambda: tracker.online, "it is registered")
    backup = broker.database.with_name("backup.db")
    with load(broker) as accepted:
        eventually(lambda: len(accepted) > 20, "there is some load")
        before = list(accepted)
        result = run("backup", "backup.db", "--json", server=broker.bus)
        assert result.exit_code == 0, result.output
        count = len(accepted)
        eventually(lambda: len(accepted) > count + 20, "it goes on")
    made = json.loads(result.output)
    assert made == {"file": str(backup), "bytes": backup.stat().st_size}
    copy = content(backup)
    ids = [row[0] for row in copy["sessions"]]
    assert {*before, tracker.session_id} <= set(ids)
    # of one instant: every session up to the last one of the copy, and none after
    assert set(ids) - {tracker.session_id} == set(accepted[: len(ids) - 1])

    again = run("restore", str(backup), "--db", str(broker.database))
    assert again.exit_code == 1
    assert f"is in use by another broker (pid {broker.pid} on " in again.output
    tracker.stop()
    assert broker.stop() == 0
    result = run("restore", str(backup), "--db", str(broker.database), "--json")
    assert result.exit_code == 0, result.output
    assert content(broker.database) == copy
    aside = Path(json.loads(result.output)["kept_aside"])
    assert {row[0] for row in content(aside)["sessions"]} >= {*accepted, tracker.session_id}
    broker.start()
    broker.wait_until_serving()
    with Operator(broker.bus, timeout=20) as operator:
        live = {row["session_id"] for row in operator.get_all_sessions()}
    assert live == set(ids)


def test_kill_9_in_the_middle_leaves_no_half_file_under_the_name(
    start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    big_database(tmp_path / "sessions.db")
    broker = start_broker()
    for number in range(20):  # a copy may be done before the signal is: then once more
        failed: list[PanelbusError] = []
        thread = threading.Thread(target=back_up, args=(broker, f"backup{number}.db", failed))
        thread.start()
        began = f"backup{number}.db*"
        eventually(partial(list_of, tmp_path, began), "the copy has begun")
        broker.kill()
        thread.join(40.0)
        made, half = tmp_path / f"backup{number}.db", list_of(tmp_path, f"{began}.part")
        if made.exists():
            assert len(content(made)["sessions"]) == HISTORY
        else:
            assert failed  # and it is not asked again behind the operator's back
        broker.start()
        broker.wait_until_serving()
        if half:
            break
    else:
        raise AssertionError("every copy was over too soon")
    with connect(broker) as operator:
        answer = operator.backup("whole.db")
    assert len(content(Path(answer["file"]))["sessions"]) == HISTORY


def list_of(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern))


def back_up(broker: BrokerProcess, file: str, failed: list[PanelbusError]) -> None:
    try:
        with Operator(broker.bus, timeout=20) as operator:
            operator.backup(file, wait=10)
    except PanelbusError as error:
        failed.append(error)


def test_only_an_operator_may_ask_and_nothing_is_overwritten(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    broker = start_broker()
    with (
        Operator(broker.bus, role="viewer") as viewer,
        pytest.raises(Refused, match="'viewer' may not send 'backup'"),
    ):
        viewer.backup("backup.db")
    assert not (tmp_path / "backup.db").exists()
    (tmp_path / "precious.db").write_text("data")
    result = run("backup", "precious.db", server=broker.bus)
    assert result.exit_code == 1
    assert f"no backup was made: {tmp_path / 'precious.db'} exists already" in result.output
    assert (tmp_path / "precious.db").read_text() == "data"
    result = run("backup", "notes.txt", server=broker.bus)
    assert "'notes.txt' must be a file name that ends in .db" in result.output


def test_without_a_broker_the_copy_is_made_from_here(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    broker = start_broker()
    with Operator(broker.bus, timeout=20) as operator:
        operator.create_session("web")
    refused = run("backup", "cold.db", "--db", str(broker.database))
    assert refused.exit_code == 1
    assert f"is in use by another broker (pid {broker.pid} on " in refused.output
    broker.kill()
    result = run("backup", "cold.db", "--db", str(broker.database))
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{tmp_path / 'cold.db'}: ")
    assert len(content(tmp_path / "cold.db")["sessions"]) == 1
    missing = run("backup", "cold.db", "--db", str(tmp_path / "nowhere.db"))
    assert (missing.exit_code, "there is no database" in missing.output) == (1, True)


def test_wrong_usage_is_status_2(tmp_path: Path) -> None:
    for words in (["backup"], ["backup", "a.db", "--wait", "0"], ["restore", "nowhere.db"]):
        assert run(*words).exit_code == 2
