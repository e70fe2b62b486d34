"""What a broker that does not keep to the protocol can do to a mirror: make it ask again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.rows import command, row
from tests.client.stage_mirror import RESYNCING, MirrorStage

WITHOUT_SEQ = {key: value for key, value in row("s2").items() if key != "seq"}
FAR = [1e18, float("inf"), -1e300, 10**30]  # seconds; no calendar has such times


@pytest.mark.parametrize("time", FAR)
@pytest.mark.parametrize("kind", ["+", "s", "k", "h"])
def test_a_time_out_of_range_starts_a_new_snapshot(kind: str, time: float) -> None:
    change: dict[str, list[Any]] = {
        "+": ["+", row("s2", start_time=time)],
        "s": ["s", "s1", "running", "load", time],
        "k": ["k", command("c1", time)],
        "h": ["h", "proc", -abs(time)],
    }
    stage = MirrorStage.live(row("s1"))
    stage.feed_as_it_is(101.0, change[kind])
    assert stage.changes()[-1] == RESYNCING
    assert stage.mirror.rows == {"s1": row("s1")}


@pytest.mark.parametrize(
    "change",
    [
        ["+", WITHOUT_SEQ],
        ["+", row(7)],  # type: ignore[arg-type]  # what it must not be
        ["h", "proc", "now"],
        ["k", command(None)],  # type: ignore[arg-type]  # what it must not be
    ],
    ids=["no seq", "no text for an id", "no time", "no id"],
)
def test_a_malformed_change_is_noticed_before_it_does_harm(change: list[Any]) -> None:
    stage = MirrorStage.live(row("s1"))
    stage.fed(101.0, 6, change)
    assert stage.mirror.state == "resyncing"
    assert stage.mirror.rows == {"s1": row("s1")}
    assert [shown["session_id"] for shown in stage.mirror.sessions(102.0)] == ["s1"]


@pytest.mark.parametrize(
    "changes",
    [{"rows": 7}, {"rows": [{}]}, {"rows": [WITHOUT_SEQ]}, {"rows": [None]}, {"epoch": ...}, {}],
    ids=["no list", "empty row", "no seq", "nil", "no epoch", "nothing"],
)
def test_a_page_that_makes_no_sense_is_asked_for_again(changes: dict[str, Any]) -> None:
    stage = MirrorStage()
    stage.welcomed(100.0)
    page = {"rows": [], "total": 0, "next": None, "epoch": "e1", "n": 5, "t": 100.0, "w": 1e9}
    page = {k: v for k, v in {**page, **changes}.items() if v is not ...} if changes else {}
    stage.mirror.page(stage.ask(), page, 100.1)
    assert stage.mirror.state == "resyncing"
    stage.mirror.tick(102.0)  # a moment later, so that a mad broker is not asked without a pause
    assert stage.ask().after == 0


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"commands": 7, "epoch": "e1"},
        {"commands": [{}], "epoch": "e1"},
        {"commands": [command(None)], "epoch": "e1"},  # type: ignore[arg-type]  # no id
    ],
)
def test_commands_that_make_no_sense_are_asked_for_again(answer: dict[str, Any]) -> None:
    stage = MirrorStage()
    stage.welcomed(100.0)
    page = {"rows": [], "total": 0, "next": None, "epoch": "e1", "n": 5, "t": 100.0, "w": 1e9}
    stage.mirror.page(stage.ask(), page, 100.1)
    stage.mirror.commands_page(stage.ask(), answer, 100.2)
    assert (stage.mirror.state, stage.mirror.commands) == ("resyncing", {})


def test_a_session_that_moves_to_another_process_is_heard_with_that_one() -> None:
    stage = MirrorStage.live(row("s1"))
    stage.fed(101.0, 6, ["+", row("s1", process="other")])
    stage.fed(102.0, 7, ["h", "proc", 102.0], ["h", "other", 101.5])
    assert stage.mirror.rows["s1"]["heard"] == 101.5
