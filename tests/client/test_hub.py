"""What many sessions and many changes cost a process: a line in its log, and a mark for each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest.mock import Mock

import pytest

from sessionclient import hub as hub_module
from sessionclient import replica
from sessionclient.hub import COMPLAINT_INTERVAL, Hub
from sessionclient.link import Send
from sessionclient.replica import SessionState, TaskDone
from tests.support.processes import eventually, free_port


@dataclass
class Session:
    session_id: str
    queued: bool = False

    def snapshot(self) -> SessionState:
        return SessionState(self.session_id, "sales", None, 0.0, "idle")

    def take_done(self) -> list[TaskDone]:
        return []

    def on_command(self, _command_id: str, _reason: str | None) -> None:
        raise AssertionError("nobody kills it")


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub(f"tcp://127.0.0.1:{free_port()}")
    yield found
    found.close(0.0)


def add(hub: Hub, count: int) -> None:
    for number in range(count):
        hub.add(Session(f"s{number}"), 30.0)
    eventually(lambda: not hub._inbox, "all are looked at")


def test_sessions_beyond_the_bound_cost_one_line_and_no_memory(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(replica, "MAX_SESSIONS_PER_PROCESS", 10)
    monkeypatch.setattr(hub_module, "MAX_SESSIONS_PER_PROCESS", 10)
    add(hub, 2_000)
    eventually(lambda: hub._left_out == 1_989, "all but the first are counted")
    text = "session s10 is not registered: this process has 10 sessions already"
    assert caplog.messages == [text]
    assert len(hub._sources) == len(hub._replica.sessions) == 10


def test_refusals_of_the_broker_cost_a_line_in_a_while(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    now = time.monotonic()
    monkeypatch.setattr("sessionclient.hub.time.monotonic", lambda: now)
    for number in range(500):
        hub._refused(f"s{number}", "the broker is full")
    now += COMPLAINT_INTERVAL
    hub._refused("s500", "the broker is full")
    assert caplog.messages == [
        "the broker does not take session s0: the broker is full",
        "the broker does not take session s500: the broker is full"
        " (499 more since the last such line)",
    ]


def test_changes_of_one_session_wait_as_one_mark(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub._io, "wake", lambda: None)  # nobody looks meanwhile
    busy, calm = Session("s0"), Session("s1")
    for _ in range(1_000):
        hub.changed(busy)
    hub.changed(calm)
    assert len(hub._changes) == 2
    monkeypatch.undo()
    hub._io.wake()
    eventually(lambda: not hub._changes, "they are looked at")
    eventually(lambda: not busy.queued, "and the next change counts")


class Newcomer(Session):
    """Looked at while another session is made, whose first task is done at once."""

    def __init__(self, hub: Hub, other: Session) -> None:
        super().__init__("s0")
        self.meanwhile: list[Callable[[], None]] = [
            lambda: hub.add(other, 30.0),
            lambda: hub.changed(other),
        ]

    def snapshot(self) -> SessionState:
        for do in self.meanwhile:
            do()
        self.meanwhile = []
        return super().snapshot()


class Finished(Session):
    def take_done(self) -> list[TaskDone]:
        return [TaskDone(self.session_id, 1, "load", 0.0, 0.1, "ok")]


def test_a_change_is_not_told_before_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "IoThread", lambda *_, **__: Mock())  # this thread is it
    hub = Hub("tcp://127.0.0.1:1")
    hub.connected(1.0)
    hub._link.received({"k": "welcome", "n": 1, "stale_after": 120.0}, 1.0)
    other = Finished("s1")
    newcomer = Newcomer(hub, other)
    newcomer.meanwhile, later = [], newcomer.meanwhile
    hub.add(newcomer, 30.0)
    hub.wake(1.0)
    hub.take_effects()
    newcomer.meanwhile = later
    hub.changed(newcomer)
    hub.wake(2.0)
    hub.wake(2.0)
    said = [effect.message for effect in hub.take_effects() if isinstance(effect, Send)]
    assert [(message["k"], message["s"]) for message in said] == [
        ("status", "s0"),
        ("register", "s1"),
        ("status", "s1"),
    ]
