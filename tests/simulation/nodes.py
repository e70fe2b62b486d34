"""The broker, apps and operators of a simulation: the real cores in the thinnest of shells."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

from broker.registry.core import Registry
from broker.registry.model import Now, Settings
from broker.registry.validate import validate
from broker.store import Batch, StoreUnavailable
from sessionclient.errors import PanelbusError
from sessionclient.link import Identity, Link, Reset, Send
from sessionclient.mirror import Ask, Mirror
from sessionclient.replica import Replica, SessionState, TaskDone
from sessionclient.requests import Requests
from sessionclient.wire import FEED, FROM_BROKER, TO_BROKER, decode, encode
from tests.simulation.world import Connection, Network, World
from tests.support.bench import Rows

TICK = 0.25  # seconds between looks at the clock


class BrokerNode:
    """A registry, a durable table of rows, and a disk that may fail at any moment."""

    def __init__(self, world: World, network: Network) -> None:
        self.world, self.network = world, network
        self.rows = Rows()
        self.mirrors: list[OperatorNode] = []
        self.running = False
        self._life = 0
        self._in_flight: Batch | None = None
        self._ids = (f"c{number}" for number in itertools.count(1))
        network.broker = self
        self.start()
        world.every(TICK, self._turn)

    @property
    def now(self) -> Now:
        return Now(self.world.now, self.world.now + self.world.wall_offset)

    def start(self) -> None:
        self.registry = Registry(
            self.rows.load(),
            self.now,
            new_id=lambda: next(self._ids),
            feed_address="tcp://127.0.0.1:5761",
            version="simulated",
            settings=Settings(cleanup_after=60.0, stale_after=30.0),
        )
        self.running = True
        self._life += 1
        self.world.tell(f"broker starts as {self.registry.state.epoch}")

    def crash(self) -> None:
        """kill -9: what the disk has is all that is left, and every connection breaks."""
        self.world.tell("broker crashes")
        self.running = False
        self._life += 1
        if self._in_flight is not None and self.world.chance(0.5):
            self.rows.commit(self._in_flight)  # committed, but nobody will ever be told
        self._in_flight = None
        for connection, client in list(self.network.connections.values()):
            self.network.disconnect(connection)
            client.lost()
        self.world.after(self.world.random.uniform(0.1, 3.0), self.start)

    def receive(self, route: bytes, message: dict[str, Any]) -> None:
        self.registry.handle(route, decode(encode(message), TO_BROKER), self.now)
        self._turn()

    def _turn(self) -> None:
        if not self.running:
            return
        self.registry.tick(self.now)
        batch = self.registry.begin(self.now)
        if batch is not None:
            self._commit(batch)
        for route, message in self.registry.take_sends():
            checked = decode(encode(message), FROM_BROKER)
            if not self.network.to_client(route, checked):
                self.registry.unreachable(route)
        while (published := self.registry.take_feed(self.now)) is not None:
            self._publish(published)
        beat = self.registry.beat(self.now)
        if beat is not None:
            self._publish(beat)
        validate(self.registry)

    def _publish(self, message: dict[str, Any]) -> None:
        for mirror in self.mirrors:
            copy = decode(encode(message), FEED)
            self.world.carry(partial(mirror.fed, copy))

    def _commit(self, batch: Batch) -> None:
        life = self._life
        self._in_flight = batch

        def done() -> None:
            if life == self._life:
                self._in_flight = None
                self._settle(batch)
                self._turn()

        self.world.after(self.world.random.uniform(0.0, self.world.faults.commit_delay), done)

    def _settle(self, batch: Batch) -> None:
        """The disk is done; a commit that is reported as failed may have been kept all the same."""
        fails = self.world.chance(self.world.faults.commit_fails)
        if not fails or self.world.chance(0.5):
            self.rows.commit(batch)
        if fails:
            self.registry.commit_failed(StoreUnavailable("simulated", "io"), self.now)
        else:
            self.registry.committed(0.001, self.now)


class ClientNode:
    """What apps and operators share: a link on a connection that comes and goes."""

    link: Link

    def __init__(self, world: World, network: Network, name: str) -> None:
        self.world, self.network, self.name = world, network, name
        self.connection: Connection | None = None
        world.every(TICK, self._tick)

    def identity(self, role: str) -> Identity:
        return Identity(role, self.name, self.name.encode().ljust(16, b"."), "host", 1)

    def lost(self) -> None:
        """The connection broke."""
        if self.connection is not None:
            self.network.disconnect(self.connection)
            self.connection = None
            self.link.disconnected(self.world.now)

    def receive(self, message: dict[str, Any]) -> None:
        self.link.received(message, self.world.now)
        self.flush()

    def _tick(self) -> None:
        if self.connection is None and self.network.broker.running and self.world.chance(0.5):
            self.connection = self.network.connect(self)
            self.link.connected(self.world.now)
        self.link.tick(self.world.now)
        self.flush()

    def flush(self) -> None:
        for effect in self.link.take_effects():
            if isinstance(effect, Send) and self.connection is not None:
                self.network.to_broker(self.connection, effect.message)
            elif isinstance(effect, Reset):
                self.lost()


class AppNode(ClientNode):
    """A process with sessions, whose callbacks are counted."""

    def __init__(self, world: World, network: Network, name: str) -> None:
        super().__init__(world, network, name)
        self.replica = Replica(self._on_kill, self._on_refused)
        self.link = Link(self.identity("app"), self.replica, 5.0, world.random)
        self.replica.attach(self.link)
        self.live: dict[str, str] = {}  # session -> app: what really lives
        self.callbacks: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self._count = 0
        self._tasks: dict[str, int] = {}

    def _state(self, sid: str, task: str | None = None) -> SessionState:
        status, since = ("idle", None) if task is None else ("running", self.world.now)
        return SessionState(sid, self.live[sid], None, self.world.now, status, task, since)

    def open_session(self, app: str) -> str:
        self._count += 1
        sid = f"{self.name}-s{self._count}"
        self.live[sid] = app
        self.replica.add(self._state(sid), self.world.now)
        self.flush()
        return sid

    def change(self, sid: str) -> None:
        if sid in self.live:
            number = self._tasks[sid] = self._tasks.get(sid, 0) + 1
            done = TaskDone(sid, number, f"t{number}", self.world.now, 0.1, "ok")
            self.replica.update(self._state(sid, f"t{number}"), [done], self.world.now)
            self.flush()

    def close_session(self, sid: str, reason: str = "closed") -> None:
        if self.live.pop(sid, None) is not None:
            self.world.tell(f"{sid} ends: {reason}")
            self.replica.end(sid, reason, None, [], self.world.now)
            self.flush()

    def _on_kill(self, sid: str, command_id: str, _reason: str | None) -> None:
        self.world.tell(f"{sid} runs its callbacks for {command_id}")
        self.callbacks[sid] = self.callbacks.get(sid, 0) + 1
        delay = self.world.random.uniform(0.0, 2.0)
        self.world.after(delay, lambda: self.close_session(sid, "killed"))

    def _on_refused(self, sid: str, why: str) -> None:
        self.world.tell(f"{sid} is refused: {why}")
        self.refused[sid] = why


class OperatorNode(ClientNode):
    """Kills under one key until it is answered, and mirrors the list."""

    def __init__(self, world: World, network: Network, broker: BrokerNode, name: str) -> None:
        super().__init__(world, network, name)
        self.requests = Requests("simulated", self._welcomed, self._lost)
        self.link = Link(self.identity("operator"), self.requests, 5.0, world.random)
        self.requests.attach(self.link)
        self.mirror = Mirror(world.random)
        self.accepted: dict[str, tuple[str, ...]] = {}  # command -> targets at that moment
        self._keys = itertools.count(1)
        self._broker = broker
        broker.mirrors.append(self)

    def _welcomed(self, welcome: dict[str, Any], now: float) -> None:
        self.mirror.welcomed(welcome["epoch"], welcome["stale_after"], now)

    def _lost(self, now: float) -> None:
        self.mirror.disconnected(now)

    def fed(self, message: dict[str, Any]) -> None:
        self.mirror.fed(message, self.world.now)
        self._serve_mirror()

    def _tick(self) -> None:
        self.requests.tick(self.world.now)
        self.mirror.tick(self.world.now)
        super()._tick()
        self._serve_mirror()

    def _serve_mirror(self) -> None:
        asks, _ = self.mirror.take()
        for ask in asks:
            self._ask_page(ask)
        self.flush()

    def _ask_page(self, ask: Ask) -> None:
        def resolve(result: Any, error: PanelbusError | None) -> None:
            if error is not None:
                self.mirror.failed(ask, self.world.now)
            elif ask.kind == "list":
                self.mirror.page(ask, result, self.world.now)
            else:
                self.mirror.commands_page(ask, result, self.world.now)
            self._serve_mirror()

        # small pages, so that changes happen between them
        fields = {"after": ask.after or None, "limit": 2} if ask.kind == "list" else {}
        self.requests.ask(ask.kind, fields, self.world.now + 10.0, resolve)

    def kill(self, kind: str, target: str) -> None:
        key = f"{self.name}-k{next(self._keys)}"
        fields = {"s": target} if kind == "kill" else {"app": target}
        self._ask_kill(kind, {**fields, "key": key})

    def _ask_kill(self, kind: str, fields: dict[str, Any]) -> None:
        def resolve(result: Any, error: PanelbusError | None) -> None:
            if error is None:
                command_id = result["command_id"]
                row = self._broker.rows.commands[command_id]  # I2: durable when answered
                self.world.tell(f"{kind} {fields} is accepted as {command_id}")
                self.accepted[command_id] = row.targets
            elif getattr(error, "code", None) != "not_found":
                self.world.after(1.0, lambda: self._ask_kill(kind, fields))

        self.requests.ask(kind, fields, self.world.now + 5.0, resolve)
        self.flush()
