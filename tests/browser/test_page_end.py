"""How a killed page ends, seen from the inside of its Panel server."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import panel as pn
import pytest
from playwright.sync_api import Page, expect

from scripts.faults.proxy import proxied
from sessionclient import Operator, SessionClient
from tests.support.panel_server import PanelServer, serving
from tests.support.processes import BrokerProcess, eventually

pytestmark = [pytest.mark.browser, pytest.mark.process]

ENDED = "This session was ended by an operator"
QUIET = 1.0  # seconds without a word after which a page has said all it has to say


@pytest.fixture(scope="module")
def operator(broker: BrokerProcess) -> Iterator[Operator]:
    with Operator(broker.bus) as operator:
        yield operator


class Probe:
    """An app whose trackers the test can reach, by Bokeh session id."""

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self.app = f"probe-{secrets.token_hex(4)}"
        self.trackers: dict[str, SessionClient] = {}
        self.built = 0  # how often the app's code ran
        self.killed: list[str] = []
        self.blocking = threading.Event()
        self.release = threading.Event()

    def page(self) -> Any:
        self.built += 1
        pn.config.reconnect = True  # BokehJS comes back by itself after a lost connection
        tracker = SessionClient.get_tracker(self.app, server_url=self._bus, heartbeat_interval=1)
        assert SessionClient.get_tracker(self.app, server_url=self._bus) is tracker
        tracker.on_kill(lambda: self.killed.append(tracker.session_id))
        self.trackers[pn.state.curdoc.session_context.id] = tracker
        block = pn.widgets.Button(label="Block the loop")
        block.on_click(self._block)
        return pn.Column("Probe is up", block)

    def _block(self, _event: Any) -> None:
        self.blocking.set()
        self.release.wait(30)


@pytest.fixture
def probe(broker: BrokerProcess) -> Probe:
    return Probe(broker.bus)


@pytest.fixture
def server(probe: Probe) -> Iterator[PanelServer]:
    with serving(probe.page) as server:
        yield server
        probe.release.set()


def opened(page: Page, url: str, probe: Probe, server: PanelServer) -> tuple[str, SessionClient]:
    """Open the page; its Bokeh session's id and its tracker."""
    before = set(probe.trackers)
    page.goto(url)
    expect(page.get_by_text("Probe is up")).to_be_visible(timeout=60_000)
    (bokeh_id,) = set(probe.trackers) - before
    assert bokeh_id in server.sessions()
    tracker = probe.trackers[bokeh_id]
    eventually(lambda: tracker.online, "the session is registered")
    return bokeh_id, tracker


def test_nothing_of_a_killed_session_is_left(
    page: Page, probe: Probe, server: PanelServer, operator: Operator
) -> None:
    bokeh_id, tracker = opened(page, server.url, probe, server)
    other_page = page.context.new_page()
    other_id, other = opened(other_page, server.url, probe, server)
    reason = "enough <b>of</b> <img src=x onerror=document.body.remove()> it"
    outcome = operator.request_kill(tracker.session_id, reason, wait=20)
    assert outcome["stage"] == "completed"
    expect(page.get_by_text(reason, exact=True)).to_be_visible()  # as text, never obeyed
    assert server.sessions() == [other_id]
    assert bokeh_id not in server.sessions()
    assert probe.killed == [tracker.session_id]
    assert other.online
    expect(other_page.get_by_text("Probe is up")).to_be_visible()
    expect(other_page.get_by_text(ENDED)).to_have_count(0)


def test_a_blocked_loop_delays_the_page_but_not_the_callbacks(
    page: Page, probe: Probe, server: PanelServer, operator: Operator
) -> None:
    _, tracker = opened(page, server.url, probe, server)
    page.get_by_role("button", name="Block the loop").click()
    assert probe.blocking.wait(20)
    answer = operator.request_kill(tracker.session_id, "blocked")
    eventually(lambda: probe.killed == [tracker.session_id], "the callback runs")
    assert operator.get_command(answer["command_id"])["stage"] in ("requested", "delivered")
    assert len(server.sessions()) == 1
    probe.release.set()
    assert operator.get_command(answer["command_id"], wait=20)["stage"] == "completed"
    expect(page.get_by_text(ENDED)).to_be_visible()
    assert server.sessions() == []


