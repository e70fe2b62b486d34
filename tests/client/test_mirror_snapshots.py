"""How a mirror becomes true and stays so: pages, updates meanwhile, gaps, silence, new epochs."""

from __future__ import annotations

from sessionclient.mirror import (
    LONGEST_PATIENCE,
    MAX_BUFFERED,
    PAGE_TIMEOUT,
    RETRY_SPREAD,
    SILENT_AFTER,
    Ask,
    Change,
)
from tests.client.rows import WALL, command, row
from tests.client.stage_mirror import DOWN, LIVE, RESYNCING, MirrorStage


def started(now: float = 100.0) -> tuple[MirrorStage, Ask]:
    """A mirror that has just asked for its first page."""
    stage = MirrorStage()
    stage.welcomed(now)
    ask = stage.ask()
    stage.changes()
    return stage, ask


def goes_live(stage: MirrorStage, now: float, *ids: str, number: int = 5) -> None:
    """The snapshot that is waited for comes, and with it these sessions."""
    stage.answer_all(now, *(row(sid, seq) for seq, sid in enumerate(ids)), n=number)
    assert (stage.mirror.state, stage.ids()) == ("live", list(ids))


# --- pages ---------------------------------------------------------------------------------------


def test_a_snapshot_is_taken_page_by_page() -> None:
    stage, ask = started()
    stage.answer(ask, 100.1, row("s1", 1), next=1)
    ask = stage.ask()
    assert ask == Ask("list", 1, 1)
    assert stage.mirror.next_deadline() == 100.1 + PAGE_TIMEOUT
    stage.answer(ask, 100.2, row("s2", 2), next=2, n=8)
    ask = stage.ask()
    assert ask == Ask("list", 2, 1)
    stage.answer(ask, 100.3, row("s3", 3), n=9)
    assert stage.ids() == []
    ask = stage.ask()
    assert ask == Ask("commands", 0, 1)
    stage.answer_commands(ask, 100.4)
    assert (stage.mirror.state, stage.ids()) == ("live", ["s1", "s2", "s3"])
    stage.fed(101.0, 6, ["+", row("s4", 4)])  # the numbers go on from the first page
    assert (stage.mirror.state, stage.ids()) == ("live", ["s1", "s2", "s3", "s4"])


def test_updates_meanwhile_are_applied_on_top() -> None:
    stage, ask = started()
    stage.fed(100.0, 6, ["+", row("of a former broker", 9)], epoch="e0")
    for number in (4, 5):  # the first page has these, or their ends, already
        stage.fed(100.0, number, ["+", row("before", 9)])
    stage.fed(100.1, 6, ["+", row("s3", 3)])
    stage.answer(ask, 100.2, row("s1", 1), next=1)
    stage.fed(100.3, 7, ["-", "s1", "closed", WALL, None], ["s", "s2", "busy", None, None])
    stage.fed(100.3, 7)  # a beat
    stage.answer(stage.ask(), 100.4, row("s2", 2, status="busy"), n=7)
    stage.fed(100.5, 8, ["k", command("c2")])
    stage.answer_commands(stage.ask(), 100.6, [command("c1")])
    assert (stage.mirror.state, stage.ids()) == ("live", ["s2", "s3"])
    assert list(stage.mirror.commands) == ["c1", "c2"]
    changes = stage.changes()
    assert [change.kind for change in changes] == ["state", "snapshot", "commands"]
    assert [entry["session_id"] for entry in changes[1].rows] == ["s2", "s3"]
    stage.fed(101.0, 9, ["+", row("s4", 4)])
    assert (stage.mirror.state, stage.ids()) == ("live", ["s2", "s3", "s4"])


def test_a_gap_in_the_updates_meanwhile_starts_the_snapshot_anew() -> None:
    stage, ask = started()
    stage.answer(ask, 100.1)
    stage.fed(100.2, 6, ["+", row("s1", 1)])
    stage.fed(100.3, 8, ["+", row("s3", 3)])
    stage.answer_commands(stage.ask(), 100.4)
    assert (stage.mirror.state, stage.mirror.resyncs) == ("resyncing", 2)
    assert stage.mirror.next_deadline() == 100.4 + RETRY_SPREAD / 2
    stage.changes()
    stage.mirror.tick(100.5)
    goes_live(stage, 100.6, "s1", "s2", "s3", number=8)


