"""Random life of a registry: registers, ends, kills, reconnects, crashes, commits late or failed.

`validate` runs after every step (the bench does it), and the rules below keep a model of what was
promised, so that a broken promise shows at the step that breaks it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.registry.model import Settings
from tests.support.bench import AppPeer, Bench, session

# every line is met by tests of its own, and to count lines doubles what so many examples take
pytestmark = pytest.mark.no_cover

APPS = ("sales", "stock")


class RegistryLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(settings=Settings(max_commands_kept=1000))
        self.bench.operator()
        self.peers = [AppPeer(self.bench, f"a{i}".encode(), f"p{i}") for i in range(2)]
        self.held: list[dict[str, str]] = [{}, {}]  # session -> app, by process: the truth
        self.online = [False, False]
        self.dead: set[str] = set()  # sessions whose kill was carried out
        self.asked: dict[int, list[str]] = {}  # request -> targets, not answered yet
        self.accepted: dict[str, set[str]] = {}  # command -> targets the operator was promised
        self.requests = 0
        self.names = 0

    # --- the apps --------------------------------------------------------------------------

    def _state(self, which: int) -> list[dict[str, Any]]:
        return [session(name, app) for name, app in self.held[which].items()]

    @rule(which=st.integers(0, 1), fresh=st.booleans())
    def connect(self, which: int, fresh: bool) -> None:
        peer = self.peers[which]
        if fresh:
            if self.online[which]:
                self.bench.registry.unreachable(peer.route)
            peer.route += b"'"
        peer.hello(*self._state(which))
        self.online[which] = True
        self._obey(which)

    @rule(which=st.integers(0, 1), app=st.sampled_from(APPS), lost=st.booleans())
    def register(self, which: int, app: str, lost: bool) -> None:
        self.names += 1
        name = f"s{self.names}"
        self.held[which][name] = app
        self._say(which, lost, "register", **session(name, app))

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), lost=st.booleans(), status=st.sampled_from(["idle", "running"]))
    def status(self, data: Any, lost: bool, status: str) -> None:
        which, name = self._pick(data)
        self._say(which, lost, "status", s=name, status=status)

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), lost=st.booleans())
    def end(self, data: Any, lost: bool) -> None:
        which, name = self._pick(data)
        del self.held[which][name]
        self._say(which, lost, "end", s=name, reason="stopped")

    @rule(which=st.integers(0, 1))
    def heartbeat(self, which: int) -> None:
        self._say(which, False, "heartbeat")

    def _pick(self, data: Any) -> tuple[int, str]:
        found = [(which, name) for which in (0, 1) for name in self.held[which]]
        picked: tuple[int, str] = data.draw(st.sampled_from(found))
        return picked

    def _say(self, which: int, lost: bool, kind: str, **fields: Any) -> None:
        if not self.online[which]:
            return
        peer = self.peers[which]
        if lost:
            peer.n += 1
        else:
            peer.say(kind, **fields)
            self._obey(which)

    def _obey(self, which: int) -> None:
        """Do what a client does with what it was sent."""
        peer = self.peers[which]
        for message in peer.take():
            if message["k"] == "say_hello":
                peer.hello(*self._state(which))
            elif message["k"] == "command":
                peer.say("delivered", c=message["c"])
                for name in message["s"]:
                    if name in self.held[which]:
                        del self.held[which][name]
                        self.dead.add(name)
                        peer.say("end", s=name, reason="killed")
                    else:
                        peer.say("end", s=name, reason="gone")
        if peer.bench.sent:
            self._listen()

    # --- the operator ----------------------------------------------------------------------

    @rule(data=st.data(), key=st.sampled_from([None, "k1", "k2"]))
    def kill(self, data: Any, key: str | None) -> None:
        live = list(self.bench.state.sessions)
        if live:
            name = data.draw(st.sampled_from(live))
            self._ask("kill", [name], s=name, key=key)

    @rule(app=st.sampled_from(APPS))
    def kill_all(self, app: str) -> None:
        self._ask("kill_all", [], app=app)

    @rule()
    def create_on_rest(self) -> None:
        self._ask("create", [], app="sales")

    def _ask(self, kind: str, targets: list[str], **fields: Any) -> None:
        self.requests += 1
        self.asked[self.requests] = targets
        self.bench.say(b"op", kind, r=self.requests, **fields)
        self._listen()

    def _listen(self) -> None:
        for message in self.bench.take(b"op"):
            if message["k"] == "say_hello":
                self.bench.operator()
                continue
            targets = self.asked.pop(message["r"], [])
            command_id = (message.get("result") or {}).get("command_id")
            if command_id is not None:
                # I2: what is answered is in the durable store at that instant
                stored = self.bench.rows.commands[command_id]
                assert stored.stage != "refused"
                assert set(targets) <= set(stored.targets)
                self.accepted[command_id] = set(stored.targets)

    # --- the disk and the clock ------------------------------------------------------------

    @rule()
    def begin(self) -> None:
        if self.bench.batch is None:
            self.bench.begin()

    @rule()
    def commit(self) -> None:
        self.bench.commit()
        self._everyone()

    @rule(kept=st.booleans())
    def fail(self, kept: bool) -> None:
        if self.bench.batch is not None or self.bench.begin() is not None:
            self.bench.fail(kept=kept)
            self._everyone()

    @rule(seconds=st.sampled_from([0.1, 2.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.sleep(seconds, step=2.0)
        self._everyone()

    @rule()
    def crash(self) -> None:
        self.bench.sent.clear()
        self.asked.clear()
        self.bench.restart()
        self.bench.operator()

    def _everyone(self) -> None:
        self._listen()
        for which in (0, 1):
            if self.online[which]:
                self._obey(which)

    # --- promises --------------------------------------------------------------------------

    @invariant()
    def the_dead_stay_dead(self) -> None:
        assert self.dead.isdisjoint(self.held[0].keys() | self.held[1].keys())

    @invariant()
    def no_accepted_kill_is_forgotten(self) -> None:
        for command_id, targets in self.accepted.items():
            command = self.bench.state.commands[command_id]
            for name in targets & self.bench.state.sessions.keys():
                assert name in command.pending

    def teardown(self) -> None:
        """Once it is quiet: every accepted kill is carried out, and all views agree."""
        bench = self.bench
        for _ in range(4):
            bench.sleep(10.0, step=2.0)
            bench.commit()
            for which in (0, 1):
                self.connect(which, False)
            self._everyone()
        bench.sleep(3.0)
        bench.commit()
        truth = self.held[0].keys() | self.held[1].keys()
        on_bus = {s for s, row in bench.state.sessions.items() if row.process.source == "bus"}
        assert on_bus == truth
        for targets in self.accepted.values():
            assert targets.isdisjoint(truth)
        stored = {s for s, row in bench.rows.sessions.items() if row.ended_at is None}
        assert stored == set(bench.state.sessions)
        before = [row.wire() for row in bench.state.sessions.values()]
        bench.restart()
        after = [row.wire() for row in bench.state.sessions.values()]
        for row in before + after:
            del row["heard"]
        assert before == after


RegistryLife.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, print_blob=True
)
TestRegistryLife = RegistryLife.TestCase
