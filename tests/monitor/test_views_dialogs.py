"""What a dialog says: exactly what will end, and how far that is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from monitor import views
from monitor.views import Clock, confirm, confirm_app, progress, stages
from tests.monitor.make import NOW, SECOND, command, session
from tests.monitor.page import Page, words

UTC_CLOCK = Clock()


# --- asking ------------------------------------------------------------------------------------


def test_one_session_is_named() -> None:
    html = confirm([session("0123456789", current_task="load")])
    assert words(html) == ("This session will end: Session App User Task 01234567 sales ann load")
    assert Page(html).titles() == ["0123456789"]


def test_several_sessions_are_counted_and_named() -> None:
    rows = [session("s1"), session("s2", app_name="stock", user_id=None), session("s3")]
    assert words(confirm(rows)) == (
        "3 sessions will end: 2 of sales , 1 of stock . Session App User Task"
        " s1 sales ann \N{EN DASH} s2 stock \N{EN DASH} \N{EN DASH} s3 sales ann \N{EN DASH}"
    )


def test_many_sessions_are_named_at_first_and_then_counted() -> None:
    rows = [session(f"s{n}.", app_name="stock" if n > 11 else "sales") for n in range(1500)]
    html = confirm(rows)
    said = words(html)
    assert said.startswith("1,500 sessions will end: 1,488 of stock , 12 of sales .")
    assert Page(html).titles() == [f"s{n}." for n in range(views.MAX_NAMED)]
    assert said.endswith("and 1,488 more: 1,488 of stock")


def test_as_many_as_are_named_leave_no_rest() -> None:
    html = confirm([session(f"s{n}") for n in range(views.MAX_NAMED)])
    assert "more" not in html


@pytest.mark.parametrize(("apps", "others"), [(13, "others of 1 app"), (15, "others of 3 apps")])
def test_many_apps_are_counted_together(apps: int, others: str) -> None:
    said = words(confirm([session(f"s{n}", app_name=f"app{n}") for n in range(apps)]))
    assert f"1 of app11 , {others}." in said


def test_when_all_have_ended_nothing_will_end() -> None:
    assert words(confirm([])) == "None of the chosen sessions is live any more."


@pytest.mark.parametrize(
    ("number", "many"), [(0, "0 sessions"), (1, "1 session"), (2500, "2,500 sessions")]
)
def test_an_app_is_named_with_how_many_will_end(number: int, many: str) -> None:
    assert words(confirm_app("sales", number)) == (
        f"Every session of sales will end: {many} that are not being ended already."
    )


# --- stages ------------------------------------------------------------------------------------


def at(stage: str, reached: dict[str, datetime], finished: bool = False) -> dict[str, Any]:
    when = NOW if finished else None
    return command("c1", stage=stage, reached=reached, finished_at=when)


def lines(found: dict[str, Any]) -> tuple[list[str | None], str]:
    """The looks of the stages, and what they say."""
    html = stages(found, UTC_CLOCK)
    return [attrs["class"] for tag, attrs in Page(html).elements if tag == "li"], words(html)


def test_a_kill_that_was_asked_for() -> None:
    looks, said = lines(at("requested", {"requested": NOW}))
    assert looks == ["done", "", ""]
    assert said == "requested 12:30:40.000 delivered completed"


def test_a_kill_that_was_delivered() -> None:
    looks, said = lines(at("delivered", {"requested": NOW, "delivered": NOW + SECOND}))
    assert looks == ["done", "done", ""]
    assert said == "requested 12:30:40.000 delivered 12:30:41.000 completed"


def test_a_kill_that_is_complete_passed_every_stage() -> None:
    looks, said = lines(at("completed", {"requested": NOW, "completed": NOW + SECOND}, True))
    assert looks == ["done", "done", "done"]
    assert said == "requested 12:30:40.000 delivered completed 12:30:41.000"


def test_a_kill_that_failed() -> None:
    looks, said = lines(at("failed", {"requested": NOW, "failed": NOW + SECOND}, True))
    assert looks == ["done", "done", "failed"]
    assert said == "requested 12:30:40.000 delivered failed 12:30:41.000"


# --- progress ----------------------------------------------------------------------------------


def kill(command_id: str, **changes: Any) -> dict[str, Any]:
    return command(command_id, reached={"requested": NOW}, **changes)


def test_one_kill_under_way_shows_its_stages() -> None:
    html = progress([kill("c1")], [], UTC_CLOCK)
    assert words(html) == ("0 of 1 session ended. requested 12:30:40.000 delivered completed")
    assert ("p", {"role": "status"}) in Page(html).elements


def test_a_kill_of_an_app_counts_its_sessions() -> None:
    said = words(progress([kill("c1", total=2000, completed=1200)], [], UTC_CLOCK))
    assert said.startswith("1,200 of 2,000 sessions ended. requested")


def test_several_kills_are_counted_by_stage() -> None:
    commands = [
        kill("c1", stage="completed", completed=1),
        kill("c2", stage="delivered"),
        kill("c3", stage="completed", completed=1),
    ]
    assert words(progress(commands, [], UTC_CLOCK)) == (
        "2 of 3 sessions ended. 2 completed, 1 delivered"
    )


@pytest.mark.parametrize(("failed", "many"), [(1, "1 kill failed."), (2, "2 kills failed.")])
def test_failures_are_counted_until_their_causes_are_known(failed: int, many: str) -> None:
    found = kill("c1", total=3, failed=failed)
    assert words(progress([found], [], UTC_CLOCK)).endswith(many)


def test_failures_are_named_with_their_causes() -> None:
    found = kill("c1", total=3, failed=2, failures={"0123456789": "it hangs", "s2": "no answer"})
    html = progress([found], [], UTC_CLOCK)
    assert words(html).endswith("Failed 01234567 it hangs s2 no answer")
    assert "kills failed" not in html


def test_what_was_refused_is_named_before_what_failed() -> None:
    found = kill("c1", failed=1, failures={"s1": "it hangs"})
    said = words(progress([found], [("s2", "there is no session s2")], UTC_CLOCK))
    assert said.endswith("Failed s2 there is no session s2 s1 it hangs")


def test_when_everything_was_refused_nothing_has_ended() -> None:
    said = words(progress([], [("sales", "the broker is away")], UTC_CLOCK))
    assert said == "0 of 0 sessions ended. Failed sales the broker is away"


def test_only_the_first_failures_are_named() -> None:
    refusals = [(f"s{n}.", "why") for n in range(views.MAX_FAILURES + 5)]
    html = progress([], refusals, UTC_CLOCK)
    assert html.count("why") == views.MAX_FAILURES
    assert "s19." in html
    assert "s20." not in html
