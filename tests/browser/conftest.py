"""A real Chromium for the browser tests: skipped loudly without one, unless one is required."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from scripts import chromium
from sessionclient import SessionClient
from tests.browser.monitor_page import serving_monitor
from tests.support.processes import BrokerProcess, eventually, running_broker

Track = Callable[..., SessionClient]

REQUIRE = "PANELBUS_REQUIRE_BROWSER"

# Playwright gives up after 5 s, which a busy machine may need for a single page
expect.set_options(timeout=40_000)


# for this folder only: while it runs, its event loop is the main thread's, where no other can run
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        text = "BROWSER TESTS DID NOT RUN: install Chromium (Debian: apt-get install chromium)"
        if os.environ.get(REQUIRE):
            pytest.fail(text)
        pytest.skip(text)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    page = context.new_page()
    yield page
    context.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    # without its gateway: the monitor needs none
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture(scope="module")
def url(broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a monitor at the broker."""
    with serving_monitor(broker.bus, tmp_path_factory.mktemp("monitor")) as url:
        yield url


@pytest.fixture
def track(broker: BrokerProcess) -> Iterator[Track]:
    """A session that is registered when the call returns."""
    trackers: list[SessionClient] = []

    def start(app: str, user: str | None = None) -> SessionClient:
        tracker = SessionClient(app, user, broker.bus, heartbeat_interval=1.0)
        trackers.append(tracker)
        eventually(lambda: tracker.online, "the session is registered")
        return tracker

    yield start
    for tracker in trackers:
        tracker.stop()
