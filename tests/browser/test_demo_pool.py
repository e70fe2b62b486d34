"""The demo with a shared pool, the index page, and what all of them ask of the network."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from demos.shared_pool import POOL_PROCESSES
from sessionclient import Operator
from tests.support.processes import (
    BrokerProcess,
    Process,
    eventually,
    free_port,
    listening,
    running,
)

pytestmark = [pytest.mark.browser, pytest.mark.process]

ENDED = "This session was ended by an operator"
REASON = "The pool is needed for <i>month-end</i> closing"


@pytest.fixture
def operator(broker: BrokerProcess) -> Iterator[Operator]:
    with Operator(broker.bus) as operator:
        yield operator


class Demos:
    """The served demos."""

    def __init__(self, process: Process, port: int) -> None:
        self.process, self.url = process, f"http://127.0.0.1:{port}"

    def children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found


@pytest.fixture
def demos(broker: BrokerProcess, tmp_path: Path) -> Iterator[Demos]:
    port = free_port()
    words = ["-m", "demos", "--server", broker.bus, "--port", str(port)]
    with running(words, tmp_path / "demos.log") as process:
        eventually(lambda: listening(port), "the demos serve", 60)
        yield Demos(process, port)


@pytest.fixture
def second(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def open_pool(page: Page, demos: Demos, operator: Operator) -> str:
    """Open the page and run its workers; the whole id of its session."""
    page.goto(f"{demos.url}/app_pool")
    shown = page.locator("code").first
    expect(shown).to_be_visible(timeout=60_000)
    short = shown.inner_text()
    page.get_by_role("button", name="Run two workers").click()
    expect(workers(page, "running for")).to_have_count(2)

    def found() -> list[str]:
        rows = operator.get_all_sessions("demo-pool", status="running")
        return [row["session_id"] for row in rows if row["session_id"].startswith(short)]

    eventually(found, "its task is listed")
    return found()[0]


def workers(page: Page, state: str) -> Locator:
    return page.locator("tr", has_text=re.compile(r"\d+.*" + state))


def test_a_kill_ends_one_page_and_its_two_workers_only(
    page: Page, second: Page, demos: Demos, operator: Operator
) -> None:
    killed = open_pool(page, demos, operator)
    other = open_pool(second, demos, operator)
    expect(second.get_by_text("2 sessions share it")).to_be_visible()
    expect(page.get_by_text("The pool runs 4 processes; 2 sessions share it.")).to_be_visible()
    assert len(demos.children()) == POOL_PROCESSES + 1

    outcome = operator.request_kill(killed, REASON, wait=20)
    assert outcome["stage"] == "completed"
    expect(page.get_by_text(ENDED)).to_be_visible()
    expect(page.get_by_text(REASON)).to_be_visible()  # as text
    log = demos.process.log()
    assert len(re.findall(f"session {killed[:8]}: stopped", log)) == 2
    assert f"session {other[:8]}: stopped" not in log

    expect(second.get_by_text("this session alone has it")).to_be_visible()
    expect(workers(second, "running for")).to_have_count(2)
    expect(second.get_by_text(ENDED)).to_have_count(0)
    assert operator.get_session(other)["status"] == "running"

    second.get_by_role("button", name="Stop").click()
    expect(workers(second, "stopped after")).to_have_count(2)
    expect(second.get_by_text("Both workers have stopped.")).to_be_visible()
    eventually(lambda: operator.get_session(other)["status"] == "idle", "its task is over")
    second.get_by_role("button", name="Run two workers").click()
    expect(workers(second, "running for")).to_have_count(2)

    assert demos.process.stop() == 0
    assert "Traceback" not in demos.process.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_server(
    page: Page, demos: Demos, operator: Operator, number: signal.Signals
) -> None:
    open_pool(page, demos, operator)
    children = demos.children()
    assert len(children) == POOL_PROCESSES + 1
    demos.process.signal(number)
    status = demos.process.wait()
    assert status == (0 if number == signal.SIGINT else -signal.SIGKILL)
    eventually(lambda: not any(child.is_running() for child in children), "all are gone", 5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/app", "/app_pool"])
def test_a_page_asks_only_its_own_server_and_follows_the_user_s_theme(
    browser: Browser, demos: Demos, path: str, scheme: str
) -> None:
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    asked: list[str] = []
    troubles: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: troubles.append(request.url))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
    page.goto(demos.url + path)
    expect(page.get_by_role("link" if path == "/" else "button").first).to_be_visible()
    if path == "/":
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (colour == "rgb(18, 22, 29)") == (scheme == "dark")
        page.get_by_role("link", name="Shared pool").click()
        expect(page.get_by_role("button", name="Run two workers")).to_be_visible(timeout=60_000)
    main = page.locator("main").first
    dark, light = "rgb(18, 22, 29)", "rgb(243, 245, 248)"
    before, after = (dark, light) if scheme == "dark" else (light, dark)
    expect(main).to_have_css("background-color", before)
    page.get_by_role("button", name="Toggle theme").click()
    expect(main).to_have_css("background-color", after)
    context.close()
    own = (demos.url, f"blob:{demos.url}", "data:")
    assert [url for url in asked if not url.startswith(own)] == []
    assert troubles == []
