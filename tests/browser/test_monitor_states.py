"""What the monitor shows when there is nothing to show, and what it gives back when pages close."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bokeh.client import ClientSession
from playwright.sync_api import Browser, Page, Route, expect

from monitor.dashboard import MonitorDashboard
from monitor.grid import SCRIPT
from monitor.live import Live
from sessionclient import SessionClient
from tests.browser.monitor_page import LOAD_MS, MonitorPage, serving_monitor
from tests.support.panel_server import PanelServer, serving
from tests.support.processes import BrokerProcess, eventually, free_port, running_broker

pytestmark = [pytest.mark.browser, pytest.mark.process]

OPENS = 100


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path) as broker:
        yield broker


def closed_well(page: MonitorPage) -> None:
    page.close()
    assert (page.errors, page.foreign) == ([], [])


def test_an_empty_list_tells_how_to_connect_an_app(
    browser: Browser, broker: BrokerProcess, tmp_path: Path
) -> None:
    with serving_monitor(broker.bus, tmp_path) as url:
        page = MonitorPage(browser, url)
        expect(page.page.get_by_text("No sessions yet")).to_be_visible(timeout=LOAD_MS)
        expect(page.page.get_by_text("SessionClient.get_tracker")).to_be_visible()
        tracker = SessionClient("first", server_url=broker.bus)
        page.wait_row(tracker.session_id)
        expect(page.page.get_by_text("No sessions yet")).to_be_hidden()
        closed_well(page)
        tracker.stop()


def test_a_broker_that_is_not_there_is_named_and_awaited(browser: Browser, tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, ("--no-gateway",))
    broker.kill()  # its address is known now, and nobody is there
    with serving_monitor(broker.bus, tmp_path) as url:
        page = MonitorPage(browser, url)
        words = f"No broker at {broker.bus}"
        expect(page.page.get_by_text(words)).to_be_visible(timeout=LOAD_MS)
        expect(page.page.get_by_text("Broker down")).to_be_visible()
        broker.start()
        page.wait_live()
        expect(page.page.get_by_text("No sessions yet")).to_be_visible()
        closed_well(page)
    broker.stop()


def test_a_wrong_address_says_which_it_was(browser: Browser, tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with serving_monitor(address, tmp_path) as url:
        page = MonitorPage(browser, url)
        expect(page.page.get_by_text(f"No broker at {address}")).to_be_visible(timeout=LOAD_MS)
        closed_well(page)


def test_the_last_known_stays_while_the_broker_is_away(
    browser: Browser, broker: BrokerProcess, tmp_path: Path
) -> None:
    tracker = SessionClient("steady", "ann", broker.bus, heartbeat_interval=1.0)
    with serving_monitor(broker.bus, tmp_path) as url:
        page = MonitorPage(browser, url)
        page.wait_row(tracker.session_id)
        page.choose(tracker.session_id)
        broker.kill()
        expect(page.page.locator(".state")).to_contain_text("Broker down since")
        expect(page.page.locator(".pb-grid[data-dim]")).to_be_visible()
        expect(page.row(tracker.session_id)).to_be_visible()
        page.button("End chosen (1)").click()
        page.confirm()
        expect(page.dialog.get_by_text("cannot reach the broker")).to_be_visible(timeout=60_000)
        page.dialog.get_by_role("button", name="Close").click()
        broker.start()
        broker.wait_until_serving()
        page.wait_live()
        expect(page.page.locator(".pb-grid[data-dim]")).to_have_count(0)
        late = SessionClient("steady", "bob", broker.bus)
        page.wait_row(late.session_id)
        eventually(lambda: page.selected() == {tracker.session_id}, "the choice is kept")
        closed_well(page)
        late.stop()
    tracker.stop()


@pytest.mark.parametrize("wanted", ["no-such-session", "%3Cb%3Ex%3C/b%3E"])
def test_a_link_to_a_session_that_is_not_there_says_so(
    browser: Browser, broker: BrokerProcess, tmp_path: Path, wanted: str
) -> None:
    tracker = SessionClient("linked", server_url=broker.bus)
    with serving_monitor(broker.bus, tmp_path) as url:
        page = MonitorPage(browser, f"{url}?session={wanted}")
        page.wait_row(tracker.session_id)
        expect(page.page.get_by_text("Not live: there is no session")).to_be_visible()
        expect(page.button("End chosen", exact=True)).to_be_disabled()
        right = MonitorPage(browser, f"{url}?session={tracker.session_id}")
        right.wait_row(tracker.session_id)
        expect(right.page.locator("h2").get_by_text("linked")).to_be_visible()
        assert right.selected() == {tracker.session_id}
        right.button("End chosen (1)").click()
        expect(right.dialog.get_by_text("This session will end:")).to_be_visible()
        closed_well(right)
        closed_well(page)
    tracker.stop()


# at every frame: a span that a user sees as the bare number it is held as
WATCH_SPANS = """() => {
  window.bare = [];
  const look = root => {
    for (const node of root.querySelectorAll("*")) {
      if (node.shadowRoot) look(node.shadowRoot);
      if (node.tagName === "TD" && /^-[0-9,.]{9,}$/.test(node.textContent.trim())
          && node.checkVisibility({visibilityProperty: true})) bare.push(node.textContent);
    }
  };
  const frame = () => { look(document); requestAnimationFrame(frame); };
  frame();
}"""


def test_a_table_that_is_drawn_is_never_seen_without_its_spans(
    browser: Browser, broker: BrokerProcess, tmp_path: Path
) -> None:
    tracker = SessionClient("drawn", server_url=broker.bus)
    with serving_monitor(broker.bus, tmp_path) as url:
        page = MonitorPage(browser, url, lambda page: page.add_init_script(f"({WATCH_SPANS})()"))
        page.wait_row(tracker.session_id)
        assert page.page.evaluate("bare") == []
        closed_well(page)
    tracker.stop()


def test_a_table_that_is_slow_to_come_is_told_of_until_it_is_there(
    browser: Browser, broker: BrokerProcess, tmp_path: Path
) -> None:
    tracker = SessionClient("awaited", server_url=broker.bus)
    held: list[Route] = []

    def prepare(page: Page) -> None:
        page.clock.install()
        page.route(f"**/{SCRIPT}", lambda route: held.append(route))

    with serving_monitor(broker.bus, tmp_path) as url:
        page = MonitorPage(browser, url, prepare)
        expect(page.page.locator(".pb-grid")).to_be_attached(timeout=LOAD_MS)
        note = page.page.get_by_text("The live table is not here yet")
        expect(note).to_be_hidden()
        page.page.clock.fast_forward(15_000)
        expect(note).to_be_visible()
        (script,) = held
        script.continue_()
        page.wait_row(tracker.session_id)
        expect(note).to_be_hidden()
        closed_well(page)
    tracker.stop()


class Served:
    """The dashboard in a server of this process, so that its holdings can be counted."""

    def __init__(self, live: Live, server: PanelServer) -> None:
        self.live, self.server = live, server

    def holdings(self) -> tuple[int, int, int]:
        """Bokeh's sessions, pages that are told of changes, pages that read the table."""
        return len(self.server.sessions()), self.live.listeners, len(self.live.table.readers)


