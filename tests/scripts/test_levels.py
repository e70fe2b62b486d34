"""What counts as levelled off, on made-up series."""

from __future__ import annotations

import random

import pytest

from scripts.levels import DATABASE, MEMORY, MIN_SAMPLES, SESSIONS, THREADS, Level, judge, slope

AT = [10.0 * i for i in range(361)]  # an hour
HALF_TIME = len(AT) // 2


def noisy(values: list[float], spread: float, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [value + rng.gauss(0.0, spread) for value in values]


def memory(values: list[float]) -> Level:
    return judge(MEMORY, AT, values)


def test_a_plateau_with_noise_is_level() -> None:
    for seed in range(20):
        level = memory(noisy([100.0] * len(AT), 5.0, seed))
        assert level.off
        assert level.allowed == pytest.approx(10.0, rel=0.05)


def test_a_leak_is_seen_under_noise() -> None:
    for seed in range(20):
        level = memory(noisy([100.0 + 25.0 * at / 3600 for at in AT], 8.0, seed))
        assert not level.off
        assert level.per_hour == pytest.approx(25.0, abs=10.0)


def test_growth_up_to_the_bound_is_level_and_more_is_not() -> None:
    assert memory([100.0 + 9.0 * at / 3600 for at in AT]).off
    assert not memory([100.0 + 12.0 * at / 3600 for at in AT]).off


def test_growth_in_the_warm_up_does_not_count() -> None:
    level = memory([min(50.0 + at / 10, 150.0) for at in AT])
    assert level.off
    assert level.per_hour == 0.0
    assert level.start == pytest.approx(50.0, abs=10.0)
    assert level.warm == level.end == 150.0


def test_a_staircase_grows() -> None:
    for steps in (2, 3, 4, 12):
        assert not memory([100.0 + 30.0 * (i * steps // len(AT)) for i in range(len(AT))]).off


def test_one_jump_after_the_warm_up_grows() -> None:
    assert not memory([100.0 if i < HALF_TIME + 60 else 130.0 for i in range(len(AT))]).off


def test_one_spike_is_no_growth() -> None:
    values = [100.0] * len(AT)
    values[300:320] = [500.0] * 20
    assert memory(values).off


def test_a_saw_that_falls_back_is_level() -> None:
    assert memory([100.0 + (at % 900.0) / 900 * 20.0 for at in AT]).off


def test_what_is_small_may_grow_by_a_little() -> None:
    assert judge(THREADS, AT, [4.0] * HALF_TIME + [6.0] * (len(AT) - HALF_TIME)).off
    assert not judge(THREADS, AT, [4.0] * HALF_TIME + [7.0] * (len(AT) - HALF_TIME)).off
    assert judge(DATABASE, AT, [at / 3600 for at in AT]).off


def test_less_memory_is_fine_and_fewer_sessions_are_not() -> None:
    falling = [10_000.0 - at for at in AT]
    assert memory(falling).off
    assert not judge(SESSIONS, AT, falling).off
    assert not judge(SESSIONS, AT, falling[::-1]).off


def test_a_run_of_another_length_is_judged_by_its_own() -> None:
    day = [at * 24 for at in AT]
    leak = [100.0 + 20.0 * at / 86_400 for at in day]
    assert not judge(MEMORY, day, leak).off
    assert judge(MEMORY, AT[: len(AT) // 4], [100.0 + at / 300 for at in AT][: len(AT) // 4]).off


def test_too_little_is_not_judged() -> None:
    few = [float(i) for i in range(MIN_SAMPLES)]
    judge(MEMORY, few, few)
    for at, values in ((few[1:], few[1:]), (few, few[1:]), ([], [])):
        with pytest.raises(ValueError, match="can't be judged"):
            judge(MEMORY, at, values)


def test_the_slope_is_that_of_the_line_whatever_a_third_of_the_points_say() -> None:
    at = [float(i) for i in range(1_000)]
    values = [3.0 * moment for moment in at]
    for i in range(0, 900, 3):
        values[i] = 1e6
    assert slope(at, values) == pytest.approx(3.0, rel=0.5)
    assert slope(at, [3.0 * moment for moment in at]) == pytest.approx(3.0)
    assert slope([1.0], [5.0]) == 0.0