def test_nobody_is_told_of_a_snapshot_that_came_to_nothing() -> None:
    stage = MirrorStage.live(row("s1", 1))
    stage.fed(100.1, 6, ["s", "s1", "busy", None, None])
    stage.fed(100.2, 8, ["+", row("s2", 2)])  # 7 is lost
    stage.mirror.tick(100.4)
    stage.answer(stage.ask(), 100.5, row("s1", 1), row("s2", 2), n=8)
    stage.fed(100.6, 9, ["-", "s2", "closed", WALL, None])
    stage.fed(100.7, 11, ["+", row("s3", 3)])  # 10 is lost
    stage.answer_commands(stage.ask(), 100.8)
    # s2 has never been shown, so its end would make no sense; what was told before stays told
    assert [change.kind for change in stage.changes()] == ["session", "state"]
    assert stage.mirror.state == "resyncing"


def test_what_is_no_change_among_the_updates_meanwhile_starts_the_snapshot_anew() -> None:
    stage, ask = started()
    stage.answer(ask, 100.1)
    stage.fed(100.2, 6, ["+", {}])
    stage.fed(100.3, 7, ["+", row("s1", 1)])
    stage.answer_commands(stage.ask(), 100.4)
    assert (stage.mirror.state, stage.ids()) == ("resyncing", [])
    assert LIVE not in stage.changes()
    stage.mirror.tick(100.5)
    goes_live(stage, 100.6, "s1", number=7)


