"""The plain functions, for scripts and notebooks, at a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from monitor import plain
from monitor.plain import load_sessions_data, request_kill, request_kill_all
from sessionclient import LinkDown, Misuse, NotFound, Operator, SessionClient
from tests.support.processes import BrokerProcess, eventually, free_port, running_broker

pytestmark = pytest.mark.process


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path) as started:
        yield started


@pytest.fixture
def sessions(broker: BrokerProcess) -> Iterator[list[SessionClient]]:
    """Two of "sales" and one of "stock", registered."""
    made = [
        SessionClient(app, "ann", broker.bus, heartbeat_interval=0.5)
        for app in ("sales", "sales", "stock")
    ]
    eventually(lambda: all(session.online for session in made), "all are registered")
    yield made
    for session in made:
        session.stop()


def test_sessions_are_loaded_as_dicts(
    broker: BrokerProcess, sessions: list[SessionClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = load_sessions_data(broker.bus)
    assert {row["session_id"]: row["app_name"] for row in rows} == {
        session.session_id: session.app_name for session in sessions
    }
    monkeypatch.setenv("PANELBUS_URL", broker.bus)
    assert len(load_sessions_data()) == 3


def test_a_broker_without_sessions_has_an_empty_list(broker: BrokerProcess) -> None:
    assert load_sessions_data(broker.bus) == []


def test_one_session_is_ended(broker: BrokerProcess, sessions: list[SessionClient]) -> None:
    answer = request_kill(sessions[0].session_id, "too big", broker.bus)
    assert answer.keys() >= {"command_id", "stage"}
    assert sessions[0].killed.wait(20)
    assert sessions[0].kill_reason == "too big"
    eventually(lambda: len(load_sessions_data(broker.bus)) == 2, "it has ended")
    assert not sessions[1].killed.is_set()


def test_an_unknown_session_can_t_be_ended(broker: BrokerProcess) -> None:
    with pytest.raises(NotFound, match="nobody"):
        request_kill("nobody", server_url=broker.bus)


def test_all_sessions_of_an_app_are_ended(
    broker: BrokerProcess, sessions: list[SessionClient]
) -> None:
    assert request_kill_all("sales", "maintenance", broker.bus) == 2
    assert all(session.killed.wait(20) for session in sessions[:2])
    assert [session.kill_reason for session in sessions[:2]] == ["maintenance"] * 2
    eventually(lambda: len(load_sessions_data(broker.bus)) == 1, "they have ended")
    assert not sessions[2].killed.is_set()
    assert request_kill_all("sales", server_url=broker.bus) == 0
    assert request_kill_all("no such app", server_url=broker.bus) == 0


def test_without_a_broker_the_link_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "Operator", partial(Operator, timeout=0.3))
    nowhere = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(LinkDown):
        load_sessions_data(nowhere)
    with pytest.raises(LinkDown):
        request_kill("s1", None, nowhere)
    with pytest.raises(LinkDown):
        request_kill_all("sales", None, nowhere)


def test_a_wrong_address_is_told() -> None:
    with pytest.raises(Misuse):
        load_sessions_data("http://127.0.0.1:8000")
