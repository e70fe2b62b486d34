"""How long REST takes to answer with a page of the list of sessions, over one kept connection."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, Final

from scripts.measures import stage

ROWS: Final = 100  # in a page whose time is taken
LEAP: Final = 1_000  # rows in a page on the way to the middle of the list
PERCENT: Final = 100


class Pages:
    """A client of the gateway that reads pages."""

    def __init__(self, http: str) -> None:
        self._connection = HTTPConnection(http, timeout=stage.TIMEOUT)

    def read(self, limit: int, cursor: str | None = None) -> bytes:
        """One page, as its bytes are."""
        query = f"limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        self._connection.request("GET", f"/sessions?{query}")
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"GET /sessions?{query} was answered with {answer.status}: {body!r}")
        return body

    def middle(self) -> str | None:
        """The cursor of a page in the middle of the list; None when the list is short."""
        cursor, passed, total = None, 0, LEAP
        while passed < total // 2:
            page: dict[str, Any] = json.loads(self.read(LEAP, cursor))
            cursor, total = page["next_cursor"], page["total"]
            passed += len(page["sessions"])
        return cursor

    def times(self, count: int, cursor: str | None = None) -> list[float]:
        """Seconds of each of so many requests for a page of `ROWS`, one after the other."""
        taken = []
        for _ in range(count):
            began = time.monotonic()
            self.read(ROWS, cursor)
            taken.append(time.monotonic() - began)
        return taken

    def close(self) -> None:
        self._connection.close()


@contextmanager
def pages(http: str) -> Iterator[Pages]:
    made = Pages(http)
    try:
        yield made
    finally:
        made.close()


def p99(values: list[float]) -> float:
    """What all but one of a hundred stay below."""
    return statistics.quantiles(values, n=PERCENT, method="inclusive")[-1]