def test_too_many_updates_meanwhile_start_the_snapshot_anew() -> None:
    stage, ask = started()
    thousand = [["h", "proc", 100.0]] * 1000
    for number in range(6, 6 + MAX_BUFFERED // 1000):
        stage.fed(100.1, number, *thousand)
    assert stage.mirror.resyncs == 1
    stage.fed(100.2, 6 + MAX_BUFFERED // 1000, ["h", "proc", 100.0])
    assert stage.mirror.resyncs == 2
    assert stage.mirror.next_deadline() == 100.2 + RETRY_SPREAD / 2
    stage.answer(ask, 100.25, row("late", 1))  # an answer to the former snapshot
    assert stage.changes() == []
    stage.mirror.tick(100.3)
    goes_live(stage, 100.4, "s1", number=56)


def test_a_page_of_another_epoch_starts_the_snapshot_anew() -> None:
    stage, ask = started()
    stage.answer(ask, 100.1, row("s1", 1), next=1)
    stage.answer(stage.ask(), 100.2, row("s2", 2), epoch="e2")
    assert (stage.mirror.state, stage.mirror.resyncs) == ("resyncing", 2)
    assert stage.changes() == []
    stage.mirror.tick(100.3)
    goes_live(stage, 100.4, "s2")  # the first page's rows went with its epoch


def test_commands_of_another_epoch_start_the_snapshot_anew() -> None:
    stage, ask = started()
    stage.answer(ask, 100.1, row("s1", 1))
    stage.answer_commands(stage.ask(), 100.2, [command("c1")], epoch="e2")
    assert (stage.mirror.state, stage.ids(), stage.mirror.commands) == ("resyncing", [], {})
    stage.mirror.tick(100.3)
    goes_live(stage, 100.4, "s2")


def test_updates_of_another_epoch_than_the_first_page_start_the_snapshot_anew() -> None:
    stage, ask = started()
    stage.answer(ask, 100.1, next=1)
    stage.ask()
    stage.fed(100.2, 1, epoch="e2")  # a beat tells nothing that must be kept
    assert stage.mirror.resyncs == 1
    stage.fed(100.3, 1, ["+", row("s1", 1)], epoch="e2")
    assert stage.mirror.resyncs == 2
    assert stage.mirror.next_deadline() == 100.3 + RETRY_SPREAD / 2


def test_a_page_that_could_not_be_had_is_asked_for_again_within_a_second() -> None:
    stage, ask = started()
    stage.mirror.failed(ask, 100.2)
    assert stage.rng.spans[-1] == (0.0, 1.0)
    assert stage.mirror.next_deadline() == 100.7
    stage.mirror.failed(ask, 100.3)  # of the former snapshot
    stage.mirror.tick(100.6)
    assert stage.changes() == []
    stage.mirror.tick(100.7)
    assert stage.ask() == Ask("list", 0, 2)


def test_a_failure_after_the_snapshot_is_complete_changes_nothing() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.mirror.failed(Ask("list", 0, 1), 101.0)
    assert (stage.mirror.state, stage.changes()) == ("live", [])


def test_a_page_that_is_overdue_starts_the_snapshot_anew() -> None:
    stage, ask = started()
    assert stage.mirror.next_deadline() == 100.0 + PAGE_TIMEOUT
    stage.mirror.tick(104.9)
    assert stage.mirror.resyncs == 1
    stage.mirror.tick(105.0)
    assert (stage.mirror.resyncs, stage.mirror.next_deadline()) == (2, 105.0 + RETRY_SPREAD / 2)
    stage.answer(ask, 105.05, row("late", 1))
    assert stage.changes() == []
    stage.mirror.tick(105.1)
    goes_live(stage, 105.2, "s1")


def test_answers_that_come_after_the_end_or_twice_are_ignored() -> None:
    stage, ask = started()
    stage.answer(ask, 100.1, row("s1", 1))
    last = stage.ask()
    stage.answer_commands(last, 100.2, [command("c1")])
    stage.changes()
    stage.answer(ask, 100.3, row("s9", 9))
    stage.answer_commands(last, 100.3, [command("c9")])
    assert (stage.changes(), stage.ids()) == ([], ["s1"])
    stage.mirror.disconnected(101.0)
    stage.changes()
    stage.answer(ask, 101.1, row("s9", 9))
    stage.answer_commands(last, 101.1)
    assert (stage.changes(), stage.mirror.state) == ([], "down")


# --- the feed ------------------------------------------------------------------------------------


def test_a_gap_starts_a_snapshot_after_a_random_moment() -> None:
    stage = MirrorStage.live(row("s1", 1))
    stage.fed(101.0, 7, ["+", row("s3", 3)])
    assert stage.changes() == [RESYNCING]
    assert stage.ids() == ["s1"]
    assert stage.rng.spans[-1] == (0.0, RETRY_SPREAD)
    assert stage.mirror.next_deadline() == 101.1
    stage.fed(101.05, 8, ["+", row("s4", 4)])
    stage.mirror.tick(101.09)
    assert stage.changes() == []
    stage.mirror.tick(101.1)
    stage.answer_all(101.2, row("s1", 1), row("s2", 2), row("s3", 3), n=7)
    assert (stage.mirror.state, stage.ids()) == ("live", ["s1", "s2", "s3", "s4"])


def test_a_beat_tells_of_a_gap_too() -> None:
    stage = MirrorStage.live()
    stage.fed(101.0, 6)
    assert stage.mirror.state == "resyncing"


def test_repeats_are_ignored() -> None:
    stage = MirrorStage.live(row("s1", 1))
    stage.fed(101.0, 6, ["+", row("s2", 2)])
    stage.changes()
    stage.fed(102.0, 6, ["-", "s2", "closed", WALL, None])
    stage.fed(102.0, 3, ["-", "s1", "closed", WALL, None])
    stage.fed(102.0, 5)  # a beat that was overtaken
    assert (stage.changes(), stage.ids()) == ([], ["s1", "s2"])
    assert stage.mirror.time(102.0).observed == 102.0


def test_another_epoch_in_the_feed_starts_a_snapshot() -> None:
    stage = MirrorStage.live(row("s1", 1))
    stage.fed(101.0, 6, ["+", row("s2", 2)], epoch="e2")
    assert (stage.mirror.state, stage.ids()) == ("resyncing", ["s1"])
    stage.fed(101.05, 7, ["+", row("s7", 7)], epoch="e2")
    stage.mirror.tick(101.1)
    stage.answer(stage.ask(), 101.2, row("s9", 9), epoch="e2", n=6)
    stage.answer_commands(stage.ask(), 101.3, epoch="e2")
    assert (stage.mirror.state, stage.ids(), stage.mirror.resyncs) == ("live", ["s7", "s9"], 2)


def test_a_welcome_of_the_same_epoch_leaves_a_live_mirror_alone() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.mirror.welcomed("e1", 50.0, 102.0)
    assert (stage.changes(), stage.mirror.state) == ([], "live")
    assert stage.mirror.time(102.0).stale_after == 50.0
    assert stage.mirror.next_deadline() == 102.0 + SILENT_AFTER


def test_a_welcome_of_another_epoch_starts_a_snapshot_at_once() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.welcomed(102.0, "e2")
    assert stage.ask() == Ask("list", 0, 2)
    assert stage.changes() == [RESYNCING]


def test_a_welcome_during_a_snapshot_starts_it_anew() -> None:
    stage, ask = started()
    stage.welcomed(101.0)
    assert stage.ask() == Ask("list", 0, 2)
    stage.answer(ask, 101.1, row("s9", 9))
    assert stage.changes() == []


def test_a_connection_that_is_back_starts_a_snapshot() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.mirror.disconnected(101.0)
    assert stage.mirror.next_deadline() == float("inf")
    stage.mirror.tick(150.0)
    stage.fed(150.0, 6, ["+", row("s2", 2)])
    assert (stage.changes(), stage.ids()) == ([DOWN], ["s1"])
    stage.welcomed(151.0)
    assert stage.ask().after == 0
    assert stage.changes() == [RESYNCING]


def test_a_connection_that_breaks_ends_the_snapshot() -> None:
    stage, ask = started()
    stage.mirror.failed(ask, 100.1)
    stage.mirror.disconnected(100.2)
    stage.mirror.tick(200.0)
    assert (stage.changes(), stage.mirror.state) == ([DOWN], "down")


def test_whoever_lost_track_may_have_a_new_snapshot_but_not_two() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.mirror.resync(101.0)
    stage.mirror.resync(101.0)
    assert stage.ask() == Ask("list", 0, 2)
    stage.mirror.failed(Ask("list", 0, 2), 101.2)
    stage.mirror.resync(101.3)
    assert (stage.changes(), stage.mirror.resyncs) == ([RESYNCING], 3)


# --- silence -------------------------------------------------------------------------------------


def test_a_feed_that_falls_silent_starts_a_snapshot_and_then_less_and_less_often() -> None:
    stage = MirrorStage.live(row("s1"))
    now, pauses = 100.0, []
    for _ in range(6):
        due = stage.mirror.next_deadline()
        stage.mirror.tick(due - 0.1)
        assert stage.mirror.state == "live"
        stage.mirror.tick(due)
        goes_live(stage, due, "s1")
        pauses.append(due - now)
        now = due
    assert pauses == [SILENT_AFTER, 5.0, 10.0, 20.0, LONGEST_PATIENCE, LONGEST_PATIENCE]


def test_a_snapshot_for_silence_is_told_like_any_other() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.mirror.tick(102.5)
    goes_live(stage, 102.6, "s2")
    kinds = [change.kind for change in stage.changes()]
    assert kinds == ["state", "state", "snapshot", "commands"]


def test_any_message_of_the_feed_ends_the_silence() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.mirror.tick(102.5)
    goes_live(stage, 102.6, "s1")
    assert stage.mirror.next_deadline() == 107.5
    stage.fed(103.0, 5)
    assert stage.mirror.next_deadline() == 105.5
    stage.fed(104.0, 4)  # even one that says nothing new
    assert stage.mirror.next_deadline() == 106.5


def test_a_session_that_a_new_snapshot_lacks_is_gone() -> None:
    stage = MirrorStage.live(row("s1"), row("s2", 2))
    stage.mirror.tick(102.5)
    goes_live(stage, 102.6, "s2")
    assert Change("snapshot", stage.mirror.sessions(102.6)) in stage.changes()
    stage.fed(103.0, 6, ["h", "proc", 102.9])
    assert (stage.mirror.state, set(stage.mirror.rows)) == ("live", {"s2"})
