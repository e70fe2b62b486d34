"""The monitor's table in a real browser: live, exact, chosen by id, and nobody's to alter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Track
from tests.browser.monitor_page import MonitorPage
from tests.support.processes import eventually

pytestmark = [pytest.mark.browser, pytest.mark.process]

Open = Callable[..., MonitorPage]
# `clear`, `update`, ... of the page's own client, as a page that means harm would call them
HARM = """async (viewer, call) => {
  const table = await viewer.getTable();
  const calls = {
    clear: () => table.clear(),
    update: () => table.update([{id: "forged", App: "forged"}]),
    replace: () => table.replace([{id: "forged", App: "forged"}]),
    remove: () => table.remove([call.victim]),
    delete: () => table.delete(),
  };
  try { await calls[call.name](); return "done"; } catch (error) { return String(error); }
}"""


@pytest.fixture
def opened(browser: Browser, url: str) -> Iterator[Open]:
    """Open the monitor; afterwards nothing must have gone wrong, nor left the host."""
    pages: list[MonitorPage] = []

    def open_one(path: str = "", **context: Any) -> MonitorPage:
        pages.append(MonitorPage(browser, url + path, **context))
        return pages[-1]

    yield open_one
    for page in pages:
        page.close()
    assert [page.errors for page in pages] == [[] for _ in pages]
    assert [page.foreign for page in pages] == [[] for _ in pages]


def test_a_session_is_shown_as_it_starts_works_and_ends(opened: Open, track: Track) -> None:
    first = track("shown", "ann")
    page = opened()
    page.wait_row(first.session_id)
    page.wait_live()
    tracker = track("shown", "bob")
    page.wait_row(tracker.session_id)
    row = page.row(tracker.session_id)
    expect(row.locator("td[data-status]")).to_have_text("idle")
    with tracker.task("Refresh forecast"):
        expect(row.get_by_text("Refresh forecast")).to_be_visible()
        expect(row.locator("td[data-status]")).to_have_text("running")
        expect(page.figure("running").locator("b")).to_have_text("1")
    expect(row.locator("td[data-status]")).to_have_text("idle")
    assert row.locator("td.pb-id").get_attribute("title") == tracker.session_id
    assert row.locator("td.pb-id").inner_text().strip() == tracker.session_id[:8]
    tracker.stop()
    expect(row).to_have_count(0)
    expect(page.row(first.session_id)).to_be_visible()


def test_durations_tick_by_themselves(opened: Open, track: Track) -> None:
    tracker = track("ticking")
    page = opened()
    page.wait_row(tracker.session_id)
    cell = page.row(tracker.session_id).locator("td.pb-span").first
    before = cell.inner_text()
    eventually(lambda: cell.inner_text() != before, "the duration ticks")


def test_a_choice_stays_on_its_session_while_rows_move(opened: Open, track: Track) -> None:
    trackers = [track("sorted", f"user{number}") for number in range(6)]
    page = opened()
    chosen = trackers[2]
    page.wait_row(chosen.session_id)
    page.choose(chosen.session_id)
    expect(page.page.get_by_text(chosen.session_id)).to_be_visible()
    for order in ("asc", "desc"):
        page.restore(f'{{sort: [["User", "{order}"]], filter: [["App", "==", "sorted"]]}}')
        user = "user0" if order == "asc" else "user5"
        expect(page.rows.first.get_by_text(user)).to_be_visible()
        assert page.selected() == {chosen.session_id}
    late = track("sorted", "user9")  # comes in above
    page.wait_row(late.session_id)
    assert page.selected() == {chosen.session_id}
    page.choose(late.session_id, modifiers=["Control"])
    expect(page.button("End chosen (2)")).to_be_enabled()
    chosen.stop()
    expect(page.button("End chosen (1)")).to_be_visible()
    assert page.selected() == {late.session_id}


def test_the_detail_tells_when_its_session_ends(opened: Open, track: Track) -> None:
    tracker = track("ending", "ann")
    with tracker.task("Load"):
        pass
    page = opened()
    page.wait_row(tracker.session_id)
    page.choose(tracker.session_id)
    expect(page.page.locator(".task").get_by_text("Load")).to_be_visible()
    tracker.stop()
    expect(page.page.get_by_text("This session ended at")).to_be_visible()
    expect(page.page.get_by_text("(stopped)")).to_be_visible()
    expect(page.button("End chosen")).to_be_disabled()


def test_the_keyboard_chooses(opened: Open, track: Track) -> None:
    trackers = {track("keys", f"user{number}").session_id for number in range(4)}
    page = opened()
    page.wait_row(next(iter(trackers)))
    page.restore('{filter: [["App", "==", "keys"]], sort: [["User", "asc"]]}')
    expect(page.rows).to_have_count(4)
    grid = page.page.get_by_role("grid")
    grid.focus()
    page.page.keyboard.press("ArrowDown")
    expect(page.button("End chosen (1)")).to_be_enabled()
    page.page.keyboard.press("Shift+ArrowDown")
    expect(page.button("End chosen (2)")).to_be_visible()
    page.page.keyboard.press("Space")
    expect(page.button("End chosen (1)")).to_be_visible()
    page.page.keyboard.press("Escape")
    expect(page.button("End chosen")).to_be_disabled()


def test_a_figure_filters_the_table_and_lets_go(opened: Open, track: Track) -> None:
    idle, busy = track("figured"), track("figured")
    page = opened()
    page.wait_row(idle.session_id)
    with busy.task("Work"):
        expect(page.row(busy.session_id).get_by_text("Work")).to_be_visible()
        page.figure("running").click()
        expect(page.row(idle.session_id)).to_have_count(0)
        expect(page.row(busy.session_id)).to_be_visible()
        expect(page.figure("running")).to_have_attribute("aria-pressed", "true")
        page.figure("running").click()
        expect(page.row(idle.session_id)).to_be_visible()
        page.figure("running").click()
        expect(page.row(idle.session_id)).to_have_count(0)
        page.restore("{filter: []}")  # by hand: the figure is not what filters any more
        expect(page.figure("running")).to_have_attribute("aria-pressed", "false")


def test_the_layout_is_remembered_and_can_be_reset(
    browser: Browser, opened: Open, track: Track
) -> None:
    tracker = track("arranged")
    page = opened()
    page.wait_row(tracker.session_id)
    page.restore('{group_by: ["App"], columns: ["User", "Status"]}')
    stored = "() => localStorage.getItem('panelbus-monitor-layout-1') ?? ''"
    eventually(lambda: '"group_by":["App"]' in page.page.evaluate(stored), "it is stored")
    page.page.reload()
    expect(page.page.get_by_text("TOTAL")).to_be_visible(timeout=40_000)
    assert page.rows.count() == 0
    page.button("Reset layout").click()
    page.wait_row(tracker.session_id)


def test_a_paused_page_holds_still_until_it_goes_on(opened: Open, track: Track) -> None:
    before = track("paused")
    page = opened()
    page.wait_row(before.session_id)
    other = opened()
    other.wait_row(before.session_id)
    switch = page.page.get_by_role("switch")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(page.page.get_by_text("Paused at")).to_be_visible()
    late, later = track("paused"), track("paused")
    other.wait_row(later.session_id)  # by now this page would show it too
    expect(page.row(late.session_id)).to_have_count(0)
    page.button("Refresh now").click()
    page.wait_row(late.session_id)
    late.stop()
    expect(other.row(late.session_id)).to_have_count(0)
    assert page.row(late.session_id).count() == 1
    switch.click()
    expect(page.row(late.session_id)).to_have_count(0)


@pytest.mark.parametrize("name", ["clear", "update", "replace", "remove", "delete"])
def test_a_page_can_not_alter_the_table_for_others(opened: Open, track: Track, name: str) -> None:
    victim = track("safe")
    bad, good = opened(), opened()
    bad.wait_row(victim.session_id)
    good.wait_row(victim.session_id)
    viewer = bad.page.locator("perspective-viewer")
    said = viewer.evaluate(HARM, {"name": name, "victim": victim.session_id})
    assert "this table is read-only" in said
    late = track("safe")  # both go on
    for page in (good, bad):
        page.wait_row(late.session_id)
        expect(page.row(victim.session_id)).to_be_visible()
        expect(page.row("forged")).to_have_count(0)
    bad.errors.clear()  # its own


def test_names_are_shown_and_never_obeyed(opened: Open, track: Track) -> None:
    markup = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"
    users = [
        markup,
        "\N{PILE OF POO} żółw",
        "\u202eevil\u202c \u05d0\u05d1",
        "x" * 255,
        "a'b\"c&lt;",
    ]
    trackers = [track(f"names {markup}"[:255], user) for user in users]
    page = opened()
    for tracker, user in zip(trackers, users, strict=True):
        page.wait_row(tracker.session_id)
        page.choose(tracker.session_id)
        expect(page.page.locator("h2").get_by_text(user)).to_be_visible()
    page.choose(trackers[0].session_id)
    page.button("End chosen").click()
    expect(page.dialog.get_by_text(markup).first).to_be_visible()
    page.dialog.get_by_role("button", name="Cancel").click()
    assert page.page.evaluate("window.hit") is None
    assert page.page.locator("img").count() == 0


def test_the_theme_is_the_browsers_and_can_be_changed(opened: Open, track: Track) -> None:
    tracker = track("themed")
    page = opened(color_scheme="dark")
    page.wait_row(tracker.session_id)
    viewer = page.page.locator("perspective-viewer")
    expect(viewer).to_have_attribute("theme", "Pro Dark")
    page.button("Light theme").click()
    expect(viewer).to_have_attribute("theme", "Pro Light")
    page.page.reload()
    page.wait_row(tracker.session_id)
    expect(page.page.locator("perspective-viewer")).to_have_attribute("theme", "Pro Light")
    expect(page.button("Dark theme")).to_be_visible()
