"""The broker's children: kept alive with growing pauses, and ended together, at last by force."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from broker import children as module
from broker.children import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PORT_PATIENCE,
    PROVED_AFTER,
    STEADY_AFTER,
    USAGE_STATUS,
    Child,
    Children,
)
from tests.support.processes import ROOT, eventually, free_port, listening


class FakeProcess:
    """Stands for a process that ends when the test says so."""

    started: list[FakeProcess]
    calls: list[str]  # of all of them, in order

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.command, self.env = command, env
        self.status: int | None = None
        self.stubborn = False
        self.started.append(self)

    @property
    def name(self) -> str:
        return self.command[-1]

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        self.calls.append(f"terminate {self.name}")
        if not self.stubborn and self.status is None:
            self.status = -15

    def kill(self) -> None:
        self.calls.append(f"kill {self.name}")
        self.status = -9

    def wait(self, timeout: float | None = None) -> int:
        self.calls.append(f"wait {self.name}")
        if self.status is None:
            assert timeout is not None
            assert 0.0 <= timeout <= module.STOP_TIMEOUT
            raise subprocess.TimeoutExpired(self.command, timeout)
        return self.status


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeProcess]:
    """Processes are not really started."""
    monkeypatch.setattr(FakeProcess, "started", [], raising=False)
    monkeypatch.setattr(FakeProcess, "calls", [], raising=False)
    monkeypatch.setattr("broker.children.subprocess.Popen", FakeProcess)
    return FakeProcess


def started_child() -> Child:
    child = Child("gateway", ["broker.gateway", "x"])
    child.start(100.0)
    return child


def die(child: Child, now: float, status: int = 1) -> float:
    """Let it die; returns how long it is left alone."""
    assert isinstance(child.process, FakeProcess)
    child.process.status = status
    assert child.check(now) is None
    assert child.process is None
    return child.start_at - now


# --- keeping alive -------------------------------------------------------------------------------


def test_a_child_is_a_module_run_by_this_python(fake: type[FakeProcess]) -> None:
    started_child()
    assert fake.started[0].command == [sys.executable, "-m", "broker.gateway", "x"]


def test_a_child_that_lives_is_left_alone(fake: type[FakeProcess]) -> None:
    child = started_child()
    for now in (100.0, 101.0, 5000.0):
        assert child.check(now) is None
    assert len(fake.started) == 1


def test_a_child_that_died_is_started_again_after_a_pause(fake: type[FakeProcess]) -> None:
    child = started_child()
    pause = die(child, 101.0)
    assert pause > 0.0
    assert child.check(101.0 + pause - 0.1) is None
    assert len(fake.started) == 1
    child.check(101.0 + pause)
    assert len(fake.started) == 2
    assert child.process is not None
    assert fake.started[1].command == fake.started[0].command


def test_the_pause_doubles_up_to_a_bound_while_it_keeps_dying(fake: type[FakeProcess]) -> None:
    child, now, pauses = started_child(), 100.0, []
    for _ in range(8):
        now += 0.5
        pauses.append(die(child, now))
        now = child.start_at
        child.check(now)
    for earlier, later in pairwise(pauses):
        assert later == min(earlier * 2, LONGEST_PAUSE)
    assert pauses[-1] == LONGEST_PAUSE
    assert len(fake.started) == 9


def test_the_first_pause_is_the_shortest(fake: type[FakeProcess]) -> None:
    assert die(started_child(), 100.5) == FIRST_PAUSE


def test_the_pause_starts_over_when_it_has_lived_for_long(fake: type[FakeProcess]) -> None:
    child, now = started_child(), 100.0
    for _ in range(4):
        now += 0.5
        die(child, now)
        now = child.start_at
        child.check(now)
    assert die(child, now + STEADY_AFTER + 0.1) == FIRST_PAUSE
    assert len(fake.started) == 5


@pytest.mark.parametrize("status", [0, 1, -9])
def test_any_end_but_one_is_an_accident_and_logged(
    fake: type[FakeProcess], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    child = started_child()
    pause = die(child, 101.0, status)
    assert caplog.record_tuples == [
        (
            "panelbus.broker",
            logging.ERROR,
            f"the gateway ended with status {status}; starting it again in {pause:.0f} s",
        )
    ]
    assert len(fake.started) == 1


def test_a_child_that_can_not_run_as_configured_stops_the_broker(fake: type[FakeProcess]) -> None:
    first, second = Child("gateway", ["a"]), Child("monitor", ["b"])
    children = Children([first, second])
    children.start()
    began = now = time.monotonic()
    assert children.check(now) is None
    fake.started[1].status = USAGE_STATUS
    while (why := children.check(now)) is None:
        fake.started[-1].status = USAGE_STATUS
        now += 0.5
    assert why == "the monitor can't run as it was started; see its message above"
    assert PORT_PATIENCE <= now - began < PORT_PATIENCE + 2 * FIRST_PAUSE
    assert second.process is None
    children.stop()
    assert fake.calls == ["terminate a", "wait a"]


def test_a_port_that_an_orphan_of_another_broker_holds_is_waited_for(
    fake: type[FakeProcess], caplog: pytest.LogCaptureFixture
) -> None:
    child = started_child()
    now = 101.0
    for _ in range(2):
        assert die(child, now, USAGE_STATUS) == FIRST_PAUSE
        now = child.start_at
        assert child.check(now) is None
    assert caplog.messages == ["the gateway can't run as it was started; trying it again"] * 2
    assert child.check(now + PORT_PATIENCE) is None  # it runs
    assert len(fake.started) == 3


@pytest.mark.parametrize("status", [0, 1, -9])
def test_a_child_that_has_proved_itself_never_stops_the_broker(
    fake: type[FakeProcess], status: int
) -> None:
    child, now = started_child(), 100.0 + PROVED_AFTER
    die(child, now, status)
    for _ in range(10):  # somebody else has taken its port meanwhile
        now = child.start_at
        assert child.check(now) is None
        now += 0.5
        pause = die(child, now, USAGE_STATUS)
    assert pause == LONGEST_PAUSE


def test_one_that_ran_before_and_can_not_now_is_tried_again(fake: type[FakeProcess]) -> None:
    child = started_child()
    pause = die(child, 101.0, -9)
    child.check(101.0 + pause)
    pause = die(child, 110.0, USAGE_STATUS)
    child.check(110.0 + pause)
    assert len(fake.started) == 3


# --- ending --------------------------------------------------------------------------------------


def test_all_are_asked_before_any_is_waited_for(fake: type[FakeProcess]) -> None:
    children = Children([Child("one", ["a"]), Child("two", ["b"])])
    children.start()
    children.stop()
    assert fake.calls == ["terminate a", "terminate b", "wait a", "wait b"]


def test_one_that_does_not_end_in_time_is_killed_and_told(
    fake: type[FakeProcess], caplog: pytest.LogCaptureFixture
) -> None:
    children = Children([Child("one", ["a"]), Child("two", ["b"])])
    children.start()
    fake.started[0].stubborn = True
    children.stop()
    assert fake.calls == [
        "terminate a",
        "terminate b",
        "wait a",
        "kill a",
        "wait a",
        "wait b",
    ]
    assert caplog.messages == ["the one did not end in time and was killed"]


def test_stopping_twice_and_stopping_what_never_ran_does_nothing(fake: type[FakeProcess]) -> None:
    Children([Child("one", ["a"])]).stop()
    assert fake.calls == []
    children = Children([Child("one", ["a"])])
    children.start()
    children.stop()
    fake.calls.clear()
    children.stop()
    assert fake.calls == []


def test_one_that_waits_for_its_restart_is_not_started_by_stopping(
    fake: type[FakeProcess],
) -> None:
    child = started_child()
    die(child, 101.0)
    Children([child]).stop()
    assert len(fake.started) == 1
    assert fake.calls == []


# --- real ones -----------------------------------------------------------------------------------


@pytest.mark.process
def test_a_real_child_runs_is_restarted_and_ends() -> None:
    port = free_port()
    child = Child("web", ["http.server", "--bind", "127.0.0.1", str(port)])
    children = Children([child])
    children.start()
    try:
        eventually(lambda: listening(port), "the child serves")
        first = child.process
        assert first is not None
        first.kill()
        first.wait()
        now = time.monotonic()
        assert children.check(now) is None
        assert children.check(now + LONGEST_PAUSE) is None
        eventually(lambda: listening(port), "it serves again")
        second = child.process
        assert second is not None
        assert second.pid != first.pid
    finally:
        children.stop()
    assert second.returncode is not None
    assert not listening(port)


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="SIGTERM can't be ignored elsewhere")
def test_a_real_child_that_ignores_the_request_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.2)
    child = Child("stubborn", ["tests.broker.stubborn", str(tmp_path / "up")])
    children = Children([child])
    children.start()
    process = child.process
    assert process is not None
    try:
        eventually((tmp_path / "up").exists, "the child is up")
    finally:
        children.stop()
    assert process.returncode == -9


def test_a_child_has_the_broker_s_environment_and_its_own(
    fake: type[FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANELBUS_KEY", "the broker's")
    monkeypatch.setenv("HOME", "/somewhere")
    child = Child("gateway", ["broker.gateway"], {"PANELBUS_KEY": "its own"})
    child.start(100.0)
    (process,) = fake.started
    assert (process.env["PANELBUS_KEY"], process.env["HOME"]) == ("its own", "/somewhere")
