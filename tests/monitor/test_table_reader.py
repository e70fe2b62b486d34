"""What a page may ask of the table: to read it, and to be told of changes or left in peace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import perspective
import pytest

from monitor import readonly
from monitor.columns import row
from monitor.table import LiveTable, Reader
from tests.monitor.make import session
from tests.monitor.protobuf import member, read, request
from tests.monitor.reading import Follower, PageClient, turn


@pytest.fixture
def table() -> Iterator[LiveTable]:
    """With two rows."""
    made = LiveTable()
    made.put([row(session("s1")), row(session("s2", app_name="stock"))])
    yield made
    for reader in list(made.readers):
        reader.close()
    turn(made)
    made.close()


Attack = Callable[[PageClient], Any]
ATTACKS: dict[str, Attack] = {
    "clear": lambda page: page.table.clear(),
    "update": lambda page: page.table.update([{"id": "s1", "App": "mine"}]),
    "update through a port": lambda page: page.table.update(
        [{"id": "s3"}], port_id=page.table.make_port()
    ),
    "replace": lambda page: page.table.replace([{"id": "s3"}]),
    "remove": lambda page: page.table.remove(["s1"]),
    "delete": lambda page: page.table.delete(),
    "make a table": lambda page: page.client.table({"x": "string"}, name="mine"),
    "make one over it": lambda page: page.client.table({"x": "string"}, name="sessions-1"),
    "join": lambda page: page.client.join(page.table, page.table, "id"),
    "system info": lambda page: page.client.system_info(),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_page_changes_nothing(
    table: LiveTable, attack: Attack, caplog: pytest.LogCaptureFixture
) -> None:
    attacker, other = PageClient(table), PageClient(table)
    before, follower = other.rows(), Follower(other)
    with pytest.raises(perspective.PerspectiveError, match="this table is read-only"):
        attack(attacker)
    assert other.rows() == attacker.rows() == before
    assert follower.told == 0
    assert attacker.client.get_hosted_table_names() == ["sessions-1"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "a page asked to change the table" in caplog.text


def test_a_page_reads_in_every_way(table: LiveTable) -> None:
    page = PageClient(table)
    assert page.table.size() == 2
    assert page.table.columns()[0] == "id"
    assert page.table.validate_expressions({"x": '"Duration" + 1'})["expression_schema"] == {
        "x": "float"
    }
    view = page.table.view(group_by=["App"], columns=["PID"], aggregates={"PID": "count"})
    assert view.to_columns() == {
        "__ROW_PATH__": [[], ["sales"], ["stock"]],
        "PID": [2, 1, 1],
    }
    assert (view.num_rows(), view.dimensions()["num_table_rows"]) == (3, 2)
    assert view.get_config()["group_by"] == ["App"]
    assert view.to_csv().splitlines() == ['"App","PID"', ",2", '"sales",1', '"stock",1']
    assert len(view.to_arrow()) > 0
    view.delete()
    assert all(request.reads for request in page.asked)


def test_a_port_costs_the_engine_nothing(table: LiveTable) -> None:
    page = PageClient(table)
    assert [page.table.make_port(), page.table.make_port()] == [0, 0]


def test_an_asynchronous_client_reads_too(table: LiveTable) -> None:
    async def look() -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        answering: set[asyncio.Task[None]] = set()

        def answer(data: bytes) -> None:
            task = loop.create_task(client.handle_response(data))
            answering.add(task)
            task.add_done_callback(answering.discard)

        def receive(data: bytes) -> None:
            loop.call_soon_threadsafe(answer, data)

        reader = table.open_reader(receive)

        async def ask(data: bytes) -> None:
            reader.ask(bytes(data))

        client = perspective.AsyncClient(ask)
        view = await (await client.open_table(table.name)).view(columns=["App"])
        with pytest.raises(perspective.PerspectiveError, match="read-only"):
            await (await client.open_table(table.name)).clear()
        records: list[dict[str, Any]] = await view.to_records()
        reader.close()
        return records

    assert asyncio.run(look()) == [{"App": "sales"}, {"App": "stock"}]


def test_what_is_no_request_is_told_to_the_caller(table: LiveTable) -> None:
    sent: list[bytes] = []
    reader = table.open_reader(sent.append)
    for data in (b"", b"\xff", request(1, 8) * 2):
        with pytest.raises(readonly.NotARequest):
            reader.ask(data)
    assert sent == []


def test_nonsense_within_a_request_is_answered_and_hurts_nobody(table: LiveTable) -> None:
    sent: list[bytes] = []
    reader = table.open_reader(sent.append)
    asked = [
        request(1, 7, entity=b"no such table"),
        request(2, 7, b"\xff\xff\xff"),
        request(3, 6, b"\x0a\x7f"),
        request(4, 23, entity=b"no such view"),
        request(5, 11, entity=b"sessions-1"),
    ]
    for data in asked:
        reader.ask(data)
    turn(table)
    assert PageClient(table).rows().keys() == {"s1", "s2"}
    assert {readonly.answers(data) for data in sent} <= {0, 1, 2, 3, 4, 5, None}


def test_a_failure_of_the_engine_is_logged_and_the_next_request_is_served(
    table: LiveTable, caplog: pytest.LogCaptureFixture
) -> None:
    page = PageClient(table)

    def fail(_session: Any) -> None:
        raise perspective.PerspectiveError("too much")

    page.reader._submit(fail)
    assert page.table.size() == 2
    assert caplog.messages == ["a page's request failed: too much"]


def test_a_request_that_fails_in_the_engine_is_answered_with_why(
    table: LiveTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def handle_request(self, _data: bytes) -> None:
            raise perspective.PerspectiveError("too much")

    page = PageClient(table)
    monkeypatch.setattr(page.reader, "_session", Failing())
    with pytest.raises(perspective.PerspectiveError, match="too much"):
        page.table.size()


def test_a_page_that_can_not_be_told_stops_neither_the_table_nor_the_others(
    table: LiveTable, caplog: pytest.LogCaptureFixture
) -> None:
    broken, follower = Follower(PageClient(table)), Follower(PageClient(table))

    def raises(_data: bytes) -> None:
        raise RuntimeError("this page is broken")

    broken.page.reader._to_page = raises
    change(table, 1)
    change(table, 2)
    follower.wait_for(2)
    assert set(caplog.messages) == {"a page could not be answered"}
    assert follower.page.rows()["s1"]["PID"] == "2"


def test_answers_come_from_the_thread_for_pages(table: LiveTable) -> None:
    page = PageClient(table)
    page.table.size()
    assert page.threads == {"panelbus-table_0"}


# --- being told of changes -----------------------------------------------------------------------


def change(table: LiveTable, number: int) -> None:
    table.put([row(session("s1", pid=number))])
    table.size()  # the engine tells of changes before it answers


def test_a_page_is_told_of_changes(table: LiveTable) -> None:
    follower = Follower(PageClient(table))
    for number in (1, 2, 3):
        change(table, number)
        follower.wait_for(number)
    assert follower.told == 3


def test_a_paused_page_is_told_once_when_it_goes_on(table: LiveTable) -> None:
    follower, other = Follower(PageClient(table)), Follower(PageClient(table))
    follower.page.reader.pause(True)
    for number in (1, 2, 3):
        change(table, number)
    other.wait_for(3)
    assert follower.told == 0
    follower.page.reader.pause(False)
    assert follower.told == 1
    change(table, 4)
    follower.wait_for(2)
    assert follower.told == 2


def test_what_a_paused_page_asks_for_is_answered(table: LiveTable) -> None:
    follower = Follower(PageClient(table))
    follower.page.reader.pause(True)
    change(table, 99)
    assert follower.page.rows()["s1"]["PID"] == "99"
    assert follower.view.num_rows() == 2
    assert follower.told == 0


def test_a_paused_page_catches_up_and_stays_paused(table: LiveTable) -> None:
    follower = Follower(PageClient(table))
    follower.page.reader.pause(True)
    change(table, 1)
    follower.page.reader.catch_up()
    assert follower.told == 1
    follower.page.reader.catch_up()
    assert follower.told == 1
    change(table, 2)
    assert follower.told == 1
    follower.page.reader.pause(False)
    assert follower.told == 2


def test_each_view_of_a_paused_page_is_told(table: LiveTable) -> None:
    page = PageClient(table)
    followers = [Follower(page), Follower(page)]
    page.reader.pause(True)
    change(table, 1)
    change(table, 2)
    assert [follower.told for follower in followers] == [0, 0]
    page.reader.pause(False)
    assert [follower.told for follower in followers] == [1, 1]


def test_a_page_that_missed_nothing_is_told_nothing(table: LiveTable) -> None:
    follower = Follower(PageClient(table))
    answered = len(follower.page.answered)
    follower.page.reader.pause(True)
    follower.page.reader.pause(False)
    follower.page.reader.catch_up()
    assert (follower.told, len(follower.page.answered)) == (0, answered)


# --- after the end -------------------------------------------------------------------------------


def sink(table: LiveTable) -> tuple[Reader, list[bytes]]:
    sent: list[bytes] = []
    return table.open_reader(sent.append), sent


def test_a_closed_reader_answers_no_more(table: LiveTable) -> None:
    reader, sent = sink(table)
    reader.close()
    reader.ask(request(1, 8))
    turn(table)
    assert sent == []


def test_a_closed_reader_is_told_of_nothing(table: LiveTable) -> None:
    follower, other = Follower(PageClient(table)), Follower(PageClient(table))
    follower.page.reader.close()
    turn(table)
    change(table, 1)
    other.wait_for(1)
    assert follower.told == 0


def test_a_reader_of_a_closed_table_refuses_and_reads_nothing() -> None:
    table = LiveTable()
    reader, sent = sink(table)
    table.close()
    reader.ask(request(1, 8))
    assert sent == []
    reader.ask(request(2, 33))
    assert read(sent[0])[0] == (1, 2)
    reader.close()
    assert table.readers == set()


def test_a_refusal_goes_to_the_entity_that_was_asked(table: LiveTable) -> None:
    reader, sent = sink(table)
    reader.ask(request(7, 33, entity=b"sessions-1"))
    assert sent == [
        member(1, 7) + member(2, b"sessions-1") + member(50, member(1, b"this table is read-only"))
    ]
