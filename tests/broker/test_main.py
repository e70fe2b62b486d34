"""``python -m broker`` as people and service managers start it: every refusal is one clear line."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker.__main__ import _registry
from broker.schema import VERSION
from broker.store import Batch
from broker.store_sqlite import SqliteStore
from sessionclient import __version__
from tests.broker.starting import free_addresses, misused, refused, run, taken_port
from tests.broker.stores import process, session
from tests.support.processes import eventually, free_port, running_broker

pytestmark = pytest.mark.process

OPTIONS = (
    "--bus",
    "--feed",
    "--http",
    "--db",
    "--gateway / --no-gateway",
    "--monitor",
    "--stale-after",
    "--cleanup-after",
    "--retention-days",
    "--audit-days NUMBER",
    "--keys DIRECTORY",
    "--tokens FILE",
    "--users FILE",
    "--tls-cert FILE",
    "--tls-key FILE",
    "--behind-proxy",
    "--secure-quickstart DIR",
    "--insecure",
    "--log-level",
    "--log-format",
    "--version",
    "--help",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


# --- telling about itself ------------------------------------------------------------------------


def test_help_names_every_option_its_default_and_the_variables() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    for option in OPTIONS:
        assert f" {option} " in text
    for words in (
        "tcp://127.0.0.1:5760",
        "tcp://127.0.0.1:5761",
        "127.0.0.1:8000",
        "sessions.db",
        "PANELBUS_<OPTION>",
        "default: 120.0",
        "default: 600.0",
        "default: 30.0",
    ):
        assert words in text
    shown = set(re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE))
    assert shown == {option.split()[0] for option in OPTIONS}


def test_version_is_that_of_the_product() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().endswith(f"version {__version__}")


# --- the command line ----------------------------------------------------------------------------

TO_LISTEN = "is not an address to listen on; give"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--wrong"], ["No such option", "--wrong"]),
        (["extra"], ["unexpected extra argument", "extra"]),
        (["--bus", "127.0.0.1:5760"], ["--bus", f"'127.0.0.1:5760' {TO_LISTEN} tcp://HOST:PORT"]),
        (["--feed", "tcp://127.0.0.1:0"], ["--feed", f"'tcp://127.0.0.1:0' {TO_LISTEN} tcp:"]),
        (["--http", "8000"], ["--http", f"'8000' {TO_LISTEN} HOST:PORT"]),
        (["--http", "127.0.0.1:65536"], ["--http", TO_LISTEN]),
        (["--stale-after", "0.5"], ["--stale-after", "0.5 is not in the range 1.0<=x<=316"]),
        (["--cleanup-after", "soon"], ["--cleanup-after", "'soon' is not a valid number"]),
        (["--retention-days", "0"], ["--retention-days", "0.0 is not in the range"]),
        (["--log-level", "loud"], ["--log-level", "'loud' is not one of", "'warning'"]),
        (["--log-format", "xml"], ["--log-format", "'xml' is not one of 'text', 'json'"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("-") else "",
)
def test_a_bad_flag_is_named_with_what_to_give(flags: list[str], words: list[str]) -> None:
    line = misused(*flags)
    for word in words:
        assert word in line


@pytest.mark.parametrize("flag", ["--stale-after", "--cleanup-after", "--retention-days"])
def test_a_time_that_is_no_number_is_refused(flag: str, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere" / "sessions.db")
    assert flag in misused(flag, "nan", "--db", nowhere, *free_addresses())


@pytest.mark.parametrize("value", ["inf", "1e9"])
def test_a_stale_time_clients_would_refuse_is_refused(value: str, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere" / "sessions.db")
    assert "--stale-after" in misused("--stale-after", value, "--db", nowhere, *free_addresses())


@pytest.mark.parametrize("flag", ["--bus", "--feed"])
def test_listening_beyond_loopback_has_to_be_asked_for(flag: str, path: Path) -> None:
    line = refused(*free_addresses(), flag, "tcp://0.0.0.0:5999", "--db", str(path))
    assert line.startswith(f"{flag} tcp://0.0.0.0:5999 is reachable from other machines")
    assert "Listen on 127.0.0.1" in line
    assert "panelbus keygen gateway --role operator --keys DIR" in line
    assert "or add --insecure" in line
    assert list(path.parent.iterdir()) == []


def test_serving_rest_beyond_loopback_has_to_be_asked_for(path: Path) -> None:
    flags = [*free_addresses(), "--gateway", "--http", "0.0.0.0:5999", "--db", str(path)]
    assert refused(*flags).startswith("--http 0.0.0.0:5999 is reachable from other machines")
    assert list(path.parent.iterdir()) == []


def test_a_host_name_that_can_not_be_one_is_refused(path: Path) -> None:
    line = misused(*free_addresses(), "--bus", "tcp://a..b:5999", "--db", str(path))
    assert "'tcp://a..b:5999' is not an address to listen on" in line


# --- the environment -----------------------------------------------------------------------------


def test_every_option_can_come_from_the_environment(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(b"no database at all")
    assert refused(*free_addresses(), PANELBUS_DB=str(other)).startswith(f"{other} is not a SQLite")
    assert "'nowhere' is not an address" in misused(PANELBUS_BUS="nowhere")
    assert "'nowhere' is not an address" in misused(PANELBUS_HTTP="nowhere")
    assert "--insecure" in refused(PANELBUS_FEED="tcp://0.0.0.0:5999", PANELBUS_GATEWAY="0")


def test_the_command_line_goes_before_the_environment(tmp_path: Path) -> None:
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    one.touch()
    two.touch()
    line = refused(*free_addresses(), "--db", str(one), PANELBUS_DB=str(two))
    assert line.startswith(f"{one} is empty")


# --- addresses that are taken --------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--bus", "--feed"])
def test_a_taken_port_is_named_with_its_flag(flag: str, path: Path) -> None:
    with taken_port() as port:
        address = f"tcp://127.0.0.1:{port}"
        line = refused(*free_addresses(), flag, address, "--db", str(path))
    assert line.startswith(f"can't listen on {address}: Address already in use")
    assert f"choose another address with {flag}, or stop what holds it" in line
    SqliteStore.open(path).close()  # and the database was left as it should be


def test_one_address_for_both_is_taken_too(path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    line = refused("--no-gateway", "--bus", address, "--feed", address, "--db", str(path))
    assert line.startswith(f"can't listen on {address}: Address already in use")
    assert "--feed" in line


def test_a_taken_http_port_is_named_before_anything_is_started(path: Path) -> None:
    with taken_port() as port:
        flags = [*free_addresses(), "--gateway", "--http", f"127.0.0.1:{port}", "--db", str(path)]
        line = refused(*flags)
    assert line == (
        f"can't listen on 127.0.0.1:{port}: Address already in use; choose another address with"
        " --http, or stop what holds it"
    )
    assert list(path.parent.iterdir()) == []


def test_a_socket_file_that_can_not_be_made_is_named(path: Path) -> None:
    address = f"ipc://{path.parent / 'nowhere' / 'bus'}"
    line = refused(*free_addresses(), "--bus", address, "--db", str(path))
    assert line.startswith(f"can't listen on {address}: No such file or directory")
    assert "--bus" in line


# --- databases that can't be used ----------------------------------------------------------------


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 a spreadsheet")
    line = refused(*free_addresses(), "--db", str(path))
    assert line == f"{path} is not a SQLite database; choose another file with --db"


def test_a_database_of_a_newer_version_is_named(path: Path) -> None:
    SqliteStore.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    line = refused(*free_addresses(), "--db", str(path))
    assert f"{path} has schema version {VERSION + 1}" in line
    assert "upgrade panelbus, or choose another file with --db" in line


def test_a_database_damaged_within_is_named_and_nothing_is_left_behind(path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        store.commit(Batch([process()], [session()]))
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    line = refused(*free_addresses(), "--db", str(path))
    assert line.startswith(f"{path} is damaged (")


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    line = misused(*free_addresses(), "--db", str(tmp_path))
    assert f"File '{tmp_path}' is a directory" in line


def test_a_database_another_broker_holds_is_named_with_its_pid(tmp_path: Path) -> None:
    with running_broker(tmp_path) as first:
        line = refused(*free_addresses(), "--db", str(first.database))
        assert f"{first.database} is in use by another broker (pid {first.pid} on " in line
        assert "stop that one, or choose another database with --db" in line
        eventually(lambda: "INFO" in first.log(), "the first one says that it serves")
        assert first.running


@pytest.mark.skipif(os.name != "posix", reason="a path of POSIX")
def test_a_place_that_can_not_be_written_is_named() -> None:
    line = refused(*free_addresses(), "--db", "/dev/null/sessions.db")
    assert (
        line == "can't read /dev/null/sessions.db: Not a directory; choose another file with --db"
    )


# --- settings that follow from others ------------------------------------------------------------


@pytest.mark.parametrize(("days", "seconds"), [(0.01, 86.4), (30.0, 3600.0)])
def test_history_that_is_kept_for_minutes_is_purged_in_minutes(
    path: Path, days: float, seconds: float
) -> None:
    flags = {"stale_after": 120.0, "cleanup_after": 600.0, "audit_days": 365.0, "feed": "tcp://x:1"}
    with closing(SqliteStore.open(path)) as store:
        registry = _registry(store, None, {**flags, "retention_days": days})
    assert registry.state.settings.purge_interval == pytest.approx(seconds)
