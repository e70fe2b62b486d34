"""A handshake that fails is told, and tried again."""

from __future__ import annotations

from sessionclient.link import REJECTED_PAUSE, Reset
from tests.client.stage import go_online, new_link
from tests.client.test_link import ENDLESS, Recorder

WHY = "it does not know this client's key"


def test_a_dead_socket_is_replaced_after_a_while_until_one_gets_in() -> None:
    link = new_link(Recorder())
    for now in (100.0, 200.0):
        link.rejected(WHY, True, now)
        link.disconnected(now)
        assert link.trouble == WHY
        assert link.next_deadline() == now + REJECTED_PAUSE
        link.tick(now + REJECTED_PAUSE - 0.1)
        assert link.take_effects() == []
        link.tick(now + REJECTED_PAUSE)
        assert link.take_effects() == [Reset()]
        assert link.next_deadline() == ENDLESS
        link.tick(now + 2 * REJECTED_PAUSE)
        assert link.take_effects() == []
    go_online(link, 300.0)
    assert link.trouble is None


def test_a_socket_that_tries_again_by_itself_is_left_to_it() -> None:
    link = new_link(Recorder())
    link.rejected(WHY, False, 100.0)
    assert (link.trouble, link.next_deadline()) == (WHY, ENDLESS)
    link.tick(200.0)
    assert link.take_effects() == []


def test_a_connection_that_comes_about_meanwhile_is_not_reset() -> None:
    link = new_link(Recorder())
    link.rejected(WHY, True, 100.0)
    go_online(link, 101.0)
    link.take_effects()
    link.disconnected(102.0)
    link.tick(200.0)
    assert link.take_effects() == []
