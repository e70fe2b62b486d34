"""Who gets through the handshake, at the bus and at the feed, and what happens without a judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from broker.keyring import BrokerKey
from broker.registry.access import Credential
from broker.sockets import Sockets
from tests.broker.running import SOON, RunningBus
from tests.support.processes import eventually, free_port

ENDS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH


class Pair(NamedTuple):
    public: str
    secret: str


def pair() -> Pair:
    return Pair(*(part.decode() for part in zmq.curve_keypair()))


@pytest.fixture(scope="module")
def keys() -> dict[str, Pair]:
    return {name: pair() for name in ("broker", "app", "viewer", "operator", "stranger")}


@pytest.fixture(scope="module")
def access(keys: dict[str, Pair]) -> dict[str, Credential]:
    roles = ("app", "viewer", "operator")
    return {keys[role].public: Credential(f"the {role}", role) for role in roles}


@pytest.fixture
def sockets(keys: dict[str, Pair], access: dict[str, Credential]) -> Iterator[Sockets]:
    opened = Sockets(BrokerKey(*keys["broker"]), access)
    yield opened
    opened.close()


def lets_in(address: str, kind: int, own: Pair, server: str) -> bool:
    """How the handshake of a client with this key ends."""
    with zmq.Context() as context, context.socket(kind) as client:
        client.set(zmq.LINGER, 0)
        client.set(zmq.CURVE_SERVERKEY, server.encode())
        client.set(zmq.CURVE_PUBLICKEY, own.public.encode())
        client.set(zmq.CURVE_SECRETKEY, own.secret.encode())
        with client.get_monitor_socket(ENDS) as monitor:
            client.connect(address)
            assert monitor.poll(int(SOON * 1000)), "the handshake has no end"
            event = parse_monitor_message(monitor.recv_multipart())["event"]
            client.disable_monitor()
    return event == zmq.EVENT_HANDSHAKE_SUCCEEDED


def test_the_bus_takes_the_keys_of_the_list_and_the_feed_those_that_may_read(
    sockets: Sockets, keys: dict[str, Pair]
) -> None:
    bus, feed = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    sockets.bind(bus, feed)
    server = keys["broker"].public
    let_in = {
        name: (
            lets_in(bus, zmq.DEALER, keys[name], server),
            lets_in(feed, zmq.SUB, keys[name], server),
        )
        for name in ("app", "viewer", "operator", "stranger")
    }
    assert let_in == {
        "app": (True, False),
        "viewer": (True, True),
        "operator": (True, True),
        "stranger": (False, False),
    }
    assert sockets.gatekeeper is not None
    turned_away = sockets.gatekeeper.take_turned_away()
    assert set(turned_away) == {"key the app (app) at the feed", "unknown keys from 127.0.0.1"}


def test_another_list_counts_for_the_next_handshake(
    sockets: Sockets, keys: dict[str, Pair], access: dict[str, Credential]
) -> None:
    bus, feed = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    sockets.bind(bus, feed)
    assert sockets.gatekeeper is not None
    sockets.gatekeeper.allow({keys["stranger"].public: Credential("no stranger", "app")})
    server = keys["broker"].public
    assert lets_in(bus, zmq.DEALER, keys["stranger"], server)
    assert not lets_in(bus, zmq.DEALER, keys["operator"], server)


def test_a_bus_whose_judge_has_ended_stops_and_says_so(
    keys: dict[str, Pair], access: dict[str, Credential]
) -> None:
    with RunningBus(key=BrokerKey(*keys["broker"]), access=access) as running:
        gatekeeper = running.bus._sockets.gatekeeper
        assert gatekeeper is not None
        gatekeeper.stop()
        running.join()
        assert running.bus.failure == (
            "the thread that judges keys has ended, so that nobody new could get in"
        )


def test_crowds_of_strangers_are_counted_and_cost_a_line_in_a_while(
    keys: dict[str, Pair], access: dict[str, Credential], caplog: pytest.LogCaptureFixture
) -> None:
    with RunningBus(key=BrokerKey(*keys["broker"]), access=access) as running:
        gatekeeper = running.bus._sockets.gatekeeper
        assert gatekeeper is not None
        rejected = running.registry.state.stats.rejected
        for count in (1, 2, 3):
            assert not gatekeeper.judge("bus", keys["stranger"].public, None)
            eventually(lambda so_far=count: rejected["unknown_key"] == so_far, "it is counted")  # type: ignore[misc]  # a lambda's default has no type
    assert sum("turned away" in message for message in caplog.messages) == 1
