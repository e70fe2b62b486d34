"""The broker goes away, in every way, and comes back: nothing accepted is lost, nobody is doubled.

These are guarantees 1, 2 and 4 of docs/ARCHITECTURE.md with real processes and a real disk.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.process.conftest import Connect, StartApp, StartBroker, Track
from tests.support.processes import BrokerProcess, eventually

pytestmark = pytest.mark.process

ROUNDS = 50


def test_a_kill_accepted_but_not_delivered_survives_kill_9(
    start_broker: StartBroker, start_app: StartApp, connect: Connect
) -> None:
    broker = start_broker()
    app = start_app(broker.bus)
    operator = connect(broker)
    (session_id,) = app.wait_for("started")[0]["sessions"]
    eventually(lambda: operator.get_all_sessions(), "the session is registered")
    app.signal(signal.SIGSTOP)  # so that it can't receive the push
    answer = operator.request_kill(session_id, "too big")
    assert answer["stage"] == "requested"
    broker.restart()
    assert operator.get_command(answer["command_id"])["stage"] == "requested"
    app.signal(signal.SIGCONT)
    (callback,) = app.wait_for("callback")
    assert (callback["session"], callback["reason"]) == (session_id, "too big")
    command = operator.get_command(answer["command_id"], wait=20)
    assert command["stage"] == "completed"
    assert len(app.events("callback")) == 1


def test_kill_9_right_after_the_answer_50_times_over(
    start_broker: StartBroker, start_app: StartApp, connect: Connect
) -> None:
    broker = start_broker()
    app = start_app(broker.bus, "--sessions", str(ROUNDS))
    operator = connect(broker)
    sessions = app.wait_for("started")[0]["sessions"]
    eventually(lambda: len(operator.get_all_sessions()) == ROUNDS, "all are registered")
    for number, session_id in enumerate(sessions):
        if number % 2:  # every other time the push can't have left before the broker dies
            app.signal(signal.SIGSTOP)
        operator.request_kill(session_id, f"round {number}")
        broker.restart()
        app.signal(signal.SIGCONT)
    callbacks = app.wait_for("callback", ROUNDS)
    assert sorted(event["session"] for event in callbacks) == sorted(sessions)
    reasons = {event["session"]: event["reason"] for event in callbacks}
    assert [reasons[sid] for sid in sessions] == [f"round {n}" for n in range(ROUNDS)]
    eventually(lambda: not operator.get_all_sessions(), "all have ended")
    eventually(
        lambda: {command["stage"] for command in operator.get_commands()} == {"completed"},
        "every kill is completed",
    )
    assert len(operator.get_commands()) == ROUNDS


def test_a_restart_keeps_the_same_sessions_with_their_history(
    start_broker: StartBroker, connect: Connect, track: Track
) -> None:
    broker = start_broker()
    tracker = track(broker.bus, "sales", "ann")
    operator = connect(broker)
    eventually(lambda: tracker.online, "the session is registered")
    with tracker.task("before"):
        pass
    before = operator.get_session(tracker.session_id)
    eventually(lambda: operator.get_tasks(tracker.session_id), "the task is known")
    with tracker.task("during"):
        broker.kill()
        eventually(lambda: not tracker.online, "the app notices")
        with tracker.task("nested while it is away"):
            pass
        broker.start()
        broker.wait_until_serving()
        eventually(lambda: tracker.online, "the session is back")
        (row,) = operator.get_all_sessions()
        same = ("session_id", "user_id", "app_name", "process", "source")
        assert {name: row[name] for name in same} == {name: before[name] for name in same}
        assert abs((row["start_time"] - before["start_time"]).total_seconds()) < 1.0
        assert (row["status"], row["current_task"]) == ("running", "during")
    eventually(
        lambda: (
            [task["name"] for task in operator.get_tasks(tracker.session_id)]
            == ["before", "during", "nested while it is away"]
        ),
        "all tasks are known",
    )


def test_a_broker_that_starts_after_the_app_finds_its_present_state(
    tmp_path: Path, connect: Connect, track: Track
) -> None:
    broker = BrokerProcess(tmp_path, ("--no-gateway",))
    broker.kill()  # its addresses are known now, and nobody is there
    tracker = track(broker.bus, "sales", "ann")
    gone = track(broker.bus, "sales", "bob")
    gone.stop()
    with tracker.task("Refresh"):
        broker.start()
        try:
            broker.wait_until_serving()
            operator = connect(broker)
            eventually(lambda: tracker.online, "the session is registered")
            (row,) = operator.get_all_sessions()
            assert (row["session_id"], row["current_task"]) == (tracker.session_id, "Refresh")
            operator.request_kill(tracker.session_id, "late but sure")
            assert tracker.killed.wait(20)
            assert tracker.kill_reason == "late but sure"
        finally:
            broker.stop()


def test_a_broker_that_was_frozen_declares_nobody_gone(
    start_broker: StartBroker, connect: Connect, track: Track
) -> None:
    broker = start_broker("--no-gateway", "--stale-after", "1", "--cleanup-after", "2")
    tracker = track(broker.bus)
    other = track(broker.bus)
    operator = connect(broker)
    eventually(lambda: tracker.online and other.online, "both are registered")
    broker.signal(signal.SIGSTOP)
    # the pause is the fault itself: longer than any session may be silent
    assert not other.killed.wait(4.0)
    broker.signal(signal.SIGCONT)
    live = {row["session_id"]: row["is_stale"] for row in operator.get_all_sessions()}
    assert live == {tracker.session_id: False, other.session_id: False}


def test_a_process_killed_hard_is_cleaned_up_after_its_silence(
    start_broker: StartBroker, start_app: StartApp, connect: Connect
) -> None:
    broker = start_broker("--no-gateway", "--stale-after", "1", "--cleanup-after", "1.5")
    app = start_app(broker.bus, "--sessions", "3", "--heartbeat", "0.3")
    operator = connect(broker)
    eventually(lambda: len(operator.get_all_sessions()) == 3, "all are registered")
    app.kill()
    eventually(lambda: not operator.get_all_sessions(), "they are cleaned up")
    assert len(app.events("callback")) == 0
