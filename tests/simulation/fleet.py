"""One run: a broker, its apps and operators live through a plan, are healed, and must agree."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.simulation import checkers
from tests.simulation.broker import BrokerNode
from tests.simulation.clients import AppNode, ClientNode
from tests.simulation.network import Network
from tests.simulation.operators import OperatorNode
from tests.simulation.plan import STORM, Plan, Step, profile_of
from tests.simulation.store import SimStore, TwinStore
from tests.simulation.strangers import Strangers
from tests.simulation.watch import Watch
from tests.simulation.world import Broken, Line, World

APPS: Final = 3  # processes at the start
HEALED_WITHIN: Final = 120  # virtual seconds after the storm until all has come to rest
ANSWERED_WITHIN: Final = 100  # hundredths of a second
MAX_APPS: Final = 7  # processes that live at the same time
SHM: Final = Path("/dev/shm")  # where a file costs no disk, if there is one


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    error: Exception | None
    counts: Counter[str]
    injected: tuple[str, ...]
    lines: list[Line]


def run(plan: Plan, *, only: frozenset[str] | None = None, story: bool = False) -> Outcome:
    """Live through a plan and judge it. ``only``: the faults by chance that may happen."""
    world = World(plan.seed, only=only, story=story)
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        store = TwinStore(Path(folder) / "sessions.db") if plan.sqlite else SimStore()
        error: Exception | None = None
        try:
            Fleet(world, plan, store).live()
        except Exception as failure:  # noqa: BLE001 - whatever a core raises is what we look for
            error = failure
        finally:
            store.close()
    return Outcome(error, world.counts, tuple(world.injected), world.lines or [])


class Fleet:
    """All nodes, and what each step of a plan does to them."""

    def __init__(self, world: World, plan: Plan, store: SimStore) -> None:
        self.world, self.plan, self.store = world, plan, store
        self.network = Network(world, profile_of(plan.profile))
        self.watch = Watch(world, store)
        self.broker = BrokerNode(world, self.network, store, self.watch)
        self.apps: list[AppNode] = []  # those that live
        self.operators = [
            OperatorNode(world, self.network, f"o{number}", self.watch) for number in range(2)
        ]
        self.watch.operators = self.broker.subscribers = self.operators
        self.strangers = Strangers(self)
        self._made = 0
        for _ in range(APPS):
            self._new_app()
        for operator in self.operators:
            operator.begin()

    def _new_app(self) -> None:
        if len(self.apps) < MAX_APPS:
            node = AppNode(self.world, self.network, f"p{self._made}", self.watch)
            self._made += 1
            node.room = self.broker.settings.max_sessions_per_process
            self.watch.apps[node.name] = node
            self.apps.append(node)
            node.begin()

    def living(self) -> set[str]:
        """The sessions that really live."""
        bus = (sid for node in self.apps for sid in node.live)
        return {*bus, *(sid for operator in self.operators for sid in operator.keeps)}

    # --- the run ---------------------------------------------------------------------------

    def live(self) -> None:
        started = self.world.now
        for step in self.plan.steps:
            self.world.run(max(0.0, started + step.at - self.world.now))
            self._take(step)
        self.world.run(max(0.0, started + STORM - self.world.now))
        self._heal()

    def _heal(self) -> None:
        """The faults stop; then everything comes to rest in bounded time, and agrees."""
        self.world.tell("the faults stop", fault=True)
        self.world.stormy = False
        self.broker.disk_spell = ("", 0.0)
        for node in (*self.apps, *self.operators):
            node.out.cut_until = node.back.cut_until = 0.0
        for operator in self.operators:
            operator.feed.cut_until = 0.0
        unrest: str | None = ""
        for _ in range(HEALED_WITHIN):
            self.world.run(1.0)
            self._bury()
            unrest = checkers.i14_unrest(self)
            if unrest is None:
                break
        if unrest is not None:
            raise Broken("I14", f"{HEALED_WITHIN} s after the faults: {unrest}", *self.living())
        checkers.i1_accepted_kills_are_done(self)
        checkers.agreement(self, self._over_the_wire())
        if isinstance(self.store, TwinStore):
            self.store.compare()
            self.world.counts["compared with SQLite"] += 1

    def _over_the_wire(self) -> list[dict[str, Any]]:
        """What an operator is told that asks now."""
        answers: list[list[dict[str, Any]] | None] = []
        self.operators[0].list_all(answers.append)
        for _ in range(ANSWERED_WITHIN):
            self.world.run(0.01)
            if answers and answers[0] is not None:
                return answers[0]
        raise Broken("I14", "the list can't be had")

    def _bury(self) -> None:
        self.apps = [node for node in self.apps if node.alive]

    # --- steps -----------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        self._bury()
        if self.world.lines is not None:
            self.world.tell(f"step {step.what} {step.args}", "step")
        self.world.counts[f"step {step.what}"] += 1
        getattr(self, f"_step_{step.what}")(*step.args)

    def _app(self, who: int) -> AppNode:
        if not self.apps:
            self._new_app()
        return self.apps[who % len(self.apps)]

    def _operator(self, who: int) -> OperatorNode:
        return self.operators[who % len(self.operators)]

    def _client(self, who: int) -> ClientNode:
        everybody = [*self.apps, *self.operators]
        return everybody[who % len(everybody)]

    def _session(self, pick: int) -> str | None:
        """One of all sessions, now and then one of REST."""
        everything = sorted(self.living())
        return everything[pick % len(everything)] if everything else None

    def _step_open(self, who: int, app: str) -> None:
        self._app(who).open(app)

    def _step_flood(self, who: int) -> None:
        for _ in range(8):
            self._app(who).open("sales")

    def _step_change(self, who: int, pick: int) -> None:
        node = self._app(who)
        if node.live:
            sid = sorted(node.live)[pick % len(node.live)]
            for _ in range(1 + pick % 3):
                node.change(sid)

    def _step_close(self, who: int, pick: int) -> None:
        node = self._app(who)
        if node.live:
            node.close(sorted(node.live)[pick % len(node.live)])

    def _step_exit(self, who: int) -> None:
        self._app(who).exit()
        self._new_app()

    def _step_die(self, who: int) -> None:
        self.world.counts["process died"] += 1
        self._app(who).die(told=who % 2 == 0)
        self._new_app()

    def _step_fork(self, who: int) -> None:
        """A child of its own: new identity, own sessions; the parent's are none of its business."""
        self._new_app()
        self.apps[-1].open("stock")
        if who % 2:
            self.apps[-1].exit()

    def _step_freeze(self, who: int, seconds: float) -> None:
        self._client(who).freeze(seconds)

    def _step_kill(self, who: int, pick: int, how: str) -> None:
        sid = self._session(pick)
        if sid is not None:
            self._operator(who).kill("kill", sid, how)

    def _step_kill_all(self, who: int, app: str) -> None:
        self._operator(who).kill("kill_all", app)

    def _step_cleanup(self, who: int, older: float) -> None:
        self._operator(who).cleanup(older)

    def _step_create(self, who: int, app: str) -> None:
        self._operator(who).create(app)

    def _step_delete(self, who: int, pick: int) -> None:
        keeps = sorted(self._operator(who).keeps)
        if keeps:
            self._operator(who).delete(keeps[pick % len(keeps)])

    def _step_status(self, who: int, pick: int) -> None:
        keeps = sorted(self._operator(who).keeps)
        if keeps:
            self._operator(who).set_status(keeps[pick % len(keeps)])

    def _step_read(self, who: int, pick: int, kind: str) -> None:
        sid = self._session(pick) or "nobody"
        commands = sorted(self.watch.accepted) or ["none"]
        fields: dict[str, dict[str, Any]] = {
            "command_state": {"c": commands[pick % len(commands)], "wait": 2.0},
            "find": {"prefix": sid[:2]},
            "tasks": {"s": sid},
            "get": {"s": sid},
        }
        self._operator(who).read(kind, fields.get(kind, {}))

    def _step_drop(self, who: int) -> None:
        self.world.counts["connection dropped"] += 1
        self._client(who).lost()

    def _step_half(self, who: int, side: str) -> None:
        self._client(who).half(side)

    def _step_cut(self, who: int, seconds: float) -> None:
        node = self._client(who)
        self.world.tell(f"{node.name} is cut off for {seconds} s", fault=True)
        self.world.counts["partition"] += 1
        until = self.world.now + seconds
        if who % 3 != 1:
            node.out.cut_until = until
        if who % 3 != 2:
            node.back.cut_until = until

    def _step_cut_feed(self, who: int, seconds: float) -> None:
        self.world.counts["feed cut"] += 1
        self._operator(who).feed.cut_until = self.world.now + seconds

    def _step_resync(self, who: int) -> None:
        """Somebody who watches lost track, while the sessions go on changing."""
        node = self._operator(who)
        node.do(lambda: node.mirror.resync(node.now))
        for number, app in enumerate(self.apps):
            app.open("stock")
            self.world.after(0.004 * number, partial(self._step_close, number, number))

    def _step_crash(self, point: str) -> None:
        if point == "now":
            self.broker.crash("now")
        else:
            self.broker.crash_at = point

    def _step_stop(self) -> None:
        self.broker.stop()

    def _step_freeze_broker(self, seconds: float) -> None:
        self.broker.freeze(seconds)

    def _step_wall(self, seconds: float) -> None:
        self.broker.step_wall_clock(seconds)

    def _step_disk(self, fault: str, seconds: float) -> None:
        self.world.tell(f"every commit fails ({fault}) for {seconds} s", fault=True)
        self.broker.disk_spell = (fault, self.world.now + seconds)

    def _step_unusable(self) -> None:
        self.broker.disk_spell = ("unusable", self.world.now + 0.5)

    def _step_impostor(self, who: int) -> None:
        self.strangers.impostor(self._app(who))

    def _step_squatter(self, _who: int, pick: int) -> None:
        self.strangers.squatter(self._session(pick))

    def _step_viewer(self, who: int) -> None:
        self.strangers.viewer(self._app(who))

    def _step_junk(self, _who: int, kind: int) -> None:
        self.strangers.junk(kind)

    def _step_replay(self, who: int) -> None:
        self.strangers.replay(self._app(who))
