"""The network: who is connected under which route, and what happens to messages on their way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.plan import Profile
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerNode
    from tests.simulation.clients import ClientNode

LATENCY: Final = 0.0005  # seconds; without faults a channel keeps the order

Deliver = Callable[[bytes], None]


class Channel:
    """One direction of one node's traffic, with dice of its own."""

    def __init__(self, world: World, name: str, lose: float, repeat: float, late: float) -> None:
        """``lose``, ``repeat`` and ``late`` are probabilities."""
        self.world, self.name = world, name
        self.cut_until = 0.0  # virtual time
        self._random = world.dice(name).random
        self._lose, self._repeat, self._late = lose, repeat, late
        self._longest = 0.0
        self._number = 0

    def delayed_by(self, longest: float) -> Channel:
        """How late (seconds) a late message may be."""
        self._longest = longest
        return self

    def carry(self, deliver: Deliver, payload: bytes) -> None:
        """Take a message to the other end, or not, or twice, or late."""
        world = self.world
        self._number += 1
        if world.now < self.cut_until:
            world.counts["cut off"] += 1
            return
        # the same number of throws for each message, whatever comes of them
        dice = self._random
        lose, repeat, late, delay = dice(), dice(), dice(), dice()
        seconds = LATENCY
        if world.stormy:
            if lose < self._lose and world.happens(f"lose {self.name} {self._number}"):
                return
            if late < self._late and world.happens(f"delay {self.name} {self._number}"):
                seconds += delay * self._longest
            if repeat < self._repeat and world.happens(f"repeat {self.name} {self._number}"):
                again = LATENCY + (1.0 - delay) * self._longest
                world.after(again, lambda: deliver(payload))
        world.after(seconds, lambda: deliver(payload))


class Connection:
    """One connection to the broker; a new one has a new route."""

    def __init__(self, route: bytes, client: ClientNode) -> None:
        self.route, self.client = route, client
        self.open = True  # at the client's end
        self.known = True  # at the broker's end


class Network:
    """Connections, and the channels of each node."""

    def __init__(self, world: World, profile: Profile) -> None:
        self.world, self.profile = world, profile
        self.broker: BrokerNode | None = None
        self.connections: dict[bytes, Connection] = {}
        self._routes = itertools.count(1)

    def channels(self, name: str) -> tuple[Channel, Channel]:
        """From and to a node."""
        kind = self.profile
        return (
            Channel(self.world, f"{name}>", kind.lose, kind.repeat, kind.late).delayed_by(
                kind.longest
            ),
            Channel(self.world, f">{name}", kind.lose, kind.repeat, kind.late).delayed_by(
                kind.longest
            ),
        )

    def feed_channel(self, name: str) -> Channel:
        kind = self.profile
        lose, repeat, late = kind.feed_lose, kind.feed_repeat, kind.feed_late
        return Channel(self.world, f"feed>{name}", lose, repeat, late).delayed_by(kind.longest)

    def reachable(self, client: ClientNode) -> bool:
        broker = self.broker
        cut = max(client.out.cut_until, client.back.cut_until)
        return broker is not None and broker.running and self.world.now >= cut

    def connect(self, client: ClientNode) -> Connection:
        connection = Connection(b"r%d" % next(self._routes), client)
        self.connections[connection.route] = connection
        return connection

    def disconnect(self, connection: Connection, *, told: bool) -> None:
        """The connection breaks; without ``told`` the broker goes on believing in it."""
        connection.open = False
        if told:
            self.forget(connection)

    def forget(self, connection: Connection) -> None:
        """The broker's end is gone: a message for it can't be sent any more."""
        connection.known = False
        self.connections.pop(connection.route, None)

    def to_broker(self, connection: Connection, payload: bytes) -> None:
        broker, life = self.broker, self.broker.life if self.broker else 0

        def deliver(payload: bytes) -> None:
            # what was sent before the connection broke may still arrive, but not in another life
            if broker is not None and broker.life == life and connection.known:
                broker.receive(connection.route, payload)

        connection.client.out.carry(deliver, payload)

    def to_client(self, route: bytes, payload: bytes) -> bool:
        """False when that connection is known to be gone."""
        connection = self.connections.get(route)
        if connection is None:
            return False

        def deliver(payload: bytes) -> None:
            if connection.open:
                connection.client.receive(payload)

        connection.client.back.carry(deliver, payload)
        return True
