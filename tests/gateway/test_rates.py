"""Buckets of requests, with a clock of the test's own."""

from __future__ import annotations

import pytest

from broker.gateway.rates import MAX_BUCKETS, Buckets, retry_after
from sessionclient.address import neighbourhood


def test_a_burst_then_the_rate() -> None:
    buckets = Buckets(rate=2, burst=3)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [0.0] * 3
    assert buckets.take("a", 0.0) == pytest.approx(0.5)
    assert buckets.take("a", 0.25) == pytest.approx(0.25)
    assert buckets.take("a", 0.5) == 0.0
    assert buckets.take("a", 0.5) > 0


def test_being_refused_costs_nothing() -> None:
    buckets = Buckets(rate=1, burst=1)
    buckets.take("a", 0.0)
    assert all(buckets.take("a", 0.9) for _ in range(100))
    assert buckets.take("a", 1.0) == 0.0


def test_idling_saves_no_more_than_a_burst() -> None:
    buckets = Buckets(rate=10, burst=2)
    buckets.take("a", 0.0)
    assert [bool(buckets.take("a", 1e9)) for _ in range(3)] == [False, False, True]


def test_one_asker_does_not_cost_another_one() -> None:
    buckets = Buckets(rate=1, burst=1)
    buckets.take("a", 0.0)
    assert buckets.take("a", 0.0)
    assert buckets.take("b", 0.0) == 0.0


def test_memory_is_bounded_and_the_busy_are_kept() -> None:
    buckets = Buckets(rate=0.001, burst=1)
    buckets.take("busy", 0.0)
    for number in range(3 * MAX_BUCKETS):
        buckets.take(f"a{number}", 1.0)
        if number % 1000 == 0:
            assert buckets.take("busy", 1.0)
    assert len(buckets) == MAX_BUCKETS


@pytest.mark.parametrize(("wait", "text"), [(0.001, "1"), (1.0, "1"), (1.01, "2"), (59.2, "60")])
def test_retry_after_is_whole_seconds(wait: float, text: str) -> None:
    assert retry_after(wait) == text


@pytest.mark.parametrize(
    ("address", "asker"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("a socket file", "a socket file"),
    ],
)
def test_one_machine_is_one_asker(address: str, asker: str) -> None:
    assert neighbourhood(address) == asker
