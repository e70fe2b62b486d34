"""The table for all pages, with the real engine: rows in, rows out, and a new one in its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import perspective
import pytest

from monitor import table as table_module
from monitor.columns import SCHEMA, row
from monitor.table import LiveTable
from tests.monitor.make import NOW, SECOND, session
from tests.monitor.reading import PageClient, turn


@pytest.fixture
def table() -> Iterator[LiveTable]:
    made = LiveTable()
    yield made
    for reader in list(made.readers):
        reader.close()
    turn(made)
    made.close()


def put(table: LiveTable, *sessions: dict[str, Any]) -> None:
    table.put(map(row, sessions))


def names(table: LiveTable) -> set[str]:
    """Of the tables the engine holds."""
    return set(table._client.get_hosted_table_names())


def test_a_new_table_is_empty_and_has_every_column(table: LiveTable) -> None:
    assert (table.size(), table.name, table.worn) == (0, "sessions-1", False)
    page = PageClient(table)
    assert page.table.schema() == SCHEMA
    assert page.table.get_index() == "id"


def test_rows_are_put_and_removed(table: LiveTable) -> None:
    put(table, session("s1"), session("s2"), session("s3"))
    assert table.size() == 3
    table.remove(["s1", "s3"])
    assert table.size() == 1
    assert PageClient(table).rows().keys() == {"s2"}


def test_a_row_is_shown_as_it_was_put(table: LiveTable) -> None:
    busy = session("s1", current_task="load", task_start=NOW - SECOND)
    put(table, busy, session("s2", user_id=None, source="rest"))
    assert PageClient(table).rows() == {
        "s1": row(busy),
        "s2": row(session("s2", user_id=None, source="rest")),
    }


def test_a_row_that_is_put_again_replaces_all_of_it(table: LiveTable) -> None:
    put(table, session("s1", current_task="load", task_start=NOW))
    put(table, session("s1", user_id=None))
    assert PageClient(table).rows() == {"s1": row(session("s1", user_id=None))}


def test_of_a_row_that_stands_twice_the_last_counts(table: LiveTable) -> None:
    put(table, session("s1", status="old"), session("s1", status="new"))
    assert PageClient(table).rows()["s1"]["Status"] == "new"


def test_a_removed_row_may_come_back(table: LiveTable) -> None:
    put(table, session("s1", current_task="load", task_start=NOW))
    table.remove(["s1"])
    put(table, session("s1"))
    assert PageClient(table).rows() == {"s1": row(session("s1"))}


def test_to_put_or_to_remove_nothing_or_nobody_is_nothing(table: LiveTable) -> None:
    put(table)
    table.remove([])
    table.remove(["s9"])
    put(table, session("s1"))
    table.remove(["s9"])
    assert table.size() == 1


@pytest.mark.parametrize(
    "name",
    [
        "<b>'\"&\\</b>",
        "\N{GRINNING FACE}" * 255,
        "\u202e\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
        "line\nbreak\ttab\u2028",
        "null",
    ],
    ids=["markup", "emoji", "right to left", "breaks", "null"],
)
def test_names_come_through_as_they_are(table: LiveTable, name: str) -> None:
    put(table, session("s1", app_name=name, user_id=name, host=name))
    shown = PageClient(table).rows()["s1"]
    assert [shown[column] for column in ("App", "User", "Host")] == [name] * 3


def test_many_rows_are_removed_in_several_calls(
    table: LiveTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "REMOVE_ROWS", 10)
    put(table, *(session(f"s{number}") for number in range(25)))
    table.remove(f"s{number}" for number in range(24))
    assert PageClient(table).rows().keys() == {"s24"}


# --- a new one in its place ---------------------------------------------------------------------


def test_a_table_is_worn_when_so_many_rows_have_gone(
    table: LiveTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "RENEW_AFTER", 3)
    table.remove(["s1", "s2"])
    assert not table.worn
    table.remove(["s3"])
    assert table.worn
    table.renew()
    assert not table.worn


def test_a_new_table_is_empty_and_works_under_another_name(table: LiveTable) -> None:
    put(table, session("s1"))
    table.renew()
    assert (table.name, table.size()) == ("sessions-2", 0)
    put(table, session("s2"))
    table.remove(["s9"])
    assert names(table) == {"sessions-2"}
    assert PageClient(table).rows().keys() == {"s2"}


def test_an_old_table_stays_while_a_page_looks_at_it(table: LiveTable) -> None:
    put(table, session("s1"))
    pages = [PageClient(table), PageClient(table)]
    views = [page.table.view() for page in pages]
    table.renew()
    table.remove([])
    assert names(table) == {"sessions-1", "sessions-2"}
    assert [view.num_rows() for view in views] == [1, 1]
    pages[0].reader.close()
    table.remove([])
    assert names(table) == {"sessions-1", "sessions-2"}
    views[1].delete()  # the page shows the new one now
    table.remove([])
    assert names(table) == {"sessions-2"}


def test_what_an_old_table_held_goes_back_to_the_system_once_it_is_dropped() -> None:
    given_back: list[set[str]] = []
    made: list[LiveTable] = []
    table = LiveTable(lambda: given_back.append(names(made[0])))
    made.append(table)
    page = PageClient(table)
    view = page.table.view()
    table.renew()
    table.remove([])
    assert given_back == []
    view.delete()
    table.remove([])
    table.remove([])
    assert given_back == [{"sessions-2"}]
    page.reader.close()
    turn(table)
    table.close()


def test_the_last_reader_to_leave_takes_old_tables_with_it(table: LiveTable) -> None:
    page = PageClient(table)
    view = page.table.view()
    table.renew()
    table.renew()
    table.remove([])
    assert names(table) == {"sessions-1", "sessions-3"}
    page.reader.close()
    turn(table)
    table.remove([])
    assert names(table) == {"sessions-3"}
    assert table.readers == set()
    del view


# --- the end -----------------------------------------------------------------------------------


def test_a_reader_that_closes_frees_its_views(table: LiveTable) -> None:
    page = PageClient(table)
    page.table.view()
    with pytest.raises(perspective.PerspectiveError, match="views"):
        table._table.delete()
    page.reader.close()
    assert table.readers == set()
    turn(table)
    table._table.delete()
    assert names(table) == set()


def test_to_close_twice_is_to_close_once() -> None:
    table = LiveTable()
    reader = PageClient(table).reader
    reader.close()
    reader.close()
    table.close()
    table.close()
    reader.close()
    assert table.readers == set()