def test_a_browser_that_was_away_finds_its_session_ended(
    page: Page, probe: Probe, server: PanelServer, operator: Operator
) -> None:
    with proxied(server.port) as proxy:
        url = server.url.replace(str(server.port), str(proxy.port))
        bokeh_id, tracker = opened(page, url, probe, server)
        # BokehJS never gets over a message of which it has received one half only
        eventually(lambda: proxy.quiet_for() > QUIET, "nothing is under way")
        proxy.cut()
        eventually(lambda: not server.connected(bokeh_id), "the server knows that it is away")
        outcome = operator.request_kill(tracker.session_id, "while you were away", wait=20)
        assert outcome["stage"] == "completed"
        eventually(lambda: server.sessions() == [], "the session is gone")
        proxy.mend()  # BokehJS comes back by itself, with the id of the killed session
        expect(page.get_by_text("while you were away")).to_be_visible(timeout=60_000)
        eventually(lambda: server.sessions() == [], "the revenant is gone, too")
    assert len(probe.killed) >= 1
    assert operator.get_all_sessions(probe.app) == []


def test_a_browser_that_does_not_answer_is_given_up_quietly(
    page: Page,
    probe: Probe,
    server: PanelServer,
    operator: Operator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="bokeh")
    with proxied(server.port) as proxy:
        url = server.url.replace(str(server.port), str(proxy.port))
        _, tracker = opened(page, url, probe, server)
        proxy.swallow()
        outcome = operator.request_kill(tracker.session_id, "anybody there?", wait=30)
        assert outcome["stage"] == "completed"
        assert server.sessions() == []
        closed = "WebSocket connection closed"  # which Bokeh logs for information
        before = sum(closed in text for text in caplog.messages)
        proxy.cut()
        eventually(
            lambda: sum(closed in text for text in caplog.messages) > before, "the server notices"
        )
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_the_id_of_a_killed_session_can_not_be_opened_again(
    page: Page, probe: Probe, server: PanelServer, operator: Operator
) -> None:
    url = f"{server.url}?bokeh-session-id=chosen-for-{probe.app}"
    _, tracker = opened(page, url, probe, server)
    operator.request_kill(tracker.session_id, "over and out", wait=20)
    expect(page.get_by_text(ENDED)).to_be_visible()
    page.goto(url)
    expect(page.get_by_text("over and out")).to_be_visible(timeout=60_000)
    assert probe.built == 2
    eventually(lambda: server.sessions() == [], "it is gone again")
    assert operator.get_all_sessions(probe.app) == []


def test_closing_the_tab_ends_the_session(
    page: Page, probe: Probe, server: PanelServer, operator: Operator
) -> None:
    _, tracker = opened(page, server.url, probe, server)
    page.goto("about:blank")
    eventually(lambda: probe.killed == [tracker.session_id], "its callbacks run")
    eventually(lambda: operator.get_all_sessions(probe.app) == [], "it is not listed")
    with pytest.raises(LookupError, match="has ended \\(closed\\)"):
        operator.get_session(tracker.session_id)
    assert not tracker.killed.is_set()


def test_stop_called_by_the_app_leaves_its_page_alone(
    page: Page, probe: Probe, server: PanelServer, operator: Operator
) -> None:
    _, tracker = opened(page, server.url, probe, server)
    tracker.stop()
    eventually(lambda: operator.get_all_sessions(probe.app) == [], "it is not listed")
    assert len(server.sessions()) == 1
    expect(page.get_by_text("Probe is up")).to_be_visible()
