"""Keeping answers within a frame, without encoding them twice.

A text's bytes are bounded by four a character (UTF-8); the rest of a row, its keys included, stays
below a fixed allowance. What is taken by this measure always fits `wire.MAX_FRAME_BYTES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from sessionclient.wire import MAX_FRAME_BYTES

FRAME_BUDGET: Final = MAX_FRAME_BYTES - 150_000  # the rest is for ids and the message around
ROW_ALLOWANCE: Final = 700  # bytes: keys, numbers and ids
BYTES_PER_CHAR: Final = 4

T = TypeVar("T")


def weigh(*items: object) -> int:
    """An upper bound (bytes) of one row or change that holds these, of which texts count."""
    chars = 0
    for item in items:  # a plain loop, because this is asked of every change of the feed
        if type(item) is str:
            chars += len(item)
    return ROW_ALLOWANCE + BYTES_PER_CHAR * chars


def within(items: Iterable[T], weight: Callable[[T], int], limit: int) -> Iterator[T]:
    """The first of ``items`` that fit one frame together, at most ``limit``, at least one."""
    budget = FRAME_BUDGET
    for count, item in enumerate(items):
        budget -= weight(item)
        if count >= limit or (budget < 0 and count > 0):
            return
        yield item
