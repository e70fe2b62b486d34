"""Those who are not what they say: nothing they send may change what is not theirs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from sessionclient.wire import encode
from tests.simulation.clients import AppNode, ClientNode
from tests.simulation.network import Network
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.fleet import Fleet

WRONG_SECRET: Final = b"a guessed secret"


class _Deaf:
    """A payload that hears nothing."""

    def greetings(self, _now: float) -> list[dict[str, Any]]:
        return []

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


class Stranger(ClientNode):
    """A connection that sends what it likes and hears nothing."""

    def __init__(self, world: World, network: Network, name: str) -> None:
        super().__init__(world, network, name)
        self.connection = network.connect(self)

    def receive(self, payload: bytes) -> None:
        """Not listened to."""

    def lost(self) -> None:
        self.connection = None

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            if self.connection is not None:
                self.network.to_broker(self.connection, payload)


def _hello(instance: str, secret: bytes, role: str = "app", n: int = 1, **more: Any) -> bytes:
    message = {
        "k": "hello",
        "v": 1,
        "role": role,
        "instance": instance,
        "secret": secret,
        "host": "elsewhere",
        "pid": 666,
        "interval": 5.0,
        "n": n,
        "sessions": [],
        "ended": [],
        "last": True,
    }
    return encode({**message, **more})


class Strangers:
    """Makes them, one for each misdeed."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._names: Iterator[str] = (f"x{number}" for number in itertools.count(1))

    def _come(self, misdeed: str) -> Stranger | None:
        fleet = self._fleet
        if not fleet.broker.running:
            return None
        name = next(self._names)
        fleet.world.tell(f"{name} comes: {misdeed}", name, fault=True)
        fleet.world.counts[misdeed] += 1
        return Stranger(fleet.world, fleet.network, name)

    def impostor(self, victim: AppNode) -> None:
        """Claims to be another process, whose instance it has seen in the list."""
        seen = victim.name in self._fleet.store.rows.processes  # it can't be guessed
        stranger = self._come("impostor") if seen else None
        if stranger is not None:
            number = victim.link.number + 5
            stranger.send(_hello(victim.name, WRONG_SECRET, n=number))
            bye = {"k": "bye", "n": number + 1}
            stranger.send(encode(bye))

    def squatter(self, sid: str | None) -> None:
        """A process of its own that speaks of another's session, as a forked child might."""
        seen = sid in self._fleet.store.rows.sessions  # it can't be guessed
        stranger = self._come("squatter") if seen else None
        if stranger is None:
            return
        state = {"s": sid, "app": "stolen", "age": 1.0, "status": "stolen"}
        secret = stranger.name.encode().ljust(16, b".")
        stranger.send(
            _hello(stranger.name, secret, sessions=[state]),
            encode({"k": "register", "n": 2, **state}),
            encode({"k": "status", "n": 3, "s": sid, "status": "stolen"}),
            encode({"k": "failed", "n": 4, "s": sid, "error": "stolen"}),
            encode({"k": "end", "n": 5, "s": sid, "reason": "stolen"}),
            encode({"k": "bye", "n": 6}),
        )

    def viewer(self, victim: AppNode) -> None:
        """May look, and tries to act."""
        stranger = self._come("viewer")
        if stranger is not None:
            sid = next(iter(victim.live), "nobody")
            stranger.send(
                _hello("viewer", WRONG_SECRET, role="viewer"),
                encode({"k": "kill", "r": 1, "s": sid}),
                encode({"k": "kill_all", "r": 2, "app": "sales"}),
                encode({"k": "cleanup", "r": 3, "older": 0.0}),
                encode({"k": "create", "r": 4, "app": "stolen"}),
                encode({"k": "register", "n": 5, "s": sid, "app": "x", "age": 0.0, "status": "x"}),
            )

    def junk(self, kind: int) -> None:
        stranger = self._come("junk")
        if stranger is None:
            return
        dice = random.Random(f"{stranger.name} {kind}")
        good = encode({"k": "kill", "r": 7, "s": "s"})
        spoiled = bytearray(good)
        spoiled[dice.randrange(len(spoiled))] ^= 1 << dice.randrange(8)
        payload = (
            dice.randbytes(dice.randrange(200)),
            good[: dice.randrange(len(good))],
            bytes(spoiled),
            encode({"k": "kill", "r": -1, "s": "s" * 99}),
            b"\x91" * 3_000,
            b"GET / HTTP/1.1\r\n\r\n",
        )[kind]
        stranger.send(payload, _hello("y", b"short"), payload)

    def replay(self, victim: AppNode) -> None:
        """Sends again, on the victim's own connection and on another, what was sent before."""
        stranger = self._come("replay")
        if stranger is None or victim.connection is None:
            return
        for payload in list(victim.sent)[::3]:
            self._fleet.network.to_broker(victim.connection, payload)
            stranger.send(payload)
