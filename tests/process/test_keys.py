"""A broker that asks for keys, and everybody who comes without the right one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.keyring import Keyring
from sessionclient import Forbidden, LinkDown, Operator
from sessionclient.hub import Hub
from sessionclient.keys import KEY_VARIABLE, read_key
from tests.process.conftest import StartBroker
from tests.support.processes import BrokerProcess, Process, eventually, running, running_broker

pytestmark = pytest.mark.process

HASTY = 3.0  # seconds an operator waits that is not to be let in


class Fleet:
    """One broker with keys, and clients of it as processes and as operators."""

    def __init__(self, broker: BrokerProcess, ring: Keyring, stack: ExitStack) -> None:
        self.broker, self.ring, self._stack = broker, ring, stack
        self._numbers = iter(range(100))

    def operator(self, name: str | None, role: str = "operator", timeout: float = 20) -> Operator:
        file = None if name is None else self.ring.key_file(name)
        made = Operator(self.broker.bus, timeout, role=role, key_file=file)
        return self._stack.enter_context(made)

    def app(self, name: str, *flags: str) -> Process:
        words = ["-m", "tests.support.app_process", "--server", self.broker.bus, *flags]
        log = self.ring.directory.parent / f"app{next(self._numbers)}.log"
        env = {KEY_VARIABLE: str(self.ring.key_file(name))}
        return self._stack.enter_context(running(words, log, env))


@pytest.fixture
def fleet(start_broker: StartBroker, tmp_path: Path) -> Iterator[Fleet]:
    ring = Keyring(tmp_path / "keys")
    ring.make_broker_key()
    for name, role in (
        ("sales", "app"),
        ("stock", "app"),
        ("eve", "viewer"),
        ("ops", "operator"),
        ("gateway", "operator"),
    ):
        ring.add(name, role)
    with ExitStack() as stack:
        yield Fleet(start_broker("--no-gateway", "--keys", str(ring.directory)), ring, stack)


def test_a_session_is_registered_seen_and_killed_under_keys(fleet: Fleet) -> None:
    app = fleet.app("sales")
    operator = fleet.operator("ops")
    (session_id,) = app.wait_for("started")[0]["sessions"]
    eventually(lambda: operator.get_all_sessions(), "the session is registered")
    with operator.watch() as watch:
        eventually(lambda: watch.get(timeout=5) or 0, "the feed is heard")
        operator.request_kill(session_id, "enough", wait=20)
        app.wait_for("callback")
    done, asked = operator.get_audit().rows[:2]
    assert (asked["action"], asked["outcome"], asked["targets"]) == (
        "kill",
        "requested",
        [session_id],
    )
    assert asked["actor"].startswith("key ops on ")
    assert (done["outcome"], done["detail"]) == ("completed", "1 of 1 ended")


def test_whoever_has_no_key_or_a_strange_one_gets_nowhere(fleet: Fleet, tmp_path: Path) -> None:
    strange = Keyring(tmp_path / "strange")
    strange.make_broker_key()
    elsewhere = strange.add("ops", "operator")  # for another broker
    fields = elsewhere.read_text().replace(
        strange.broker_key().public, fleet.ring.broker_key().public
    )
    unknown = tmp_path / "unknown.key"  # for this broker, which does not know it
    unknown.write_text(fields)
    unknown.chmod(0o600)
    for file, says in (
        (None, "it asks for a key, and this client has none"),
        (unknown, "it does not know this client's key"),
        (elsewhere, "may be another broker's key"),
    ):
        with (
            Operator(fleet.broker.bus, HASTY, key_file=file) as operator,
            pytest.raises(LinkDown, match=says),
        ):
            operator.stats()
    (tmp_path / "plain").mkdir()
    with (
        running_broker(tmp_path / "plain") as plain,
        Operator(plain.bus, HASTY, key_file=fleet.ring.key_file("ops")) as operator,
        pytest.raises(LinkDown, match="it does not speak CURVE, but this client has a key"),
    ):
        operator.stats()
    rejected = fleet.operator("ops").stats()["rejected"]
    assert rejected["unknown_key"] >= 1
    eventually(lambda: "turned away" in fleet.broker.log(), "it is logged")
    assert fleet.broker.log().count("turned away") == 1


def test_roles_are_those_of_keys_whatever_is_said(fleet: Fleet) -> None:
    viewer = fleet.operator("eve", "viewer")
    assert viewer.get_all_sessions() == []
    with pytest.raises(Forbidden, match="the role 'viewer' may not send 'kill'"):
        viewer.request_kill("s")
    for name in ("eve", "sales"):
        posing = fleet.operator(name, "operator", HASTY)
        with pytest.raises(LinkDown, match=f"the key '{name}' is for the role"):
            posing.stats()


def test_a_key_is_added_and_revoked_while_the_broker_runs(fleet: Fleet) -> None:
    operator = fleet.operator("ops")
    reader = fleet.operator("eve", "viewer")
    with reader.watch() as watch, operator.watch() as other:
        eventually(lambda: reader.get_all_sessions() == [], "the viewer is in")
        fleet.ring.revoke("eve")
        # cut off from requests and from the feed; everybody else comes back to both
        with pytest.raises(LinkDown, match="not on the broker's list"):
            eventually(lambda: reader.stats() is None, "the viewer is out")
        fleet.ring.add("late", "app")
        app = fleet.app("late")
        (session_id,) = app.wait_for("started")[0]["sessions"]
        eventually(lambda: operator.get_all_sessions(), "the new key's session is registered")

        def seen() -> bool:
            change = other.get(timeout=5)
            return change is not None and any(
                row.get("session_id") == session_id for row in change.rows
            )

        eventually(seen, "the feed goes on for others")
        while (change := watch.get(timeout=0.1)) is not None:
            assert all(row.get("session_id") != session_id for row in change.rows)
    actions = [(row["action"], row["outcome"]) for row in operator.get_audit().rows]
    assert ("connect", "revoked") in actions


def test_a_client_comes_on_line_by_itself_when_its_key_is_added(
    fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = fleet.ring.add("early", "app")
    key = read_key(path)
    listed = fleet.ring.clients_directory / "early.pub"
    entry = listed.read_text()
    listed.unlink()
    operator = fleet.operator("ops")
    hub = Hub(fleet.broker.bus, key)
    try:
        with caplog.at_level(logging.WARNING, "sessionclient"):
            eventually(lambda: "does not know this client's key" in caplog.text, "it is told")
        before = operator.stats()["processes"]
        listed.write_text(entry)
        eventually(lambda: operator.stats()["processes"] > before, "it is let in")
    finally:
        hub.close(1.0)


def test_the_doctor_tells_a_broker_with_keys_from_a_stranger(fleet: Fleet) -> None:
    words = ["-m", "broker.doctor", "--server", fleet.broker.bus, "--feed", fleet.broker.feed]
    words += ["--db", str(fleet.broker.database), "--json"]
    log = fleet.ring.directory.parent / "doctor"
    for key, level in (("eve", "ok"), ("sales", "warn"), (None, "warn")):
        env = {KEY_VARIABLE: "" if key is None else str(fleet.ring.key_file(key))}
        with running(words, log.with_name(f"doctor-{key}"), env) as doctor:
            doctor.wait(60)
            found = json.loads(doctor.log())
        ports = {row["check"]: row["level"] for row in found if row["check"] in ("bus", "feed")}
        assert ports == {"bus": level, "feed": level}


def test_the_gateway_needs_a_key_of_its_own(fleet: Fleet, start_broker: StartBroker) -> None:
    fleet.broker.stop()
    fleet.ring.revoke("gateway")
    process = BrokerProcess(fleet.ring.directory.parent, ("--keys", str(fleet.ring.directory)))
    assert process.wait() == 2
    assert "panelbus keygen gateway --role operator --keys" in process.log()
    fleet.ring.add("gateway", "operator")
    start_broker("--gateway", "--keys", str(fleet.ring.directory))
