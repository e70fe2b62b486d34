"""The measure of many sessions, with real processes and few sessions, and its pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.measures.many import MANY
from scripts.measures.pages import LEAP, Pages, p99
from tests.scripts.one_round import one_round


@pytest.mark.process
def test_memory_rest_restart_and_pages(tmp_path: Path) -> None:
    one_round(MANY, tmp_path)


class Listed(Pages):
    """Pages of a list that is only numbers."""

    def __init__(self, total: int) -> None:
        super().__init__("127.0.0.1:1")
        self._total = total

    def read(self, limit: int, cursor: str | None = None) -> bytes:
        after = int(cursor or 0)
        until = min(self._total, after + limit)
        page: dict[str, Any] = {"sessions": list(range(after, until)), "total": self._total}
        page["next_cursor"] = str(until) if until < self._total else None
        return json.dumps(page).encode()


@pytest.mark.parametrize(
    ("total", "cursor"),
    [
        (20, "0"),
        (5 * LEAP, str(3 * LEAP)),  # the first that is beyond the middle
        (6 * LEAP, str(3 * LEAP)),
        (2 * LEAP + 1, str(LEAP)),
    ],
)
def test_the_middle_of_the_list_is_found_page_by_page(total: int, cursor: str) -> None:
    assert (Listed(total).middle() or "0") == cursor


def test_one_of_a_hundred_is_beyond_p99() -> None:
    assert p99([float(value) for value in range(101)]) == pytest.approx(99.0)
    assert p99([1.0, 1.0, 1.0]) == 1.0
