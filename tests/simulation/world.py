"""Virtual time and a network with faults, all drawn from one seed."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Action = Callable[[], None]


@dataclass(slots=True)
class Faults:
    """How bad the network and the disk are, as probabilities and seconds."""

    lose: float = 0.0
    repeat: float = 0.0
    longest_delay: float = 0.002  # messages are delayed at random, so they overtake each other
    commit_fails: float = 0.0
    commit_delay: float = 0.001


class World:
    """The clock, the events to come, and the dice."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 1000.0
        self.wall_offset = 1_700_000_000.0
        self.faults = Faults()
        self.story: list[str] = []
        self._events: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def after(self, delay: float, action: Action) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), action))

    def every(self, interval: float, action: Action) -> None:
        def again() -> None:
            action()
            self.after(interval, again)

        self.after(self.random.uniform(0.0, interval), again)

    def run(self, seconds: float) -> None:
        """Let time pass, event by event."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def tell(self, text: str) -> None:
        """One line of what happened, for the report of a failure."""
        self.story.append(f"{self.now:10.4f} {text}")

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def carry(self, deliver: Action) -> None:
        """Take a message somewhere, or not, or twice, or late."""
        if self.chance(self.faults.lose):
            return
        for _ in range(2 if self.chance(self.faults.repeat) else 1):
            self.after(self.random.uniform(0.0, self.faults.longest_delay), deliver)


class Connection:
    """One connection of a client to the broker; a new one has a new route."""

    def __init__(self, route: bytes) -> None:
        self.route = route
        self.open = True


class Network:
    """Who is connected to the broker, under which route."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.connections: dict[bytes, tuple[Connection, Any]] = {}
        self._routes = itertools.count(1)
        self.broker: Any = None

    def connect(self, client: Any) -> Connection:
        connection = Connection(b"r%d" % next(self._routes))
        self.connections[connection.route] = (connection, client)
        return connection

    def disconnect(self, connection: Connection) -> None:
        connection.open = False
        self.connections.pop(connection.route, None)

    def to_broker(self, connection: Connection, message: dict[str, Any]) -> None:
        def deliver() -> None:
            # what was sent before the connection broke may still arrive
            if self.broker.running:
                self.broker.receive(connection.route, message)

        self.world.carry(deliver)

    def to_client(self, route: bytes, message: dict[str, Any]) -> bool:
        """False when that connection is known to be gone."""
        found = self.connections.get(route)
        if found is None:
            return False
        connection, client = found

        def deliver() -> None:
            if connection.open:
                client.receive(message)

        self.world.carry(deliver)
        return True
