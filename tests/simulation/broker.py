"""The broker of a simulation: the real registry in the thinnest of shells, on a disk with moods."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from broker.quick import quick_decoder
from broker.registry.core import Registry
from broker.registry.effects import Read, Send
from broker.registry.model import Now, Settings
from broker.store import Batch, StoreError, StoreUnavailable, StoreUnusable
from sessionclient.wire import TO_BROKER, WireError, encode
from tests.simulation.network import Network
from tests.simulation.store import SimStore
from tests.simulation.watch import Watch
from tests.simulation.world import Action, World

if TYPE_CHECKING:
    from tests.simulation.operators import OperatorNode

DECODE: Final = quick_decoder(TO_BROKER)
WALL: Final = 1_700_000_000.0  # where the broker's wall clock starts
GATHER: Final = 0.005  # seconds that changes are gathered before they are published
DRAIN: Final = 4  # messages read before the timers have their turn, after a freeze
STOP_TIMEOUT: Final = 3.0  # seconds an orderly stop may spend on the disk

USUAL: Final = Settings(
    stale_after=9.0,
    cleanup_after=20.0,
    heard_interval=5.0,
    redeliver_after=4.0,
    purge_interval=15.0,
    peer_silence=40.0,
    rows_per_flush=4,
)
SMALL: Final = Settings(
    stale_after=9.0,
    cleanup_after=20.0,
    heard_interval=5.0,
    redeliver_after=4.0,
    purge_interval=15.0,
    peer_silence=12.0,
    max_sessions=14,
    max_sessions_per_process=5,
    max_processes=9,
    max_peers=9,
    max_waiters=1,
    max_open_commands=4,
    max_unsaved_tasks=8,
    rows_per_flush=3,
)


class BrokerNode:
    """A registry, its store, and a machine that may die, freeze or lose its clock."""

    def __init__(self, world: World, network: Network, store: SimStore, watch: Watch) -> None:
        self.world, self.network, self.store, self.watch = world, network, store, watch
        self.settings = SMALL if network.profile.greedy else USUAL
        self.subscribers: list[OperatorNode] = []
        self.running = False
        self.life = 0
        self.frozen = 0.0  # virtual seconds spent frozen, ever
        self.freezes = 0
        self.crash_at: str | None = None  # the boundary at which the next commit ends this life
        self.disk_spell: tuple[str, float] = ("", 0.0)  # a fault of every commit until then
        self._frozen_since: float | None = None
        self._inbox: list[tuple[bytes, bytes]] = []
        self._overdue: Action | None = None  # a commit that was done while all was frozen
        self._dice = world.dice("broker")
        self._disk_dice = world.dice("disk")
        self._mono, self._wall = self._dice.uniform(0.0, 1e6), WALL
        self._rate = 1.0 + self._dice.uniform(-1.0, 1.0) * network.profile.drift
        self._commits = 0
        self._in_flight: Batch | None = None
        self._stop_by: float | None = None
        self._publish_due = False
        self._wake_at = 0.0
        # over all lives: an id is never given out again, as nobody can guess one
        self._ids = (f"c{number}" for number in itertools.count(1))
        network.broker = self
        self.start()

    @property
    def now(self) -> Now:
        world = self.world.now
        return Now(self._mono + world * self._rate, self._wall + world)

    @property
    def is_frozen(self) -> bool:
        return self._frozen_since is not None

    def awake(self) -> float:
        """Virtual seconds this machine was not frozen."""
        since = self._frozen_since
        return self.world.now - self.frozen - (self.world.now - since if since is not None else 0)

    # --- lives -----------------------------------------------------------------------------

    def start(self) -> None:
        self.store.fault = None
        self.registry = self._load(lambda: next(self._ids))
        self.running, self.crash_at, self._stop_by = True, None, None
        self.life += 1
        self.world.tell(f"broker starts, epoch {self.registry.state.epoch}", fault=True)
        self.watch.started(self)
        self._wake_at, self._publish_due = float("inf"), False
        self._turn()

    def replay(self) -> Registry:
        """What a restart would know now."""
        return self._load(lambda: "replay")

    def _load(self, new_id: Callable[[], str]) -> Registry:
        limits = self.settings
        loaded = self.store.load(
            max_tombstones=limits.max_tombstones,
            max_commands=limits.max_commands_kept,
            max_gone=limits.max_gone,
        )
        return Registry(
            loaded,
            self.now,
            new_id=new_id,
            feed_address="tcp://127.0.0.1:5761",
            version="simulated",
            settings=limits,
        )

    def crash(self, point: str, *, keep: bool | None = None) -> None:
        """kill -9 or a power cut: what is durable is left, and every connection breaks."""
        if not self.running:
            return
        self.world.tell(f"broker crashes: {point}", fault=True)
        self.world.counts[f"crash {point}"] += 1
        if self._in_flight is not None and (
            keep if keep is not None else self._dice.random() < 0.5
        ):
            self.store.fault = None
            self.store.commit(self._in_flight)  # durable, but nobody will ever be told
            self.world.counts["kept and never told"] += 1
        if self.store.power_cut(self._dice):
            self.world.counts["unsynced lost"] += 1
        self._end()
        if self._dice.random() < 0.3:  # a new machine, whose monotonic clock starts elsewhere
            self._mono = self._dice.uniform(0.0, 1e6)

    def _end(self) -> None:
        self.running, self._in_flight, self._inbox = False, None, []
        if self._frozen_since is not None:
            self.frozen += self.world.now - self._frozen_since
            self._frozen_since = None
        self.life += 1
        for connection in list(self.network.connections.values()):
            self.network.forget(connection)
            client = connection.client
            # nobody is told through a network that is cut; the silence will tell
            if connection.open and self.world.now >= client.back.cut_until:
                client.lost()
        self.world.after(self._dice.uniform(0.1, 3.0), self.start)

    def stop(self) -> None:
        """SIGTERM: what was accepted is committed and answered, for a bounded time."""
        if self.running and self._frozen_since is None:
            self._stop_by = self.world.now + STOP_TIMEOUT
            self.world.tell("broker is told to stop", fault=True)
            self._turn()

    def _stopped(self) -> bool:
        """Whether this life is over, as an orderly stop wanted it."""
        if self._stop_by is None:
            return False
        self.registry.flush_now()
        saved = self._in_flight is None and not self.registry.unsaved()
        if not saved and self.world.now < self._stop_by:
            return False
        if saved:
            self.watch.at_rest(self)
            self.world.counts["stop, all saved"] += 1
        self.store.power_cut(self._dice)
        self._end()
        return True

    def freeze(self, seconds: float) -> None:
        """SIGSTOP: everything waits; on waking there is more to read than fits a turn."""
        if self.running and self._frozen_since is None:
            self._frozen_since = self.world.now
            self.world.tell(f"broker freezes for {seconds} s", fault=True)
            self.world.counts["freeze of the broker"] += 1
            life = self.life
            self.world.after(seconds, lambda: self._thaw(life))

    def _thaw(self, life: int) -> None:
        if life != self.life or self._frozen_since is None:
            return
        self.frozen += self.world.now - self._frozen_since
        self.freezes += 1
        self._frozen_since = None
        self.world.tell("broker wakes", fault=True)
        overdue, self._overdue = self._overdue, None
        while self._inbox and life == self.life:
            waiting, self._inbox = self._inbox[:DRAIN], self._inbox[DRAIN:]
            for route, payload in waiting:
                self._handle(route, payload)
            self._turn()
        if overdue is not None:
            overdue()
        if life == self.life:
            self._turn()

    def step_wall_clock(self, seconds: float) -> None:
        self._wall += seconds
        self.world.tell(f"broker's wall clock jumps by {seconds} s", fault=True)
        self.world.counts["wall clock jump"] += 1

    # --- the loop --------------------------------------------------------------------------

    def receive(self, route: bytes, payload: bytes) -> None:
        if not self.running or self._stop_by is not None:
            return
        if self._frozen_since is not None:
            self._inbox.append((route, payload))
            return
        self._handle(route, payload)
        self._turn()

    def _handle(self, route: bytes, payload: bytes) -> None:
        try:
            message = DECODE(payload)
        except WireError as error:
            self.world.counts["malformed"] += 1
            self.registry.rejected(route, error)
            return
        before = self.watch.number_of(self, route)
        self.registry.handle(route, message, self.now)
        self.watch.handled(self, route, message, before)

    def _turn(self) -> None:
        if not self.running or self._frozen_since is not None:
            return
        self.registry.tick(self.now)
        self.watch.ticked(self)
        if self._in_flight is None:
            batch = self.registry.begin(self.now)
            if batch is not None:
                self._commit(batch)
        for read in self.registry.take_reads():
            self.world.after(0.002, partial(self._read, self.life, read))
        self._send(self.registry.take_sends())
        self._publish()
        self.watch.turned(self)
        if not self._stopped():
            self._schedule()

    def _schedule(self) -> None:
        now = self.now.mono
        due = self.registry.next_deadline(self.now)
        if self._in_flight is not None and self._stop_by is None:
            due = max(due, now + 0.001)
        moment = self.world.now + max((due - now) / self._rate, 0.0005)
        if moment < self._wake_at:
            self._wake_at = moment
            self.world.at(moment, self._woken)

    def _woken(self) -> None:
        if self.world.now == self._wake_at:
            self._wake_at = float("inf")
            self._turn()

    def _send(self, sends: list[Send], only: str | None = None) -> None:
        """``only``: a crash lets nothing but the messages to apps or to others get out."""
        for route, message in sends:
            payload = encode(message)
            if only is not None:
                peer = self.registry.state.peers.get(route)
                if (peer is not None and peer.role == "app") != (only == "app"):
                    continue
            self.watch.sent(self, route, message)
            if not self.network.to_client(route, payload):
                self.world.counts["unreachable"] += 1
                self.registry.unreachable(route)

    def _publish(self) -> None:
        if len(self.registry.state.feed.changes) and not self._publish_due:
            self._publish_due = True
            self.world.after(GATHER, partial(self._gathered, self.life))
        beat = self.registry.beat(self.now)
        if beat is not None:
            self._feed(beat)

    def _gathered(self, life: int) -> None:
        if life != self.life:
            return
        self._publish_due = False
        if self._frozen_since is not None:
            return
        while (message := self.registry.take_feed(self.now)) is not None:
            self._feed(message)
        self._turn()

    def _feed(self, message: dict[str, Any]) -> None:
        self.watch.published(self, message)
        payload = encode(message)
        for subscriber in self.subscribers:
            subscriber.feed.carry(subscriber.fed, payload)

    # --- the disk --------------------------------------------------------------------------

    def _read(self, life: int, read: Read) -> None:
        if life != self.life or not self.running:
            return
        spell, until = self.disk_spell
        if self.world.now < until and spell == "io":
            self.registry.read_done(read, StoreUnavailable("simulated", "io"))
        else:
            self.registry.read_done(read, read.fetch(self.store))
        self._turn()

    def _commit(self, batch: Batch) -> None:
        self._in_flight = batch
        fault, seconds = self._mood()
        done = partial(self._settle, self.life, batch, fault, seconds)
        self.world.after(seconds, done)

    def _mood(self) -> tuple[str | None, float]:
        """What becomes of this commit, and how long it takes."""
        self._commits += 1
        profile, dice = self.network.profile, self._disk_dice
        fails, which, slow, wait = dice.random(), dice.randrange(6), dice.random(), dice.random()
        fault, seconds = None, 0.001 + 0.004 * wait
        if self.world.now < self.disk_spell[1]:
            fault = self.disk_spell[0]
            self.world.counts[f"commit: {fault}"] += 1
        if self.world.stormy:
            kind = ("full", "busy", "io", "readonly", "kept", "torn")[which]
            name = f"commit-{kind} {self._commits}"
            if fails < profile.commit_fails and self.world.happens(name):
                fault = kind
                self.world.counts[f"commit: {fault}"] += 1
            name = f"slow-commit {self._commits}"
            if slow < profile.commit_slow and self.world.happens(name):
                seconds = wait * profile.slowest
        return fault, seconds

    def _settle(self, life: int, batch: Batch, fault: str | None, seconds: float) -> None:
        """The disk is done with the batch, if this life lasted."""
        if life != self.life:
            return
        if self._frozen_since is not None:
            self._overdue = partial(self._settle, life, batch, fault, seconds)
            return
        point = self.crash_at
        if point == "before commit":
            self.crash(point, keep=False)
            return
        self._in_flight = None
        if fault == "unusable":
            self.registry.commit_failed(StoreUnusable("replaced while in use"), self.now)
            self._send(self.registry.take_sends())
            self.crash("unusable store", keep=False)
            return
        self.store.fault = fault
        try:
            kept = self.store.commit(batch)
        except StoreError as error:
            self.registry.commit_failed(error, self.now)
            self._turn()
            return
        if point == "committed":
            self.crash(point)
            return
        self.registry.committed(seconds, self.now, kept)
        self.watch.committed(self, batch)
        if point in ("answered", "pushed", "sent"):
            only = {"answered": "others", "pushed": "app", "sent": None}[point]
            self._send(self.registry.take_sends(), only)
            self.crash(point)
            return
        self._turn()
