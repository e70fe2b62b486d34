"""No name, reason or error text becomes a tag or an attribute, and each is shown as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import views
from monitor.columns import SHORT_ID
from monitor.views import Clock
from tests.monitor.make import NOW, SECOND, command, session
from tests.monitor.page import Page

CLOCK = Clock()
HOSTILE = {  # each longer than a short id
    "script": "<script>alert(1)</script>",
    "single quote": "x' onmouseover='alert(1)",
    "double quote": 'x"><img src=x onerror=alert(1)>',
    "closing": "</td></tr></table></b></span></li></ul></p></h2>",
    "comment": "<!-- --><!doctype html><?php ?>",
    "entity": "&lt;b&gt;&amp;&#60;i&#62;",
    "style": "0%;background:url(//evil.example)",
    "emoji": "\N{PILE OF POO}\N{MAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER} at work",
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u0631\u062d\u0628\u0627",
    "combining": "e" + "\N{COMBINING ACUTE ACCENT}" * 9,
    "255 letters": "W" * 255,
    "255 emoji": "\N{GRINNING FACE}" * 255,
    "255 brackets": "<" * 255,
}


def live(value: str) -> str:
    """A session in which every text is ``value``."""
    row = session(
        value,
        app_name=value,
        user_id=value,
        status=value,
        current_task=value,
        task_start=NOW,
        process=value,
        host=value,
        kill_reason=value,
        kill_error=value,
    )
    failed = {"name": value, "started_at": NOW, "ended_at": NOW, "outcome": "error"}
    fine = {**failed, "outcome": "ok", "error": None}
    asked = command("c1", reason=value, requested_by=value, reached={"requested": NOW})
    return views.detail(row, [{**failed, "error": value}, fine], [asked], NOW, CLOCK)


def over(value: str) -> str:
    row = session(value, app_name=value, user_id=value)
    end = {"ended_at": NOW, "end_reason": value, "end_error": value}
    return views.detail({**row, **end}, [], [], NOW + SECOND, CLOCK)


def asked(value: str) -> str:
    row = session(value, app_name=value, user_id=value, current_task=value)
    return views.confirm([row] * (views.MAX_NAMED + 2))


def gone_wrong(value: str) -> str:
    found = command("c1", failed=1, failures={value: value}, reached={"requested": NOW})
    return views.progress([found], [(value, value)], CLOCK)


# builder -> how often it shows the whole text
BUILDERS: dict[Callable[[str], str], int] = {
    live: 15,
    over: 5,
    asked: 3 * views.MAX_NAMED + 2,
    gone_wrong: 2,
    lambda value: views.confirm_app(value, 3): 1,
    lambda value: views.unknown("s1", value): 1,
    lambda value: views.empty(value): 2,
    lambda value: views.away(value, NOW, CLOCK): 1,
}
NAMES = ["live", "over", "asked", "gone_wrong", "confirm_app", "unknown", "empty", "away"]
EVERY_BUILDER = pytest.mark.parametrize(("build", "times"), BUILDERS.items(), ids=NAMES)


@EVERY_BUILDER
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_text_stays_text(build: Callable[[str], str], times: int, value: str) -> None:
    page, harmless = Page(build(value)), Page(build("harmless"))
    assert page.shape() == harmless.shape()
    assert page.words.count(value) == times
    assert set(page.titles()) <= {value}


@EVERY_BUILDER
@given(inner=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[]"), min_size=8))
def test_any_text_stays_text(build: Callable[[str], str], times: int, inner: str) -> None:
    page, harmless = Page(build(f"[{inner}]")), Page(build("harmless"))
    assert page.shape() == harmless.shape()
    assert page.words.count(f"[{inner}]") == times


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_shortened_id_is_cut_before_it_is_escaped(value: str) -> None:
    short = value[:SHORT_ID]
    assert Page(asked(value)).words.count(short) >= views.MAX_NAMED
    assert f" ended.{short} " not in gone_wrong(value)
    assert short in Page(gone_wrong(value)).words


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_an_unknown_id_is_cut_before_it_is_escaped(value: str) -> None:
    page = Page(views.unknown(value, "why"))
    assert page.shape() == Page(views.unknown("s1", "why")).shape()
    assert page.words == f"Session {value[:64]}why"


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_the_outcome_of_a_task_is_one_attribute(value: str) -> None:
    odd: dict[str, Any] = {"name": "load", "started_at": NOW, "ended_at": NOW, "error": None}
    html = views.detail(session("s1"), [{**odd, "outcome": value}], [], NOW, CLOCK)
    bars = [attrs for tag, attrs in Page(html).elements if tag == "i"]
    assert [bar.keys() for bar in bars] == [{"class", "style"}]
    assert bars[0]["class"] == value
