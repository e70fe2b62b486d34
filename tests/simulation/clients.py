"""What apps and operators share, and the app processes: real links and real replicas."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sessionclient.link import Identity, Link, Reset, Send
from sessionclient.replica import MAX_SESSIONS_PER_PROCESS, Replica, SessionState, TaskDone
from sessionclient.wire import FROM_BROKER, decode, encode
from tests.simulation.network import Connection, Network
from tests.simulation.world import Action, World

if TYPE_CHECKING:
    from tests.simulation.watch import Watch

HEARTBEAT: Final = 5.0  # seconds; the broker's idea of stale makes it 3
BYE_TIMEOUT: Final = 2.0  # seconds an exiting process waits for the answer to its bye
SHORTEST_WAIT: Final = 0.001  # seconds between two looks of a node at its clock

Stated = dict[str, tuple[str, str | None]]  # session -> (status, task)


class ClientNode:
    """A process with a link, on a connection that comes and goes, woken when it wants to be."""

    link: Link

    def __init__(self, world: World, network: Network, name: str) -> None:
        self.world, self.network, self.name = world, network, name
        self.dice = world.dice(f"node {name}")
        self.out, self.back = network.channels(name)
        self.connection: Connection | None = None
        self.alive = True
        self.sent: deque[bytes] = deque(maxlen=12)  # what went out last
        self._rate = 1.0 + self.dice.uniform(-1.0, 1.0) * network.profile.drift
        self._base = self.dice.uniform(0.0, 1e6)
        self.frozen = False
        self._waiting: list[Action] = []
        self._wake_at = float("inf")

    def begin(self) -> None:
        self._reconnect_soon()

    @property
    def now(self) -> float:
        """Its own monotonic clock."""
        return self._base + self.world.now * self._rate

    def identity(self, role: str) -> Identity:
        return Identity(role, self.name, self.name.encode().ljust(16, b"."), "host", 1)

    def deadline(self) -> float:
        return self.link.next_deadline()

    def tick(self) -> None:
        self.link.tick(self.now)

    # --- one turn of its loop --------------------------------------------------------------

    def do(self, action: Action) -> None:
        """Let something happen to it, and what follows at once; a frozen one does it later."""
        if not self.alive:
            return
        if self.frozen:
            self._waiting.append(action)
            return
        action()
        self._turn()

    def _turn(self) -> None:
        self.tick()
        self._flush()
        due = self.deadline()
        if due != float("inf"):
            wait = max((due - self.now) / self._rate, SHORTEST_WAIT)
            moment = self.world.now + wait
            if moment < self._wake_at:
                self._wake_at = moment
                self.world.at(moment, self._woken)

    def _woken(self) -> None:
        if self.world.now == self._wake_at:
            self._wake_at = float("inf")
            if self.alive and not self.frozen:
                self._turn()

    def _flush(self) -> None:
        for effect in self.link.take_effects():
            if isinstance(effect, Send) and self.connection is not None:
                payload = encode(effect.message)
                self.sending(effect.message)
                self.sent.append(payload)
                self.network.to_broker(self.connection, payload)
            elif isinstance(effect, Reset):
                self.world.counts["silence noticed"] += 1
                self._drop()

    def sending(self, message: dict[str, Any]) -> None:
        """A message goes out."""

    def freeze(self, seconds: float) -> None:
        """SIGSTOP: nothing happens for so long, then all at once."""
        if self.alive and not self.frozen:
            self.world.tell(f"{self.name} freezes for {seconds} s", fault=True)
            self.world.counts["freeze of a process"] += 1
            self.frozen = True
            self.world.after(seconds, self._thaw)

    def _thaw(self) -> None:
        if not self.alive:
            return
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()
        self._turn()

    # --- the connection --------------------------------------------------------------------

    def receive(self, payload: bytes) -> None:
        message = decode(payload, FROM_BROKER)
        self.do(lambda: self.received(message))

    def received(self, message: dict[str, Any]) -> None:
        self.link.received(message, self.now)

    def lost(self) -> None:
        """The connection broke, and both ends know."""
        if self.connection is not None:
            self._drop()
            self.do(lambda: self.link.disconnected(self.now))

    def half(self, side: str) -> None:
        """The connection broke, and only one end knows."""
        connection = self.connection
        if connection is None:
            return
        self.world.tell(f"{self.name}: connection half open, known to the {side}", fault=True)
        self.world.counts["half open"] += 1
        if side == "client":
            self.network.disconnect(connection, told=False)
            self.connection = None
            self._reconnect_soon()
            self.do(lambda: self.link.disconnected(self.now))
        else:
            self.network.forget(connection)

    def _drop(self) -> None:
        if self.connection is not None:
            self.network.disconnect(self.connection, told=True)
            self.connection = None
            self._reconnect_soon()

    def _reconnect_soon(self) -> None:
        if self.alive:
            self.world.after(self.dice.uniform(0.05, 1.0), self._reconnect)

    def _reconnect(self) -> None:
        if not self.alive or self.connection is not None:
            return
        if self.frozen or not self.network.reachable(self):
            self._reconnect_soon()
            return
        self.connection = self.network.connect(self)
        self.do(lambda: self.link.connected(self.now))

    def die(self, *, told: bool) -> None:
        """The process is gone without a word."""
        self.alive = False
        if self.connection is not None:
            self.network.disconnect(self.connection, told=told)
            self.connection = None


class AppNode(ClientNode):
    """A process with sessions. ``live`` is the truth that everybody else must come to see."""

    def __init__(self, world: World, network: Network, name: str, watch: Watch) -> None:
        super().__init__(world, network, name)
        self.watch = watch
        self.replica = Replica(self._on_kill, self._on_refused)
        self.link = Link(self.identity("app"), self.replica, HEARTBEAT, self.dice)
        self.replica.attach(self.link)
        self.live: dict[str, tuple[str, str, str | None]] = {}  # session -> app, status, task
        self.tasks: dict[str, int] = {}  # session -> how many finished
        self.callbacks: dict[str, int] = {}
        self.failed: set[str] = set()  # sessions whose kill could not be carried out
        self.refused: dict[str, str] = {}
        self.said: dict[int, Stated] = {}  # what each message left stated, by its number
        self.leaving = False
        self.room = MAX_SESSIONS_PER_PROCESS  # as the broker's own bound
        self._stated: Stated = {}
        self._opened = 0

    # --- its sessions ----------------------------------------------------------------------

    def _state(self, sid: str) -> SessionState:
        app, status, task = self.live[sid]
        since = None if task is None else self.now
        return SessionState(sid, app, None, self.now, status, task, since)

    def open(self, app: str) -> None:
        self._opened += 1
        sid = f"{self.name}-s{self._opened}"

        def act() -> None:
            if not self.leaving and len(self.replica.sessions) < self.room:
                self.live[sid] = (app, "idle", None)
                self.world.tell(f"{sid} opens in {app}", sid, self.name)
                self.replica.add(self._state(sid), self.now)

        self.do(act)

    def change(self, sid: str) -> None:
        """A task begins, or ends and is told."""

        def act() -> None:
            if sid not in self.live:
                return
            app, status, task = self.live[sid]
            done = []
            if status == "idle":
                self.live[sid] = (app, "running", f"t{self.tasks.get(sid, 0) + 1}")
            else:
                number = self.tasks[sid] = self.tasks.get(sid, 0) + 1
                self.live[sid] = (app, "idle", None)
                done = [TaskDone(sid, number, str(task), self.now, 0.1, "ok")]
            self.replica.update(self._state(sid), done, self.now)

        self.do(act)

    def close(self, sid: str, reason: str = "closed", error: str | None = None) -> None:
        def act() -> None:
            if self.live.pop(sid, None) is not None:
                self.world.tell(f"{sid} ends: {reason}", sid, self.name)
                self.replica.end(sid, reason, error, [], self.now)

        self.do(act)

    def exit(self) -> None:
        """Say bye, wait a moment for the answer, and be gone."""

        def act() -> None:
            self.world.tell(f"{self.name} exits", self.name, *self.live)
            self.leaving = True
            self.live.clear()
            self.replica.bye(self.now)

        self.do(act)
        self.world.after(BYE_TIMEOUT, lambda: self.die(told=True))

    def die(self, *, told: bool) -> None:
        self.world.tell(f"{self.name} is gone", self.name, *self.live)
        self.live.clear()
        super().die(told=told)

    # --- what the broker wants -------------------------------------------------------------

    def _on_kill(self, sid: str, command_id: str, _reason: str | None) -> None:
        self.world.tell(f"{sid} runs its callbacks for {command_id}", sid, command_id)
        self.callbacks[sid] = self.callbacks.get(sid, 0) + 1
        self.watch.called_back(self, sid)
        kind, delay = _temper(self.world.dice(f"callbacks of {sid}"))
        self.world.counts[f"callbacks: {kind}"] += 1

        def finish() -> None:
            if kind == "fails":
                self.do(lambda: self._give_up(sid))
            else:
                self.close(sid, "killed", "callback raised" if kind == "raises" else None)

        self.world.after(delay, finish)

    def _give_up(self, sid: str) -> None:
        if sid in self.live:
            self.failed.add(sid)
            self.world.tell(f"{sid} can't be ended", sid)
            self.replica.failed(sid, "the page does not end", self.now)

    def _on_refused(self, sid: str, why: str) -> None:
        self.world.tell(f"{sid} is refused: {why}", sid)
        self.world.counts["session refused"] += 1
        self.refused[sid] = why
        self.live.pop(sid, None)

    # --- what it says ----------------------------------------------------------------------

    def sending(self, message: dict[str, Any]) -> None:
        """Keep what each number leaves stated, to compare the broker's view with."""
        kind, stated = message["k"], self._stated
        if kind == "hello":
            stated.clear()
        if kind in ("hello", "hello_part"):
            for entry in message["sessions"]:
                stated[entry["s"]] = (entry["status"], entry.get("task"))
        elif kind == "register" or (kind == "status" and message["s"] in stated):
            stated[message["s"]] = (message["status"], message.get("task"))
        elif kind == "end":
            stated.pop(message["s"], None)
        elif kind == "bye":
            stated.clear()
        if "n" in message:
            self.said[message["n"]] = dict(stated)


def _temper(dice: random.Random) -> tuple[str, float]:
    """How a session takes its kill: the kind, and the seconds until it is done."""
    roll, wait = dice.random(), dice.random()
    if roll < 0.6:
        return "succeed", wait * 0.5
    if roll < 0.8:
        return "slow", 2.0 + wait * 8.0
    return ("raises", wait) if roll < 0.92 else ("fails", wait)


NewApp = Callable[[str], AppNode]
