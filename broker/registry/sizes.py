"""Keeping answers within a frame, without encoding them twice.

A text's bytes are bounded by four a character (UTF-8); the rest of a row, its keys included, stays
below a fixed allowance. What is taken by this measure always fits `wire.MAX_FRAME_BYTES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from sessionclient.wire import MAX_FRAME_BYTES

FRAME_BUDGET: Final = MAX_FRAME_BYTES - 150_000  # the rest is for ids and the message around
ROW_ALLOWANCE: Final = 700  # bytes: keys, numbers, ids and a host name of usual length
BYTES_PER_CHAR: Final = 4

T = TypeVar("T")


def weigh(*texts: str | None) -> int:
    """An upper bound (bytes) of one row that holds these texts."""
    return ROW_ALLOWANCE + BYTES_PER_CHAR * sum(len(text) for text in texts if text)


def within(items: Iterable[T], weight: Callable[[T], int], limit: int) -> Iterator[T]:
    """The first of ``items`` that fit one frame together, at most ``limit``, at least one."""
    budget = FRAME_BUDGET
    for count, item in enumerate(items):
        budget -= weight(item)
        if count >= limit or (budget < 0 and count > 0):
            return
        yield item
