"""What the doctor makes of its facts: each level, each text, and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.doctor import findings
from broker.doctor.findings import MEGABYTE, BrokerFacts, DatabaseFacts, Finding, PortFacts

GOOD = DatabaseFacts(
    "/data/sessions.db",
    exists=True,
    version=2,
    newest=2,
    size=30 * MEGABYTE,
    free=5_000 * MEGABYTE,
    modes={"/data/sessions.db": 0o600, "/data/sessions.db.lock": 0o600},
)
HOLDER = "pid 7 on host1 since 2026-05-04T03:02:01+00:00"
RUNNING = BrokerFacts("tcp://127.0.0.1:5760", True, None, "1.2", {"status": "ok"}, 12)
DOWN = BrokerFacts("tcp://127.0.0.1:5760", True, "cannot reach the broker at ...")


def database(**changes: Any) -> dict[str, Finding]:
    found = findings.database(replace(GOOD, **changes))
    assert len({finding.check for finding in found}) == len(found)
    return {finding.check: finding for finding in found}


def test_a_sound_database_is_all_well() -> None:
    found = database()
    assert {finding.level for finding in found.values()} == {"ok"}
    assert found["database"].text == "/data/sessions.db, schema version 2, in use by no broker"
    assert found["disk"].text == "5000 MB free beside 30 MB of database"
    assert all(finding.todo == "" for finding in found.values())


def test_the_broker_that_has_it_is_named() -> None:
    assert database(holder=HOLDER)["database"].text.endswith(f"in use by a broker, {HOLDER}")


def test_an_older_schema_is_told_before_it_is_brought_forward() -> None:
    found = database(version=1)["database"]
    assert (found.level, "back it up" in found.todo) == ("warn", True)
    assert "has schema version 1, this is 2" in found.text


@pytest.mark.parametrize(
    ("changes", "level", "text", "todo"),
    [
        ({"exists": False}, "ok", "does not exist; the broker will make it", ""),
        (
            {"exists": False, "writable": False},
            "fail",
            "can't be made by this user",
            "give the broker's user its directory",
        ),
        (
            {"directory": False, "exists": False},
            "fail",
            "the directory of",
            "make it, or choose another place",
        ),
        (
            {
                "problem": "/data/sessions.db is empty; choose another file with --db",
            },
            "fail",
            "/data/sessions.db is empty",
            "choose another file with --db",
        ),
    ],
)
def test_a_database_that_is_not_there_or_not_ours(
    changes: dict[str, Any], level: str, text: str, todo: str
) -> None:
    found = database(**changes)
    assert found["database"].level == level
    assert text in found["database"].text
    assert todo in found["database"].todo
    assert "integrity" not in found


def test_damage_names_the_way_back() -> None:
    found = database(damage="row 3 missing from index")["integrity"]
    assert found == (
        "integrity",
        "fail",
        "/data/sessions.db is damaged (row 3 missing from index)",
        "stop the broker; panelbus restore BACKUP --db /data/sessions.db",
    )
    found = database(unchecked="database is locked")["integrity"]
    assert (found.level, found.text) == ("warn", "not looked at: database is locked")


@pytest.mark.parametrize(
    ("free", "size", "level"),
    [
        (15 * MEGABYTE, MEGABYTE, "fail"),
        (17 * MEGABYTE, MEGABYTE, "warn"),
        (255 * MEGABYTE, MEGABYTE, "warn"),
        (257 * MEGABYTE, MEGABYTE, "ok"),
        (300 * MEGABYTE, 400 * MEGABYTE, "warn"),  # not even room for a backup
    ],
)
def test_space_is_judged_by_what_the_database_needs(free: int, size: int, level: str) -> None:
    found = database(free=free, size=size)["disk"]
    assert (found.level, found.todo != "") == (level, level != "ok")


def test_files_others_can_read_are_named() -> None:
    modes = {"/data/sessions.db": 0o644, "/data/sessions.db.lock": 0o600, "/data/x-wal": 0o620}
    found = database(modes=modes)["modes"]
    assert found.level == "warn"
    assert found.todo == "chmod 600 /data/sessions.db /data/x-wal"


def test_a_broker_that_runs() -> None:
    assert findings.broker(RUNNING, HOLDER, "1.2") == [
        ("broker", "ok", "it answers at tcp://127.0.0.1:5760: 12 sessions", ""),
        ("version", "ok", "broker and client have version 1.2", ""),
    ]


def test_a_broker_that_is_degraded_of_another_version_or_on_another_database() -> None:
    ill = {"status": "degraded", "cause": "full", "message": "no space left for /data; free some"}
    broker, version, database = findings.broker(replace(RUNNING, health=ill), None, "1.3")
    assert (broker.level, version.level, database.level) == ("fail", "warn", "warn")
    assert "degraded (full): no space left for /data; free some" in broker.text
    assert version.text == "the broker has version 1.2, this is 1.3"
    assert (database.check, database.todo) == ("database", "name it with --db")
    assert len(findings.broker(replace(RUNNING, local=False), None, "1.2")) == 2


def test_a_broker_that_does_not_answer() -> None:
    (found,) = findings.broker(DOWN, None, "1.2")
    assert (found.level, found.todo) == ("warn", "panelbus broker")
    (found,) = findings.broker(DOWN, HOLDER, "1.2")
    assert (found.level, HOLDER in found.text, "hangs" in found.todo) == ("fail", True, True)
    (found,) = findings.broker(replace(DOWN, local=False), None, "1.2")
    assert (found.level, "firewall" in found.todo) == ("fail", True)


def test_ports() -> None:
    ports = [
        PortFacts("bus", "a", "ours", "--bus"),
        PortFacts("feed", "b", "nobody", "--feed"),
        PortFacts("http", "c", "stranger", "--http"),
        PortFacts("monitor", "d", "nobody", "--port"),
    ]
    running = findings.ports(ports, broker_runs=True)
    assert [finding.level for finding in running] == ["ok", "fail", "fail", "ok"]
    assert "--http" in running[2].todo
    down = findings.ports(ports, broker_runs=False)
    assert [finding.level for finding in down] == ["ok", "ok", "fail", "ok"]


def test_open_files() -> None:
    assert findings.open_files(None, of_broker=False) == []
    (found,) = findings.open_files(1_024, of_broker=True)
    assert (found.level, "LimitNOFILE" in found.todo) == ("warn", True)
    assert found.text.startswith("the broker may have 1024 files open")
    (found,) = findings.open_files(65_536, of_broker=False)
    assert found.level == "ok"
