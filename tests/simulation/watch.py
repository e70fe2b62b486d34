"""What is observed of a run from outside, step by step, and which invariants to ask then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.store import Batch
from sessionclient.errors import PanelbusError
from tests.simulation import checkers
from tests.simulation.store import SimStore
from tests.simulation.world import Broken, World

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerNode
    from tests.simulation.clients import AppNode
    from tests.simulation.operators import OperatorNode

PROMISING: Final = ("kill", "kill_all", "create", "delete")  # requests whose answer is a promise
EVERY: Final = 16  # turns between two dear checks, unless the run is thorough
EVERY_COMMIT: Final = 4  # commits between two comparisons with the store, likewise


class Watch:
    """Promises and evidence. It only looks: no run depends on it."""

    def __init__(self, world: World, store: SimStore) -> None:
        self.world, self.store = world, store
        self.apps: dict[str, AppNode] = {}  # by instance, also those that are gone
        self.operators: list[OperatorNode] = []
        self.accepted: dict[str, tuple[str, ...]] = {}  # command -> targets
        self._by_key: dict[str, str] = {}
        self._asked: dict[tuple[bytes, int], dict[str, Any]] = {}
        self._heard: dict[str, tuple[float, int]] = {}  # instance -> awake time, freezes
        self._rest: set[str] = set()  # sessions over REST, which are processes of their own
        self._refused: set[str] = set()  # sessions the broker said it would not take
        self._ended: set[str] = set()  # sessions whose end is durable and for good
        self._copy: dict[str, dict[str, Any]] = {}  # of a subscriber who misses nothing
        self._given_up: set[str] = set()  # sessions ended for silence
        self._epoch, self._number = "", 0
        self._turns = self._commits = 0
        self._compared: dict[str, int] = {}  # operator -> number its mirror was compared at

    # --- the broker's life -----------------------------------------------------------------

    def started(self, broker: BrokerNode) -> None:
        state = broker.registry.state
        if state.epoch == self._epoch:
            raise Broken("I7", "two lives of the broker have one epoch")
        self._epoch, self._number, self._compared = state.epoch, 0, {}
        self._copy = {sid: session.wire() for sid, session in state.sessions.items()}
        self._heard = {name: (broker.awake(), broker.freezes) for name in state.processes}
        self._asked = {}
        for row in self.store.rows.sessions.values():
            if row.ended_at is not None and row.end_reason != "stale":
                self._ended.add(row.session_id)
        checkers.i10_ended_stays_ended(broker.registry, self._ended)
        if state.open_commands:
            self.world.counts["restart with open kills"] += 1

    def number_of(self, broker: BrokerNode, route: bytes) -> int | None:
        """Of the last message applied from this connection."""
        peer = broker.registry.state.peers.get(route)
        return peer.process.number if peer is not None and peer.process is not None else None

    def handled(
        self, broker: BrokerNode, route: bytes, message: dict[str, Any], before: int | None
    ) -> None:
        """The registry has taken a message; ``before`` is the number applied last before it."""
        state, kind = broker.registry.state, message["k"]
        if kind in PROMISING:
            self._asked[route, message["r"]] = message
        peer = state.peers.get(route)
        if peer is None:
            return
        if peer.process is None:
            self._operator_said(broker, kind, message)
            return
        process, number = peer.process, message.get("n", -1)
        if before is not None and number <= before:
            self.world.counts["late or again"] += 1
            return
        self._heard[process.instance] = (broker.awake(), broker.freezes)
        if number != process.number:
            self.world.counts["gap"] += 1
            return
        if kind in ("hello", "hello_part") and message["last"]:
            if process.undelivered:
                self.world.counts["pushed at a hello"] += 1
            checkers.i3_pushed_again_at_a_hello(process, state.sends)
        node = self.apps.get(process.instance)
        if node is not None and process.greeting is None:
            checkers.i6_the_view_is_what_was_said(process, number, node.said)

    def _operator_said(self, broker: BrokerNode, kind: str, message: dict[str, Any]) -> None:
        if kind == "cleanup":
            self._expired(broker, message["older"])
        elif kind in ("touch", "set_status") and message["s"] in self._heard:
            self._heard[message["s"]] = (broker.awake(), broker.freezes)
        elif kind == "create":
            for name, process in broker.registry.state.processes.items():
                self._heard.setdefault(name, (broker.awake(), broker.freezes))
                if process.source == "rest":
                    self._rest.add(name)

    def ticked(self, broker: BrokerNode) -> None:
        if len(broker.registry.state.processes) < len(self._heard):
            self._expired(broker, broker.settings.cleanup_after)

    def _expired(self, broker: BrokerNode, limit: float) -> None:
        """Whoever is not known any more was silent for so long (seconds)."""
        state = broker.registry.state
        for name in [name for name in self._heard if name not in state.processes]:
            at, freezes = self._heard.pop(name)
            tombstone = state.tombstones.get(name)
            if name in self._rest and (tombstone is None or tombstone.reason != "stale"):
                continue
            # a freeze shorter than the longest step can't be told from silence
            blind = (broker.freezes - freezes) * state.settings.clock_step
            # the broker's clock may be fast
            fair = limit * (1.0 - broker.network.profile.drift) - blind - 0.01
            checkers.i9_silent_long_enough(name, broker.awake() - at, fair)
            self.world.counts["given up as silent"] += 1

    def turned(self, broker: BrokerNode) -> None:
        registry = broker.registry
        checkers.i10_ended_stays_ended(registry, self._ended)
        checkers.i11_tables_are_bounded(registry)
        self._turns += 1
        if self.world.thorough or self._turns % EVERY == 0:
            checkers.i13_the_state_is_valid(registry)
            checkers.i11_queues_are_bounded(registry, self.apps.values(), self.operators)

    # --- the disk --------------------------------------------------------------------------

    def committed(self, broker: BrokerNode, batch: Batch) -> None:
        for row in batch.sessions:
            if row.ended_at is not None and row.end_reason != "stale":
                self._ended.add(row.session_id)
        if batch.commands:
            checkers.i4_one_key_one_kill(self.store.rows)
            checkers.i12_only_operators_act(self.store.rows)
            if any(row.stage == "refused" for row in batch.commands):
                self.world.counts["refusal stored"] += 1
        self._commits += 1
        often = self.world.thorough or self._commits % EVERY_COMMIT == 0
        if often and not broker.registry.unsaved():
            self.at_rest(broker)

    def at_rest(self, broker: BrokerNode) -> None:
        """Nothing waits for the disk."""
        self.world.counts["memory compared with the store"] += 1
        checkers.i8_memory_is_the_store(broker.registry, broker.replay(), self.store.rows)

    # --- what the broker says --------------------------------------------------------------

    def sent(self, broker: BrokerNode, route: bytes, message: dict[str, Any]) -> None:
        kind = message["k"]
        if kind == "reply":
            request = self._asked.get((route, message["r"]))
            if request is not None:
                checkers.i2_answered_is_durable(self.store.rows, request, message["result"])
        elif kind == "ack":
            peer = broker.registry.state.peers.get(route)
            node = self.apps.get(peer.process.instance) if peer and peer.process else None
            if node is not None:
                number, refused = message["n"], self._refused
                checkers.i2_acknowledged_is_durable(self.store.rows, node.replica, number, refused)
        elif kind == "refused":
            self._refused.add(message["s"])
        elif kind == "command":
            self.world.counts["pushed"] += 1
            self.world.tell(f"{message['c']} is pushed", message["c"], *message["s"])

    def published(self, broker: BrokerNode, message: dict[str, Any]) -> None:
        """The feed as a subscriber gets it who misses nothing."""
        number, changes = message["n"], message["changes"]
        expected = self._number + (1 if changes else 0)
        if message["epoch"] != self._epoch or number != expected:
            raise Broken("I7", f"the feed goes from {self._number} to {number}")
        self._number = number
        for change in changes:
            if change[0] == "+":
                sid = change[1]["session_id"]
                self._copy[sid] = change[1]
                if sid in self._given_up:
                    self._given_up.discard(sid)
                    self.world.counts["back after silence"] += 1
            elif change[0] == "s" and change[1] in self._copy:
                row = self._copy[change[1]]
                row["status"], row["current_task"], row["task_start"] = change[2:5]
            elif change[0] == "-":
                self._copy.pop(change[1], None)
                self.world.tell(f"{change[1]} is off the list: {change[2]}", change[1])
                if change[2] == "stale":
                    self._given_up.add(change[1])
        if changes and not len(broker.registry.state.feed.changes):
            checkers.i7_rows_agree(self._copy, broker.registry, "the feed")

    # --- operators -------------------------------------------------------------------------

    def mirrored(self, operator: OperatorNode) -> None:
        """A mirror that is live at the newest number shows what the registry has."""
        mirror, name = operator.mirror, operator.name
        if mirror.state != "live" or mirror._epoch != self._epoch:
            return
        broker = operator.network.broker
        if mirror._number != self._number or self._compared.get(name) == self._number:
            return
        if broker is not None and broker.running and not len(broker.registry.state.feed.changes):
            self._compared[name] = self._number
            checkers.i7_rows_agree(mirror.rows, broker.registry, name)

    def heard_the_feed(self, operator: OperatorNode, message: dict[str, Any]) -> None:
        if message["epoch"] == self._epoch:
            checkers.i7_no_silent_gap(operator, message["epoch"], message["n"])

    def listed(self, rows: list[dict[str, Any]]) -> None:
        checkers.i5_listed_once(rows)

    def saw_end(self, operator: OperatorNode, sid: str) -> None:
        if sid not in operator.seen:
            raise Broken("I5", f"{operator.name} sees {sid} end, which it never saw", sid)

    def accepted_by(self, key: str | None, command_id: str) -> None:
        if key is not None and self._by_key.setdefault(key, command_id) != command_id:
            earlier = self._by_key[key]
            raise Broken("I4", f"key {key} is {earlier} and {command_id}", earlier, command_id)

    def accept(self, fields: dict[str, Any], result: dict[str, Any]) -> None:
        """An operator has been told that its kill is accepted."""
        command_id = result["command_id"]
        self.world.counts["kill acknowledged"] += 1
        self.accepted_by(fields["key"], command_id)
        row = self.store.rows.commands.get(command_id)
        if row is None or row.stage == "refused":
            raise Broken("I2", f"{command_id} is accepted and not durable", command_id)
        self.accepted[command_id] = row.targets
        self.world.tell(f"{command_id} is accepted", command_id, *row.targets)

    def not_accepted(self, fields: dict[str, Any], error: PanelbusError) -> None:
        code = getattr(error, "code", type(error).__name__)
        self.world.counts[f"kill refused: {code}"] += 1
        self.world.tell(f"a kill is not accepted: {code}", fields.get("s", ""))

    def reused(self, key: str, result: Any, error: PanelbusError | None) -> None:
        if error is None:
            text = f"another request under the key {key} was accepted"
            raise Broken("I4", text, result["command_id"])

    def deleted(self, sid: str) -> None:
        row = self.store.rows.sessions.get(sid)
        if row is not None and row.ended_at is None:
            raise Broken("I2", f"{sid} is deleted and lives on the disk", sid)

    # --- apps ------------------------------------------------------------------------------

    def called_back(self, node: AppNode, sid: str) -> None:
        checkers.i3_effective_once(node, sid)
