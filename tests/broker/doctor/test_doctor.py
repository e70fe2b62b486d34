"""panelbus doctor on a real host: with a broker, without one, and in the face of strangers."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker.doctor import facts
from broker.keyring import Keyring
from broker.schema import VERSION
from broker.store import Batch
from broker.store_sqlite import SqliteStore
from sessionclient import Operator, __version__
from sessionclient.cli import main
from tests.broker.starting import taken_port
from tests.broker.stores import process, session
from tests.support.processes import BrokerProcess, eventually, free_port, listening, running_broker
from tests.support.tls import write_certificate

pytestmark = pytest.mark.process


def run(*words: str) -> Result:
    free = f"http://127.0.0.1:{free_port()}"
    given = ["doctor", "--monitor", free, *words]
    if "--http" not in words:
        given += ["--http", free]
    return CliRunner().invoke(main, given, env={"PANELBUS_DB": "", "PANELBUS_FEED": ""})


def nobody() -> list[str]:
    bus, feed = free_port(), free_port()
    words = ["--server", f"tcp://127.0.0.1:{bus}", "--feed", f"tcp://127.0.0.1:{feed}"]
    return [*words, "--timeout", "0.3"]


def looked(*words: str) -> dict[str, dict[str, Any]]:
    result = run(*words, "--json")
    found = json.loads(result.output)
    fails = any(finding["level"] == "fail" for finding in found)
    assert result.exit_code == int(fails)
    return {finding["check"]: finding for finding in found}


def at(broker: BrokerProcess) -> list[str]:
    words = ["--db", str(broker.database), "--server", broker.bus, "--feed", broker.feed]
    return [*words, "--http", broker.http]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with closing(SqliteStore.open(tmp_path / "sessions.db")) as store:
        store.commit(Batch([process()], [session(f"s{n}", n, status="x" * 200) for n in range(99)]))
    return tmp_path / "sessions.db"


def snapshot(directory: Path) -> dict[str, tuple[int, int]]:
    files = [directory, *directory.iterdir()]
    return {file.name: (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def test_a_running_broker_is_ours_in_every_respect(tmp_path: Path) -> None:
    with running_broker(tmp_path, "--gateway") as broker:
        eventually(lambda: listening(broker.http_port), "the gateway listens")
        found = looked(*at(broker))
        levels = {check: finding["level"] for check, finding in found.items()}
        assert levels.pop("disk") in ("ok", "warn")  # of this machine
        assert levels.pop("files") in ("ok", "warn")
        assert set(levels.values()) == {"ok"}, found
        assert set(levels) >= {"database", "integrity", "modes", "broker", "bus", "feed", "http"}
        assert f"in use by a broker, pid {broker.pid} on " in found["database"]["text"]
        assert f"schema version {VERSION}" in found["database"]["text"]
        for port in ("bus", "feed", "http"):
            assert found[port]["text"].endswith(" is ours")
        assert found["monitor"]["text"].endswith(" is free")
        assert f"panelbus {__version__}, Python 3." in found["versions"]["text"]
        assert found["files"]["text"].startswith("the broker may have ")
        assert broker.running
        text = run(*at(broker))
        assert text.exit_code == 0
        lines = text.output.splitlines()
        assert len(lines) == len(found)
        assert all(line.split()[0] in ("ok", "warn") for line in lines)


def given(monkeypatch: pytest.MonkeyPatch, **variables: Path) -> None:
    for name, path in variables.items():
        monkeypatch.setenv(name, str(path))


def test_a_broker_with_keys_and_a_certificate_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Keyring(tmp_path / "keys")
    ring.make_broker_key()
    for name, role in (("gateway", "operator"), ("ops", "operator"), ("sales", "app")):
        ring.add(name, role)
    certificate, key = write_certificate(tmp_path)
    words = ["--gateway", "--keys", str(ring.directory)]
    with running_broker(tmp_path, *words, "--tls-cert", certificate, "--tls-key", key) as broker:
        eventually(lambda: listening(broker.http_port), "the gateway listens")
        words = [*at(broker)[:-1], broker.http.replace("http:", "https:")]
        given(monkeypatch, PANELBUS_KEYS=ring.directory, PANELBUS_KEY=ring.key_file("ops"))
        found = looked(*words)
        for check in ("broker", "bus", "feed", "http", "secrets"):
            assert found[check]["level"] == "ok", found[check]
        assert found["http"]["text"].endswith("is ours, its certificate not verified")
        for unfit in (ring.key_file("sales"), Path()):
            monkeypatch.setenv("PANELBUS_KEY", str(unfit) if unfit.name else "")
            found = looked(*words, "--timeout", "5")
            for check in ("broker", "bus", "feed"):
                assert found[check]["level"] == "warn", found[check]
                assert "can't be told without a key" in found[check]["text"]
                assert "PANELBUS_KEY" in found[check]["todo"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_secrets_others_can_read_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEYS", "TOKENS", "USERS", "KEY"):
        monkeypatch.setenv(f"PANELBUS_{name}", "")
    words = ["--db", str(tmp_path / "none.db"), *nobody()]
    assert "secrets" not in looked(*words)
    ring = Keyring(tmp_path / "keys")
    ring.make_broker_key()
    key, tokens = ring.add("ops", "operator"), tmp_path / "the tokens"
    tokens.write_text("{}")
    tokens.chmod(0o640)
    given(monkeypatch, PANELBUS_KEYS=ring.directory, PANELBUS_TOKENS=tokens)
    found = looked(*words)["secrets"]
    assert (found["level"], found["todo"]) == ("warn", f"chmod go= '{tokens}'")
    tokens.chmod(0o600)
    assert looked(*words)["secrets"]["level"] == "ok"
    key.chmod(0o640)
    assert looked(*words)["secrets"]["todo"] == f"chmod go= {key}"


def test_without_a_broker_nothing_is_made_or_changed(database: Path) -> None:
    before = snapshot(database.parent)
    found = looked("--db", str(database), *nobody())
    assert snapshot(database.parent) == before
    assert found["broker"]["level"] == "warn"
    assert found["broker"]["todo"] == "panelbus broker"
    assert "in use by no broker" in found["database"]["text"]
    assert found["integrity"]["level"] == "ok"
    missing = database.parent / "nowhere.db"
    assert "the broker will make it" in looked("--db", str(missing), *nobody())["database"]["text"]
    assert snapshot(database.parent) == before


def test_a_broker_was_killed_and_left_its_log(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        with Operator(broker.bus, timeout=20) as operator:
            operator.create_session("web")
        broker.kill()
    assert (tmp_path / "sessions.db-wal").stat().st_size > 0
    found = looked("--db", str(broker.database), *nobody())
    assert (found["database"]["level"], found["integrity"]["level"]) == ("ok", "ok")


def test_damage_is_found_and_fails(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    found = looked("--db", str(database), *nobody())
    assert found["integrity"]["level"] == "fail"
    assert f"panelbus restore BACKUP --db {database}" in found["integrity"]["todo"]


def test_what_is_no_database_fails_as_the_broker_would(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"PK\x03\x04")
    found = looked("--db", str(path), *nobody())["database"]
    assert (found["level"], found["text"]) == ("fail", f"{path} is not a SQLite database")
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    found = looked("--db", str(path), *nobody())["database"]
    assert (found["level"], "another program's database" in found["text"]) == ("fail", True)
    missing = looked("--db", str(tmp_path / "no" / "sessions.db"), *nobody())["database"]
    assert (missing["level"], missing["todo"]) == (
        "fail",
        "make it, or choose another place with --db",
    )


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_files_others_can_read_are_a_warning(database: Path) -> None:
    assert looked("--db", str(database), *nobody())["modes"]["level"] == "ok"
    database.chmod(0o644)
    found = looked("--db", str(database), *nobody())["modes"]
    assert (found["level"], found["todo"]) == ("warn", f"chmod 600 {database}")


def test_a_database_a_writer_locks_can_still_be_looked_at(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM tasks")
        found = looked("--db", str(database), *nobody())
        assert found["integrity"]["level"] == "ok"
        other.execute("ROLLBACK")


@contextmanager
def foreign_web_server() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"another program")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_strangers_on_our_ports_are_told(database: Path) -> None:
    with taken_port() as bus, taken_port() as feed, foreign_web_server() as http:
        words = ["--server", f"tcp://127.0.0.1:{bus}", "--feed", f"tcp://127.0.0.1:{feed}"]
        words += ["--http", f"http://127.0.0.1:{http}", "--timeout", "0.3"]
        found = looked("--db", str(database), *words)
    for port, option in (("bus", "--bus"), ("feed", "--feed"), ("http", "--http")):
        assert found[port]["level"] == "fail"
        assert option in found[port]["todo"]


def test_another_broker_s_feed_is_a_stranger(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with running_broker(tmp_path / "a") as one, running_broker(tmp_path / "b") as other:
        words = ["--db", str(one.database), "--server", one.bus, "--feed", other.feed]
        found = looked(*words)
        assert (found["bus"]["level"], found["feed"]["level"]) == ("ok", "fail")
        # and a database that is not the answering broker's
        words = ["--db", str(tmp_path / "none.db"), "--server", one.bus, "--feed", one.feed]
        assert looked(*words)["database"]["todo"] == "name it with --db"


def test_wrong_usage_is_status_2() -> None:
    for words in (
        ["--server", "http://127.0.0.1:8000"],
        ["--feed", "5761"],
        ["--http", "127.0.0.1:8000"],
        ["--http", "ftp://127.0.0.1:8000"],
        ["--monitor", "http://127.0.0.1:x"],
        ["extra"],
    ):
        assert run(*words).exit_code == 2


def test_the_limit_of_a_broker_is_that_of_its_process() -> None:
    holder = f"pid {os.getpid()} on {os.uname().nodename} since 2026-05-04T03:02:01+00:00"
    assert facts.broker_process(holder) == os.getpid()
    assert facts.broker_process(holder.replace(" on ", " on not-")) is None
    assert facts.broker_process(None) is None
    import resource

    assert facts.open_files_limit(os.getpid()) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
