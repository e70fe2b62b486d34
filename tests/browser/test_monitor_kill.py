"""Ending sessions from the monitor: asked first, the right ones only, told as it goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from sessionclient import Operator
from tests.browser.conftest import Track
from tests.browser.monitor_page import MonitorPage
from tests.support.processes import (
    BrokerProcess,
    eventually,
    free_port,
    listening,
    running,
)

pytestmark = [pytest.mark.browser, pytest.mark.process]


@pytest.fixture
def monitor(browser: Browser, url: str) -> Iterator[MonitorPage]:
    page = MonitorPage(browser, url)
    page.wait_live()
    yield page
    page.close()
    assert (page.errors, page.foreign) == ([], [])


@pytest.fixture
def operator(broker: BrokerProcess) -> Iterator[Operator]:
    with Operator(broker.bus) as operator:
        yield operator


def test_cancelling_ends_nothing(monitor: MonitorPage, track: Track, operator: Operator) -> None:
    tracker = track("spared", "ann")
    monitor.wait_row(tracker.session_id)
    monitor.choose(tracker.session_id)
    monitor.button("End chosen (1)").click()
    expect(monitor.dialog.get_by_text("This session will end:")).to_be_visible()
    for text in (tracker.session_id[:8], "spared", "ann"):
        expect(monitor.dialog.get_by_text(text).first).to_be_visible()
    monitor.dialog.get_by_role("button", name="Cancel").click()
    expect(monitor.dialog).to_have_count(0)
    monitor.button("End chosen (1)").click()
    expect(monitor.dialog).to_be_visible()
    monitor.page.keyboard.press("Escape")
    expect(monitor.dialog).to_have_count(0)
    assert not tracker.killed.is_set()
    assert operator.get_commands() == []


def test_the_page_of_a_killed_session_says_why(
    browser: Browser,
    monitor: MonitorPage,
    broker: BrokerProcess,
    tmp_path: Path,
    track: Track,
    operator: Operator,
) -> None:
    other = track("bystander")
    port = free_port()
    words = ["-m", "demos", "--server", broker.bus, "--port", str(port)]
    with running(words, tmp_path / "demos.log") as demos:
        eventually(lambda: listening(port) or not demos.running, "the demos serve", 60)
        context = browser.new_context()
        app = context.new_page()
        app.goto(f"http://127.0.0.1:{port}/app")
        eventually(lambda: operator.get_all_sessions("demo-app"), "the demo is registered", 40)
        (session,) = operator.get_all_sessions("demo-app")
        monitor.wait_row(session["session_id"])
        monitor.choose(session["session_id"])
        monitor.button("End chosen (1)").click()
        monitor.confirm("Too big for <i>this</i> machine")
        expect(app.get_by_text("This session was ended by an operator")).to_be_visible()
        expect(app.get_by_text("Too big for <i>this</i> machine")).to_be_visible()
        expect(monitor.dialog.get_by_text("1 of 1 session ended.")).to_be_visible(timeout=15_000)
        for stage in ("requested", "delivered", "completed"):
            expect(monitor.dialog.locator("li.done").get_by_text(stage)).to_be_visible()
        monitor.dialog.get_by_role("button", name="Close").click()
        expect(monitor.page.get_by_text("This session ended at")).to_be_visible()
        context.close()
    assert not other.killed.is_set()


def test_all_of_an_app_end_and_nobody_else(monitor: MonitorPage, track: Track) -> None:
    trackers = [track("doomed", f"user{number}") for number in range(5)]
    other = track("kept")
    monitor.wait_row(other.session_id)
    for tracker in trackers:
        monitor.wait_row(tracker.session_id)
    monitor.choose(trackers[0].session_id)
    monitor.button("End all of an app").click()
    expect(
        monitor.dialog.get_by_text("5 sessions that are not being ended already")
    ).to_be_visible()
    monitor.confirm("closing time")
    expect(monitor.dialog.get_by_text("5 of 5 sessions ended.")).to_be_visible()
    assert {tracker.kill_reason for tracker in trackers} == {"closing time"}
    assert not other.killed.is_set()
    monitor.dialog.get_by_role("button", name="Close").click()
    for tracker in trackers:
        expect(monitor.row(tracker.session_id)).to_have_count(0)
    expect(monitor.row(other.session_id)).to_be_visible()
    expect(monitor.figure("kills").locator("b")).not_to_have_text("0")


def test_what_was_named_ends_although_the_rows_have_moved(
    monitor: MonitorPage, track: Track
) -> None:
    chosen, other = track("moving", "b"), track("moving", "c")
    monitor.restore('{filter: [["App", "==", "moving"]], sort: [["User", "asc"]]}')
    monitor.wait_row(other.session_id)
    monitor.choose(chosen.session_id)
    monitor.button("End chosen (1)").click()
    expect(monitor.dialog.get_by_text(chosen.session_id[:8])).to_be_visible()
    above = track("moving", "a")  # takes the place of the chosen row
    expect(monitor.rows).to_have_count(3)
    monitor.confirm()
    expect(monitor.dialog.get_by_text("1 of 1 session ended.")).to_be_visible()
    assert chosen.killed.is_set()
    assert not above.killed.is_set()
    assert not other.killed.is_set()


def test_a_failure_is_told_with_its_cause(monitor: MonitorPage, track: Track) -> None:
    tracker = track("failing")

    def raises() -> None:
        raise RuntimeError("no <b>way</b>")

    tracker.on_kill(raises)
    monitor.wait_row(tracker.session_id)
    monitor.choose(tracker.session_id)
    monitor.button("End chosen (1)").click()
    monitor.confirm()
    expect(monitor.dialog.get_by_text("no <b>way</b>")).to_be_visible()
    expect(monitor.dialog.locator("li.failed")).to_be_visible()


def test_the_stages_are_told_as_they_come(monitor: MonitorPage, track: Track) -> None:
    tracker = track("slow")
    gate = threading.Event()
    tracker.on_kill(lambda: gate.wait(60))
    monitor.wait_row(tracker.session_id)
    monitor.choose(tracker.session_id)
    monitor.button("End chosen (1)").click()
    monitor.confirm()
    expect(monitor.dialog.locator("li.done").get_by_text("delivered")).to_be_visible()
    expect(monitor.dialog.get_by_text("0 of 1 session ended.")).to_be_visible()
    expect(monitor.row(tracker.session_id).locator("td[data-status]")).to_have_text("being killed")
    gate.set()
    expect(monitor.dialog.get_by_text("1 of 1 session ended.")).to_be_visible()


def test_two_pages_see_the_same(
    browser: Browser, url: str, monitor: MonitorPage, track: Track
) -> None:
    tracker, other = track("shared"), track("shared")
    second = MonitorPage(browser, url)
    for page in (monitor, second):
        page.wait_row(tracker.session_id)
    second.choose(other.session_id)
    monitor.choose(tracker.session_id)
    monitor.button("End chosen (1)").click()
    monitor.confirm()
    expect(second.row(tracker.session_id)).to_have_count(0)
    assert second.selected() == {other.session_id}  # each has its own choice
    expect(second.dialog).to_have_count(0)
    second.close()
    assert second.errors == []
