"""A page's end of a table: a real client of Perspective that talks through a `Reader`."""

from __future__ import annotations

import threading
from typing import Any

import perspective

from monitor import readonly
from monitor.table import LiveTable
from tests.support.processes import eventually


def turn(table: LiveTable) -> None:
    """Wait until everything that pages have asked is done."""
    table._readers.submit(int).result()


class PageClient:
    """What a browser does, in Python. ``asked`` and ``answered`` are the numbers that went by."""

    def __init__(self, table: LiveTable) -> None:
        self.asked: list[readonly.Request] = []
        self.answered: list[int | None] = []
        self.threads: set[str] = set()
        self.reader = table.open_reader(self._receive)
        self.client = perspective.Client(self._send)
        self.table = self.client.open_table(table.name)

    def _send(self, data: bytes) -> None:
        self.asked.append(readonly.parse(bytes(data)))
        self.reader.ask(bytes(data))

    def _receive(self, data: bytes) -> None:
        self.threads.add(threading.current_thread().name)
        self.answered.append(readonly.answers(data))
        self.client.handle_response(data)

    def rows(self) -> dict[str, dict[str, Any]]:
        """All rows by id, as a page sees them now."""
        view = self.table.view()
        found = {row["id"]: row for row in view.to_records()}
        view.delete()
        return found


class Follower:
    """A view that counts how often it was told of changes."""

    def __init__(self, page: PageClient) -> None:
        self.told = 0
        self.page = page
        self.view = page.table.view()
        self.view.on_update(self._count)
        self.view.num_rows()  # answered after what was asked before it

    def _count(self, _port: int) -> None:
        self.told += 1

    def wait_for(self, told: int) -> None:
        eventually(lambda: self.told >= told, f"told {told} times, not {self.told}")
