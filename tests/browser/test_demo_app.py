"""The whole path with real parts: broker, gateway, demo app, Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.processes import (
    BrokerProcess,
    eventually,
    free_port,
    listening,
    running,
    running_broker,
)

pytestmark = [pytest.mark.browser, pytest.mark.process]

ENDED = "This session was ended by an operator"
REASON = "Too big for <b>this</b> machine; please run it at night"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path_factory.mktemp("demo"), "--gateway") as broker:
        yield broker


@pytest.fixture(scope="module")
def url(broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    words = ["-m", "demos", "--server", broker.bus, "--port", str(port)]
    with running(words, tmp_path_factory.mktemp("app") / "demos.log") as demos:
        eventually(lambda: listening(port), "the demos serve", 60)
        yield f"http://127.0.0.1:{port}/app"
        assert demos.stop() == 0
        assert "Traceback" not in demos.log()


def rest(broker: BrokerProcess, method: str, path: str, **more: Any) -> Any:
    answer = httpx.request(method, broker.http + path, trust_env=False, timeout=20, **more)
    assert answer.is_success, answer.text
    return answer.json()


def sessions(broker: BrokerProcess) -> dict[str, dict[str, Any]]:
    """By the short id that the page shows."""
    return {row["session_id"][:8]: row for row in rest(broker, "GET", "/sessions")["sessions"]}


def open_app(page: Page, url: str, broker: BrokerProcess) -> str:
    """Open the demo; its session's short id once the broker has it."""
    page.goto(url)
    shown = page.locator("code").first
    expect(shown).to_be_visible(timeout=60_000)
    short = shown.inner_text()
    eventually(lambda: short in sessions(broker), "the session is listed")
    return short


def test_a_task_runs_is_seen_and_killed_over_rest_with_its_reason_on_the_page(
    browser: Browser, page: Page, url: str, broker: BrokerProcess
) -> None:
    short = open_app(page, url, broker)
    other_context = browser.new_context()
    other = other_context.new_page()
    other_short = open_app(other, url, broker)
    assert other_short != short

    page.get_by_role("button", name="Run").click()
    eventually(lambda: sessions(broker)[short]["status"] == "running", "the task runs")
    assert sessions(broker)[short]["current_task"] == "Refresh forecast"
    expect(page.get_by_text("Running 'Refresh forecast'")).to_be_visible()

    path = f"/sessions/{sessions(broker)[short]['session_id']}/kill?wait=10"
    answer = rest(broker, "POST", path, json={"reason": REASON})
    assert answer["stage"] == "completed"
    expect(page.get_by_text(ENDED)).to_be_visible()
    expect(page.get_by_text(REASON)).to_be_visible()  # as text: the tags are shown, not obeyed
    assert page.locator("#panelbus-ended b").count() == 0
    assert short not in sessions(broker)

    # the neighbour is as alive as before
    other.get_by_role("button", name="Run").click()
    eventually(lambda: sessions(broker)[other_short]["status"] == "running", "the other's task")
    expect(other.get_by_text(ENDED)).to_have_count(0)
    other_context.close()

    page.get_by_role("button", name="Start a new session").click()
    expect(page.get_by_text(ENDED)).to_have_count(0)
    again = page.locator("code").first
    expect(again).to_be_visible(timeout=60_000)
    assert again.inner_text() != short


def test_the_page_notices_nothing_of_a_broker_that_restarts(
    page: Page, url: str, broker: BrokerProcess, tmp_path: Path
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    short = open_app(page, url, broker)
    before = sessions(broker)[short]
    page.get_by_role("button", name="Run").click()
    bar = page.get_by_role("progressbar")
    expect(bar).to_be_visible()
    broker.kill()
    reached = float(bar.get_attribute("aria-valuenow") or 0)
    # the task goes on and its page shows it, with nobody at the other end of the bus
    eventually(lambda: float(bar.get_attribute("aria-valuenow") or 0) > reached + 5, "progress")
    broker.start()
    broker.wait_until_serving()
    eventually(lambda: short in sessions(broker), "the session is back")
    after = sessions(broker)[short]
    assert after["session_id"] == before["session_id"]
    eventually(lambda: sessions(broker)[short]["current_task"] == "Refresh forecast", "its task")
    expect(page.get_by_text(ENDED)).to_have_count(0)
    assert errors == []
