"""The table's columns, their values, and the first layout."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.columns import INDEX, LAYOUT, SCHEMA, SHORT_ID, SPANS, row
from tests.monitor.make import MINUTE, NOW, SECOND, session

MILLIS = 1_714_998_640_000.0  # NOW


def test_a_session_as_a_row() -> None:
    busy = session(
        "0123456789abcdef",
        status="running",
        current_task="load",
        task_start=NOW - 2 * SECOND,
        last_heartbeat=NOW - SECOND,
    )
    assert row(busy) == {
        "id": "0123456789abcdef",
        "App": "sales",
        "User": "ann",
        "Session": "01234567",
        "Started": MILLIS - 60_000,
        "Duration": -(MILLIS - 60_000),
        "Status": "running",
        "Task": "load",
        "Task time": -(MILLIS - 2_000),
        "Host": "host1",
        "PID": "42",
        "Last heard": -(MILLIS - 1_000),
    }


def test_what_is_not_there_is_null() -> None:
    shown = row(session("s1", user_id=None))
    assert {name for name, value in shown.items() if value is None} == {
        "User",
        "Task",
        "Task time",
    }


def test_a_session_on_rest_has_no_host_and_no_pid() -> None:
    shown = row(session("s1", source="rest", host="-", pid=0))
    assert (shown["Host"], shown["PID"]) == ("REST", None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "busy"}, "busy"),
        ({"status": "busy", "is_stale": True}, "stale"),
        ({"kill_requested": True, "kill_stage": "requested", "is_stale": True}, "being killed"),
        ({"kill_requested": True, "kill_stage": "failed"}, "kill failed"),
    ],
)
def test_the_status_is_the_one_people_see(changes: dict[str, Any], words: str) -> None:
    assert row(session("s1", **changes))["Status"] == words


@given(st.timedeltas(timedelta(0), timedelta(days=3660)))
def test_a_longer_span_is_a_larger_value(age: timedelta) -> None:
    def spans(moment: datetime) -> list[float]:
        shown = row(session("s1", start_time=moment, task_start=moment, last_heartbeat=moment))
        return [shown[name] for name in SPANS]

    younger, older = spans(NOW), spans(NOW - age - timedelta(milliseconds=1))
    assert all(old > young for young, old in zip(younger, older, strict=True))
    # what the page does: now, in milliseconds, plus the value
    shown_millis = [MILLIS + value for value in older]
    passed = (age + timedelta(milliseconds=1)).total_seconds() * 1000
    assert shown_millis == pytest.approx([passed] * len(SPANS), abs=0.01)


def test_a_row_has_every_column_in_the_order_of_the_schema() -> None:
    assert list(row(session("s1"))) == list(SCHEMA)


def test_every_value_has_the_type_of_its_column() -> None:
    types = {"string": str, "datetime": float, "float": float, "integer": int}
    shown = row(session("s1", current_task="load", task_start=NOW - MINUTE))
    assert {name: type(value) for name, value in shown.items()} == {
        name: types[kind] for name, kind in SCHEMA.items()
    }


def test_spans_are_numbers_and_the_index_is_text() -> None:
    assert {SCHEMA[name] for name in SPANS} == {"float"}
    assert SCHEMA[INDEX] == "string"
    assert len(row(session("x" * 64))["Session"]) == SHORT_ID


def test_the_layout_names_only_columns_that_exist() -> None:
    sorted_by = [name for name, _ in LAYOUT["sort"]]
    named = [*LAYOUT["columns"], *sorted_by, *LAYOUT["aggregates"], *LAYOUT["columns_config"]]
    assert set(named) <= set(SCHEMA)
    assert [LAYOUT[key] for key in ("group_by", "split_by", "filter")] == [[], [], []]


def test_the_layout_shows_every_column_but_the_index_once() -> None:
    assert LAYOUT["columns"] == [name for name in SCHEMA if name != INDEX]
    assert list(LAYOUT["columns_config"]) == LAYOUT["columns"]


def test_grouped_spans_show_the_longest() -> None:
    assert {LAYOUT["aggregates"][name] for name in SPANS} == {"high"}


def test_the_table_can_t_be_edited_where_it_is_shown() -> None:
    assert LAYOUT["plugin_config"]["edit_mode"] == "READ_ONLY"
