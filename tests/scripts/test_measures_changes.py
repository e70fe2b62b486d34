"""The measures of changes of status and of the feed, with real processes and a few sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.measures.changes import CHANGES, FEED, RAW_PUB
from scripts.measures.subscriber import RAW_EVENTS, Count, Got, read_feed, read_raw
from sessionclient.wire import encode
from tests.scripts.one_round import one_round


@pytest.mark.process
def test_changes_at_a_pace_and_as_many_as_the_broker_takes(tmp_path: Path) -> None:
    # what the broker uses anyway is taken off, and may be all that was seen on a busy machine
    one_round(CHANGES, tmp_path, may_be_zero=("changes.cpu",))


@pytest.mark.process
def test_the_feed_brings_every_change(tmp_path: Path) -> None:
    sample = one_round(FEED, tmp_path, may_be_zero=("feed.gaps",))
    assert sample["feed.gaps"] == 0


@pytest.mark.process
def test_a_raw_pub_drops_nothing(tmp_path: Path) -> None:
    sample = one_round(RAW_PUB, tmp_path, may_be_zero=("raw_pub.gaps",))
    assert sample["raw_pub.gaps"] == 0


def count(*messages: Got) -> Count:
    made = Count()
    for at, message in enumerate(messages, start=1):
        made.take(message, float(at))
    return made


def change(number: int, changes: int = 2) -> Got:
    return Got(number, changes, beat=False)


def beat(number: int) -> Got:
    return Got(number, 0, beat=True)


def test_changes_are_counted_from_the_first_to_the_last() -> None:
    made = count(beat(4), change(5), change(6), change(7, 0), beat(7))
    assert made.answer() == {"changes": 4, "gaps": 0, "seconds": 1.0}


@pytest.mark.parametrize(
    ("messages", "gaps"),
    [
        ([change(5), change(6)], 0),  # the first of all may have any number
        ([change(5), change(7)], 1),
        ([change(5), change(9), change(10), change(20)], 2),
        ([change(5), beat(6)], 1),  # the newest was lost
        ([change(5), beat(6), change(7)], 1),
        ([change(5), beat(5), change(6)], 0),
    ],
)
def test_a_number_that_does_not_follow_is_a_gap(messages: list[Got], gaps: int) -> None:
    assert count(*messages).gaps == gaps


def test_it_ends_with_the_last_change_or_when_two_beats_brought_none() -> None:
    made = count(beat(0), change(1))
    assert not made.ended(3)
    assert made.ended(2)
    made.take(beat(1), 3.0)
    assert not made.ended(3)
    made.take(beat(1), 4.0)
    assert made.ended(3)


def test_counting_anew_goes_on_from_the_newest_number() -> None:
    made = Count(count(change(5)).number)
    made.take(change(7), 1.0)
    assert made.gaps == 1


def test_of_the_feed_changes_of_status_are_counted() -> None:
    changes = [["s", "a", "idle", None, None], ["h", "p", 1.0], ["s", "b", "idle", None, None]]
    message = {"k": "feed", "epoch": "e", "n": 3, "t": 1.0, "w": 2.0}
    assert read_feed(encode({**message, "changes": changes})) == Got(3, 2, beat=False)
    assert read_feed(encode({**message, "changes": changes[1:2]})) == Got(3, 0, beat=False)
    assert read_feed(encode({**message, "changes": []})) == Got(3, 0, beat=True)


def test_of_a_raw_message_the_number_is_read() -> None:
    assert read_raw((7).to_bytes(8) + bytes(20)) == Got(7, RAW_EVENTS, beat=False)
    assert read_raw((7).to_bytes(8)) == Got(7, 0, beat=True)
