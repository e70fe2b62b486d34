"""Memory is given back after a peak, and not asked for all the time."""

from __future__ import annotations

import logging
import sys

import pytest

from broker.memory import CHECK_EVERY, GROWTH, Memory, give_back, resident

MB = 1 << 20


def test_it_is_given_back_after_each_growth(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sizes = [40 * MB]
    given: list[int] = []

    def give() -> None:
        given.append(sizes[0])
        sizes[0] -= 50 * MB

    memory = Memory(lambda: sizes[0], give)
    now = 100.0

    def grown_to(size: int) -> list[int]:
        nonlocal now
        sizes[0] = size
        memory.watch(now)
        now += CHECK_EVERY
        return [found // MB for found in given]

    assert grown_to(40 * MB) == []
    assert grown_to(40 * MB + GROWTH - 1) == []
    assert grown_to(200 * MB) == [200]
    assert grown_to(150 * MB + GROWTH - 1) == [200]  # from what was left
    assert grown_to(100 * MB) == [200]
    assert grown_to(100 * MB + GROWTH) == [200, 164]  # from the least since
    memory.watch(now - CHECK_EVERY + 0.1)
    assert len(given) == 2
    assert caplog.messages[0] == "the broker had grown to 200 MB, and has 150 MB"


def test_where_the_system_does_not_tell_nothing_is_done() -> None:
    def never() -> None:
        raise AssertionError

    Memory(lambda: None, never).watch(100.0)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_size_is_that_of_this_process() -> None:
    before = resident()
    held = bytearray(64 * MB)
    held[::4096] = b"x" * len(held[::4096])
    after = resident()
    assert before is not None
    assert after is not None
    assert 60 * MB < after - before < 80 * MB
    del held
    give_back()
    left = resident()
    assert left is not None
    assert left < before + 20 * MB
