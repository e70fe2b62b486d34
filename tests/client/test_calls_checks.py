"""Mistakes in an operator's request are told before anything is sent, each in exact words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessionclient import calls
from sessionclient.errors import Misuse

Make = Callable[[Any], object]


def said(make: Make, value: Any) -> str:
    with pytest.raises(Misuse) as caught:
        make(value)
    return str(caught.value)


REQUIRED_NAMES: list[tuple[str, Make]] = [
    ("app_name", lambda value: calls.kill_app(value, None, None)),
    ("app_name", lambda value: calls.create_session(value, None)),
    ("status", lambda value: calls.update_status("s1", value, None)),
]
OPTIONAL_NAMES: list[tuple[str, Make]] = [
    ("app_name", lambda value: calls.list_sessions(value, None, None, None, 1, None)),
    ("user_id", lambda value: calls.list_sessions(None, value, None, None, 1, None)),
    ("status", lambda value: calls.list_sessions(None, None, value, None, 1, None)),
    ("user_id", lambda value: calls.create_session("web", value)),
    ("current_task", lambda value: calls.update_status("s1", "idle", value)),
    ("key", lambda value: calls.request_kill("s1", None, 0.0, value)),
    ("key", lambda value: calls.kill_app("sales", None, value)),
]


@pytest.mark.parametrize(("what", "make"), REQUIRED_NAMES + OPTIONAL_NAMES)
def test_a_name_is_text_of_1_to_255_characters(what: str, make: Make) -> None:
    text = f"{what} must be text of 1 to 255 characters, not "
    assert said(make, "") == text + "''"
    assert said(make, "x" * 256) == text + "'" + "x" * 59
    assert said(make, b"sales") == text + "b'sales'"
    assert said(make, 7) == text + "7"
    assert said(make, False) == text + "False"


@pytest.mark.parametrize(("what", "make"), REQUIRED_NAMES)
def test_a_required_name_may_not_be_none(what: str, make: Make) -> None:
    assert said(make, None) == f"{what} must be text of 1 to 255 characters, not None"


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("session_id", calls.get_session),
        ("prefix", calls.find_sessions),
        ("session_id", calls.get_tasks),
        ("command_id", lambda value: calls.get_command(value, 0.0, None)),
        ("session_id", lambda value: calls.request_kill(value, None, 0.0, None)),
        ("session_id", calls.delete_session),
        ("session_id", calls.update_heartbeat),
        ("session_id", lambda value: calls.update_status(value, "idle", None)),
    ],
)
def test_an_id_is_text_of_1_to_64_characters(what: str, make: Make) -> None:
    text = f"{what} must be an id of 1 to 64 characters, not "
    assert said(make, "") == text + "''"
    assert said(make, "x" * 65) == text + "'" + "x" * 65 + "'"
    assert said(make, "x" * 200) == text + "'" + "x" * 79
    assert said(make, None) == text + "None"
    assert said(make, b"s1") == text + "b's1'"


@pytest.mark.parametrize(
    "make",
    [
        lambda value: calls.request_kill("s1", value, 0.0, None),
        lambda value: calls.kill_app("sales", value, None),
    ],
    ids=["kill", "kill_all"],
)
@pytest.mark.parametrize("reason", ["x" * 2001, b"why", 1, False, ["why"]])
def test_a_reason_is_text_of_at_most_2000_characters(make: Make, reason: Any) -> None:
    assert said(make, reason) == "reason must be text of at most 2000 characters"


@pytest.mark.parametrize(
    ("what", "span", "make", "outside"),
    [
        ("wait", "0 to 3600", lambda value: calls.get_command("c", value, None), [-0.1, 3600.5]),
        (
            "wait",
            "0 to 3600",
            lambda value: calls.request_kill("s", None, value, None),
            [-1, 3601],
        ),
        ("wait", "0 to 3600", lambda value: calls.backup("a.db", value), [-1, 3601]),
        ("older_than_minutes", "0 to 5.2704e+06", calls.cleanup, [-0.1, 5_270_401]),
    ],
)
def test_a_number_is_one_and_within_its_bounds(
    what: str, span: str, make: Make, outside: list[float]
) -> None:
    strange = ["1", True, False, float("nan"), float("inf"), -float("inf"), [1], b"1"]
    for value in [*outside, *strange]:
        assert said(make, value) == f"{what} must be a number from {span}, not {value!r}"


@pytest.mark.parametrize(
    "make",
    [
        lambda value: calls.list_sessions(None, None, None, None, value, None),
        lambda value: calls.get_command("c", value, None),
        lambda value: calls.request_kill("s", None, value, None),
        calls.cleanup,
    ],
    ids=["limit", "wait for a command", "wait for a kill", "older"],
)
def test_a_number_may_not_be_none(make: Make) -> None:
    assert said(make, None).endswith(", not None")


@pytest.mark.parametrize("value", ["", "x" * 2001, None, 7, b"a.db", "a\ud800.db"])
def test_a_file_is_text(value: Any) -> None:
    text = said(lambda file: calls.backup(file, 1), value)
    assert text == "file must be text of 1 to 2000 characters"


@pytest.mark.parametrize("value", [0, 1, "true", "", []])
def test_a_flag_is_true_false_or_none(value: Any) -> None:
    text = said(lambda flag: calls.list_sessions(None, None, None, flag, 1, None), value)
    assert text == f"stale must be True, False or None, not {value!r}"


@pytest.mark.parametrize(
    "cursor",
    ["", "abc", "-1", "1.5", " 1", "+1", "²", "\u0661", str(1 << 62), "9" * 50, 7, b"7", True],
)
def test_a_cursor_is_one_of_a_page_before(cursor: Any) -> None:
    text = said(lambda value: calls.list_sessions(None, None, None, None, 1, value), cursor)
    assert text == f"cursor {cursor!r} is not one; give next_cursor of the page before"


def test_a_value_that_is_shown_is_cut() -> None:
    text = said(lambda value: calls.list_sessions(None, None, None, None, 1, value), "z" * 500)
    shown = "'" + "z" * 59
    assert text == f"cursor {shown} is not one; give next_cursor of the page before"


@pytest.mark.parametrize(
    ("what", "highest", "make"),
    [
        ("limit", 1000, lambda value: calls.list_sessions(None, None, None, None, value, None)),
        ("seen", 1 << 62, lambda value: calls.get_command("c", 0, value)),
    ],
)
def test_a_whole_number_is_one_and_within_its_bounds(what: str, highest: int, make: Make) -> None:
    lowest = 1 if what == "limit" else 0
    for value in [lowest - 1, highest + 1, 1.9, "1", True, float("nan"), [1]]:
        span = f"{lowest} to {highest}"
        assert said(make, value) == f"{what} must be a whole number from {span}, not {value!r}"


def test_numbers_of_thousands_of_digits_are_misuse_like_any_other() -> None:
    def page(value: Any) -> Any:
        return calls.list_sessions(None, None, None, None, 1, value)

    assert "give next_cursor of the page before" in said(page, "9" * 5000)
    assert said(calls.cleanup, 10**5000).endswith("not one far beyond")


@pytest.mark.parametrize(
    "make",
    [
        lambda value: calls.kill_app(value, None, None),
        lambda value: calls.kill_app("a", value, None),
        lambda value: calls.kill_app("a", None, value),
        lambda value: calls.get_session(value),
    ],
    ids=["name", "reason", "key", "id"],
)
def test_text_that_utf8_can_not_carry_is_misuse(make: Make) -> None:
    assert "must be" in said(make, "caf\udce9")
