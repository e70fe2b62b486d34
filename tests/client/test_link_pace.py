"""How often a link beats, and what it does of refusals that come late."""

from __future__ import annotations

import pytest

from tests.client.stage import INTERVAL, go_online, hear, new_link, said, welcome
from tests.client.stage_app import AppStage


def test_a_refusal_read_after_the_disconnect_leaves_the_link_down() -> None:
    link = new_link(AppStage().replica)
    go_online(link, 100.0)
    link.disconnected(101.0)
    hear(link, 101.0, "error", code="unsupported_version", message="no")
    assert (link.state, link.trouble) == ("down", None)


@pytest.mark.parametrize(("stale_after", "pace"), [(0.0, 0.1), (9.0, 3.0), (600.0, INTERVAL)])
def test_a_heartbeat_comes_three_times_before_the_broker_calls_it_stale(
    stale_after: float, pace: float
) -> None:
    link = new_link(AppStage().replica)
    link.connected(100.0)
    hear(link, 100.0, "welcome", **welcome(1, stale_after=stale_after))
    assert link.next_deadline() == 100.0 + pace
    link.take_effects()
    link.tick(100.0 + pace)
    assert said(link) == [{"k": "heartbeat", "n": 2}]
    hear(link, 100.0 + pace, "ack", n=2)
    assert link.next_deadline() == pytest.approx(100.0 + 2 * pace)
