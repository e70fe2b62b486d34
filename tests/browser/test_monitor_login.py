"""The login as people meet it: its page, who may do what, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from sessionclient import Operator, SessionClient
from tests.browser.monitor_page import LOAD_MS, MonitorPage
from tests.support.monitor_site import PASSWORDS, Site, serving_site, write_users
from tests.support.processes import BrokerProcess, eventually, running_broker

pytestmark = [pytest.mark.browser, pytest.mark.process]

UNAUTHORIZED = "status of 401"  # what Chromium notes of a wrong password
# sends what the button of that name would, although it is disabled
PRESS = """label => {
  const {ModelEvent} = Bokeh.require("core/bokeh_events");
  class Click extends ModelEvent {
    get event_values() { return {model: this.origin, node: "click", data: {type: "click"}}; }
  }
  Click.prototype.event_name = "dom_event";
  const button = [...Bokeh.documents[0]._all_models.values()].find(
    model => model.data?.label === label);
  button.trigger_event(new Click());
}"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path_factory.mktemp("login")) as found:
        yield found


@pytest.fixture(scope="module")
def site(broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving_site(tmp_path_factory.mktemp("site"), server=broker.bus) as found:
        yield found


@pytest.fixture
def door(browser: Browser, site: Site) -> Iterator[MonitorPage]:
    """A browser that comes to the monitor for the first time."""
    page = MonitorPage(browser, f"{site.url}/?session=wanted")
    yield page
    page.close()
    errors = [error for error in page.errors if UNAUTHORIZED not in error]
    assert (errors, page.foreign) == ([], [])


@pytest.fixture
def tracker(broker: BrokerProcess) -> Iterator[SessionClient]:
    tracker = SessionClient("guarded", "eve", broker.bus, heartbeat_interval=1.0)
    yield tracker
    tracker.stop()


def log_in(page: Page, name: str, password: str | None = None) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORDS[name] if password is None else password)
    page.get_by_role("button", name="Log in").click()


def test_wrong_then_right_then_out(door: MonitorPage, site: Site) -> None:
    page = door.page
    expect(page.get_by_label("Name")).to_be_focused()
    log_in(page, "ann", "wrong password")
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    expect(page.get_by_label("Name")).to_have_value("ann")
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.get_by_label("Password")).to_have_value("")
    page.keyboard.type(PASSWORDS["ann"])
    page.keyboard.press("Enter")
    door.wait_live()
    assert page.url == f"{site.url}/?session=wanted"  # what was asked for first
    expect(page.locator(".who")).to_have_text("annoperator")
    door.button("Log out").click()
    expect(page.get_by_role("heading", name="You are logged out")).to_be_visible()
    page.go_back()
    page.goto(f"{site.url}/")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_login_page_fits_and_has_contrast(browser: Browser, site: Site, scheme: str) -> None:
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", java_script_enabled=True
    )
    page = context.new_page()
    page.goto(site.url)
    # one failure for all widths: a few more, and whoever comes next has to wait
    log_in(page, "ann", "wrong password")
    expect(page.get_by_role("alert")).to_be_visible()
    for width in (1280, 768, 360):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for where in (".error", "h1", "label", "button", "p"):
            assert page.locator(where).first.evaluate(CONTRAST) >= 4.5, where
    context.close()


# of an element's text against the nearest background, as WCAG counts it
CONTRAST = """element => {
  const light = text => {
    const [r, g, b] = text.match(/[0-9.]+/g).slice(0, 3).map(Number).map(value => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") {
    behind = behind.parentElement;
  }
  const one = light(getComputedStyle(element).color);
  const two = light(getComputedStyle(behind).backgroundColor);
  return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
}"""


def test_an_operator_ends_a_session_by_name(
    door: MonitorPage, tracker: SessionClient, broker: BrokerProcess
) -> None:
    log_in(door.page, "ann")
    door.wait_row(tracker.session_id)
    door.choose(tracker.session_id)
    door.button("End chosen (1)").click()
    door.confirm()
    expect(door.dialog.get_by_text("1 of 1 session ended.")).to_be_visible()
    assert tracker.killed.is_set()
    with Operator(broker.bus) as operator:
        (command,) = [c for c in operator.get_commands() if c["session_id"] == tracker.session_id]
        assert command["requested_by"].startswith("login ann (operator) through")


def test_a_viewer_sees_and_has_nothing_to_press(door: MonitorPage, tracker: SessionClient) -> None:
    log_in(door.page, "vic")
    door.wait_row(tracker.session_id)
    expect(door.page.locator(".who")).to_have_text("vicviewer")
    expect(door.page.get_by_text("Viewers can't end sessions")).to_be_visible()
    door.choose(tracker.session_id)
    expect(door.page.locator("h2").get_by_text("guarded")).to_be_visible()
    expect(door.button("End chosen (1)")).to_be_disabled()
    expect(door.button("End all of an app")).to_be_disabled()


@pytest.mark.parametrize("button", ["End chosen (1)", "End all of an app"])
def test_a_viewer_who_presses_all_the_same_ends_nothing(
    door: MonitorPage, tracker: SessionClient, broker: BrokerProcess, button: str
) -> None:
    log_in(door.page, "vic")
    door.wait_row(tracker.session_id)
    door.choose(tracker.session_id)
    expect(door.button("End chosen (1)")).to_be_disabled()
    door.page.evaluate(PRESS, button)
    expect(door.dialog.get_by_role("button", name="Cancel")).to_be_visible()
    door.confirm()
    expect(door.dialog.get_by_text("viewer")).to_be_visible()
    with Operator(broker.bus) as operator:
        session = operator.get_session(tracker.session_id)
        assert session["kill_requested"] is False
        eventually(
            lambda: any(
                row["outcome"] != "ok" and "login vic (viewer)" in row["actor"]
                for row in operator.get_audit().rows
            ),
            "the audit has it",
        )
    assert not tracker.killed.is_set()


def test_an_open_page_whose_user_is_removed_goes_to_the_login(
    browser: Browser, broker: BrokerProcess, tmp_path: Path, tracker: SessionClient
) -> None:
    with serving_site(tmp_path, server=broker.bus) as site:
        ann, vic = MonitorPage(browser, site.url), MonitorPage(browser, site.url)
        log_in(ann.page, "ann")
        log_in(vic.page, "vic")
        for page in (ann, vic):
            page.wait_row(tracker.session_id)
        write_users(site.users, "ann")
        expect(vic.page.get_by_role("heading", name="Log in")).to_be_visible(timeout=LOAD_MS)
        expect(vic.page.locator(".who, perspective-viewer")).to_have_count(0)
        expect(ann.page.locator(".state")).to_have_text("Live")
        vic.close()
        ann.close()
        assert ann.errors == []
