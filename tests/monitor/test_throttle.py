"""Guessing slows down, for who guesses; and what is counted is bounded."""

from __future__ import annotations

from monitor.throttle import FORGOTTEN_AFTER, FREE, MAX_KEYS, Throttle


def failing(throttle: Throttle, key: str, times: int, now: float) -> None:
    for _ in range(times):
        throttle.tried(key, now)


def test_the_first_failures_are_free() -> None:
    throttle = Throttle(60)
    failing(throttle, "a", FREE - 1, 0)
    assert throttle.wait("a", 0) == 0


def test_then_each_doubles_the_wait_up_to_the_longest() -> None:
    throttle = Throttle(60)
    failing(throttle, "a", FREE, 0)
    waits = []
    now = 0.0
    for _ in range(8):
        waits.append(throttle.wait("a", now))
        now += waits[-1]
        assert throttle.wait("a", now) == 0
        throttle.tried("a", now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_others_do_not_wait() -> None:
    throttle = Throttle(60)
    failing(throttle, "a", 20, 0)
    assert throttle.wait("b", 0) == 0


def test_tries_at_the_same_time_count_before_they_are_answered() -> None:
    throttle = Throttle(60)
    failing(throttle, "a", 1_000, 0)
    assert throttle.wait("a", 0) == 60


def test_ones_own_login_does_not_wash_off_guesses() -> None:
    throttle = Throttle(60)
    failing(throttle, "a", FREE, 0)
    throttle.tried("a", 1)
    throttle.passed("a", 1)
    assert throttle.wait("a", 1) == 1


def test_a_right_first_try_leaves_nothing() -> None:
    throttle = Throttle(60)
    throttle.tried("a", 0)
    throttle.passed("a", 0)
    assert len(throttle) == 0


def test_failures_are_forgotten() -> None:
    throttle = Throttle(60)
    failing(throttle, "a", 50, 0)
    assert throttle.wait("a", 60) == 0
    throttle.tried("a", FORGOTTEN_AFTER)
    assert throttle.wait("a", FORGOTTEN_AFTER) == 0


def test_what_is_counted_is_bounded_and_keeps_who_goes_on() -> None:
    throttle = Throttle(60)
    for number in range(3 * MAX_KEYS):
        throttle.tried(f"name{number}", 0)
        throttle.tried("address", 0)
    assert len(throttle) == MAX_KEYS
    assert throttle.wait("address", 0) == 60