@pytest.fixture
def served(broker: BrokerProcess) -> Iterator[Served]:
    live = Live(broker.bus)
    live.start()
    # embedded, as another app would: Perspective comes over the page's connection
    with serving(lambda: MonitorDashboard(live)) as server:
        yield Served(live, server)
    live.close()


@pytest.mark.no_cover  # to count lines doubles what a page takes, and other tests meet them
def test_a_page_that_closes_frees_what_it_held(
    browser: Browser, broker: BrokerProcess, served: Served
) -> None:
    tracker = SessionClient("held", server_url=broker.bus)
    for _ in range(3):
        pages = [MonitorPage(browser, served.server.url) for _ in range(2)]
        for page in pages:
            page.wait_row(tracker.session_id)
        assert served.holdings() == (2, 2, 2)
        for page in pages:
            closed_well(page)
        eventually(lambda: served.holdings() == (0, 0, 0), "all is free", 40)
    tracker.stop()


@pytest.mark.no_cover  # the same
@pytest.mark.timeout(400)  # each builds a whole page; a busy machine takes two seconds for it
def test_a_hundred_opens_leave_nothing_behind(served: Served) -> None:
    socket_url = served.server.url.replace("http", "ws") + "/ws"
    opened: list[int] = []

    def in_thread() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        # a page's connection, for which its whole document is made; nobody draws it
        session = ClientSession(websocket_url=socket_url)
        session.connect()
        opened.append(len(served.server.sessions()))
        session.close()
        asyncio.get_event_loop().close()

    def open_and_close() -> None:
        # in a thread of its own: the browser's loop runs in this one
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()

    open_and_close()
    eventually(lambda: served.holdings() == (0, 0, 0), "the first is gone", 40)
    threads = threading.active_count()
    for _ in range(OPENS):
        open_and_close()
    eventually(lambda: served.holdings() == (0, 0, 0), "all are gone", 60)
    eventually(lambda: threading.active_count() <= threads, "their threads are, too")
    assert len(opened) == OPENS + 1
    assert min(opened) > 0
