"""What the charts show: samples of the last hour, and kills by the minute."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.history import (
    MAX_APPS,
    MAX_SAMPLES,
    OTHERS,
    SPAN,
    STEP,
    History,
    Series,
    kills_by_minute,
)
from tests.monitor.make import MINUTE, NOW, SECOND, command

APPS = st.sampled_from([f"app{number}" for number in range(9)])


def test_without_samples_there_is_nothing_to_draw() -> None:
    assert History().series() == Series([], {})


def test_a_sample_is_taken_when_one_is_due() -> None:
    history = History()
    assert history.sample({"sales": 1}, NOW)
    assert not history.sample({"sales": 2}, NOW + STEP - timedelta(microseconds=1))
    assert history.sample({"sales": 3}, NOW + STEP)
    assert history.series() == Series([NOW, NOW + STEP], {"sales": [1, 3]})


def test_a_sample_keeps_nothing_of_what_it_was_taken_from() -> None:
    history, by_app = History(), Counter({"sales": 1})
    history.sample(by_app, NOW)
    by_app["sales"] = 99
    assert history.series().counts == {"sales": [1]}


def test_an_hour_is_kept_and_both_its_ends() -> None:
    history = History()
    for number in range(MAX_SAMPLES + 3):
        assert history.sample({"sales": number}, NOW + number * STEP)
    at, counts = history.series()
    assert len(at) == MAX_SAMPLES == 721
    assert at[-1] - at[0] == SPAN
    assert counts["sales"] == list(range(3, MAX_SAMPLES + 3))


def test_an_app_that_came_or_went_counts_nothing_where_it_was_not() -> None:
    history = History()
    history.sample({"sales": 5}, NOW)
    history.sample({}, NOW + STEP)
    history.sample({"stock": 2}, NOW + 2 * STEP)
    assert history.series().counts == {"sales": [5, 0, 0], "stock": [0, 0, 2]}


def test_the_largest_app_comes_first_by_all_its_samples() -> None:
    history = History()
    history.sample({"now": 1, "before": 9}, NOW)
    history.sample({"now": 7}, NOW + STEP)
    assert list(history.series().counts) == ["before", "now"]


def test_as_many_apps_as_have_a_colour_stand_by_themselves() -> None:
    history = History()
    history.sample({f"app{number}": 10 - number for number in range(MAX_APPS)}, NOW)
    assert list(history.series().counts) == [f"app{number}" for number in range(MAX_APPS)]


def test_the_smaller_apps_are_drawn_together() -> None:
    history = History()
    history.sample({f"app{number}": 10 - number for number in range(7)}, NOW)
    history.sample({"app6": 1}, NOW + STEP)
    counts = history.series().counts
    assert list(counts) == ["app0", "app1", "app2", "app3", "app4", OTHERS]
    assert counts["app0"] == [10, 0]
    assert counts[OTHERS] == [5 + 4, 1]


@given(st.lists(st.dictionaries(APPS, st.integers(1, 50)), max_size=12))
def test_all_lines_together_are_all_sessions(samples: list[dict[str, int]]) -> None:
    history = History()
    for number, by_app in enumerate(samples):
        history.sample(by_app, NOW + number * STEP)
    series = history.series()
    assert len(series.counts) <= MAX_APPS + 1
    assert len(series.at) == len(samples)
    for number, by_app in enumerate(samples):
        assert sum(line[number] for line in series.counts.values()) == sum(by_app.values())


# --- kills -------------------------------------------------------------------------------------

THIS_MINUTE = NOW.replace(second=0)


def test_an_hour_without_kills_is_sixty_minutes_of_none() -> None:
    starts, counts = kills_by_minute([], NOW)
    assert counts == [0] * 60
    assert starts == [THIS_MINUTE - (59 - number) * MINUTE for number in range(60)]


def test_kills_count_their_sessions_in_their_minute() -> None:
    commands = [
        command("c1", requested_at=NOW, total=3),
        command("c2", requested_at=THIS_MINUTE, total=4),
        command("c3", requested_at=THIS_MINUTE - SECOND),
        command("c4", requested_at=THIS_MINUTE - 59 * MINUTE),
    ]
    _, counts = kills_by_minute(commands, NOW)
    assert (counts[59], counts[58], counts[0]) == (7, 1, 1)
    assert sum(counts) == 9


def test_kills_of_another_hour_are_left_out() -> None:
    before = command("c1", requested_at=THIS_MINUTE - 59 * MINUTE - SECOND)
    after = command("c2", requested_at=THIS_MINUTE + MINUTE)
    assert sum(kills_by_minute([before, after], NOW)[1]) == 0


def test_an_app_with_the_name_of_the_rest_is_counted_with_it() -> None:
    history = History()
    by_app = {OTHERS: 100, "a": 9, "b": 8, "c": 7, "d": 6, "e": 5}
    history.sample(by_app, NOW)
    assert sum(counts[0] for counts in history.series().counts.values()) == 135
