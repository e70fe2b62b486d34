"""The guards of the product, one by one, and how to take each away: the simulation must notice."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import pytest

from broker.registry import apps, commands, core, restoring, waiting
from broker.registry.core import Registry
from broker.registry.ledger import Ledger
from broker.registry.state import State
from broker.store import ALL_WELL
from sessionclient import link
from sessionclient.mirror import Mirror
from sessionclient.replica import Replica
from sessionclient.wire import TO_BROKER, Kind
from tests.simulation.store import SimStore

Patch = pytest.MonkeyPatch


class Guard(NamedTuple):
    """What protects something, the profiles that need it, and who notices when it is gone."""

    name: str
    take_away: Callable[[Patch], None]
    profiles: tuple[str, ...]
    noticed_by: tuple[str, ...]
    first: int = 0  # the seed to begin with, which saves time for what shows rarely


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    return None


# --- kills -----------------------------------------------------------------------------------


def _answer_before_commit(patch: Patch) -> None:
    begin = Ledger.begin

    def hasty(self: Ledger, now: Any) -> Any:
        batch = begin(self, now)
        if self.flight is not None and batch is not None:
            after, self.flight.after = self.flight.after, []
            for done, _ in after:
                done(now)
        return batch

    patch.setattr(Ledger, "begin", hasty)


def _callbacks_every_time(patch: Patch) -> None:
    kill = Replica._kill

    def eager(self: Replica, sid: str, *rest: Any) -> None:
        self._killed.discard(sid)
        kill(self, sid, *rest)

    patch.setattr(Replica, "_kill", eager)


def _waiters_without_bound(patch: Patch) -> None:
    def add(state: State, command: Any, waiter: Any, now: Any) -> None:
        command.waiters.append(waiter)
        state.waiter_count += 1
        state.waiting[command.command_id] = command

    patch.setattr(waiting, "add_waiter", add)


# --- the disk --------------------------------------------------------------------------------


def _failed_rows_dropped(patch: Patch) -> None:
    def failed(self: Ledger, now: Any, why: str, _live: Any) -> None:
        flight, self.flight = self._landed(), None
        for _, refuse in flight.after:
            refuse(now, why)

    patch.setattr(Ledger, "failed", failed)


# --- numbers and identities --------------------------------------------------------------------


def _gaps_accepted(patch: Patch) -> None:
    receive = apps.receive

    def careless(state: State, peer: Any, message: dict[str, Any], now: Any) -> None:
        peer.process.number = max(peer.process.number or 0, message["n"] - 1)
        receive(state, peer, message, now)

    patch.setattr(apps, "receive", careless)


def _old_numbers_accepted(patch: Patch) -> None:
    receive = apps.receive

    def careless(state: State, peer: Any, message: dict[str, Any], now: Any) -> None:
        if message["n"] <= (peer.process.number or 0):
            apps.HANDLERS[message["k"]](state, peer.process, message, now)
        receive(state, peer, message, now)

    patch.setattr(apps, "receive", careless)


def _gap_is_silence(patch: Patch) -> None:
    receive = apps.receive

    def deaf(state: State, peer: Any, message: dict[str, Any], now: Any) -> None:
        heard, gap = peer.process.heard, message["n"] > (peer.process.number or 0) + 1
        receive(state, peer, message, now)
        if gap:
            peer.process.heard = heard

    patch.setattr(apps, "receive", deaf)


def _no_secret(patch: Patch) -> None:
    patch.setattr(apps, "hmac", SimpleNamespace(compare_digest=lambda *_: True))


def _foreign_sessions_taken(patch: Patch) -> None:
    hold = apps._hold

    def careless(state: State, process: Any, entry: dict[str, Any], now: Any) -> None:
        session = state.sessions.get(entry["s"])
        if session is not None:
            apps._set_status(state, session, entry, now)
        else:
            hold(state, process, entry, now)

    patch.setattr(apps, "_hold", careless)


def _every_role_acts(patch: Patch) -> None:
    def with_viewers(kind: Kind) -> Kind:
        return kind._replace(roles=("viewer", "operator")) if kind.roles == ("operator",) else kind

    kinds = {name: with_viewers(kind) for name, kind in TO_BROKER.items()}
    patch.setattr(core, "TO_BROKER", kinds)


# --- the feed ----------------------------------------------------------------------------------


def _as_if(patch: Patch, change: Callable[[Mirror, dict[str, Any]], dict[str, Any]]) -> None:
    apply = Mirror._apply_or_resync

    def careless(
        self: Mirror, epoch: str, number: int, message: dict[str, Any], now: float
    ) -> None:
        message = change(self, message)
        apply(self, message["epoch"], message["n"], message, now)

    patch.setattr(Mirror, "_apply_or_resync", careless)


def _feed_gaps_ignored(patch: Patch) -> None:
    def next_number(mirror: Mirror, message: dict[str, Any]) -> dict[str, Any]:
        if message["changes"] and message["n"] > mirror._number:
            mirror._number = message["n"] - 1
        return message

    _as_if(patch, next_number)


def _beats_ignored(patch: Patch) -> None:
    def own_number(mirror: Mirror, message: dict[str, Any]) -> dict[str, Any]:
        return message if message["changes"] else {**message, "n": mirror._number}

    _as_if(patch, own_number)


def _epoch_ignored(patch: Patch) -> None:
    _as_if(patch, lambda mirror, message: {**message, "epoch": mirror._epoch})


class _Kept(list[Any]):
    """A list that nothing can be deleted from."""

    def __delitem__(self, _which: Any) -> None:
        return None


def _failed_snapshot_told(patch: Patch) -> None:
    replay = Mirror._replay

    def talkative(self: Mirror, buffer: Any, now: float) -> bool:
        complete = replay(self, buffer, now)
        if not complete:
            self.changes = _Kept(self.changes)
        return complete

    patch.setattr(Mirror, "_replay", talkative)


# --- coming back -------------------------------------------------------------------------------


def _sleep_is_silence(patch: Patch) -> None:
    def advance(self: State, now: Any) -> None:
        self.observed += max(0.0, now.mono - self.last_mono)
        self.last_mono = now.mono

    patch.setattr(State, "advance", advance)


def _tasks_before_sessions(patch: Patch) -> None:
    reconcile = apps._reconcile

    def early(state: State, process: Any, greeting: Any, part: dict[str, Any], now: Any) -> None:
        apps._finished_tasks(state, process, part.get("done"), now)
        reconcile(state, process, greeting, {**part, "done": None}, now)

    patch.setattr(apps, "_reconcile", early)


def _set(target: Any, name: str, value: Any = _nothing) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(target, name, value)


GUARDS: Final = (
    Guard("pushed again at a hello", _set(commands, "push_pending"), ("lossy", "crashy"), ("I3",)),
    Guard("pushed again after a while", _set(Registry, "_redeliver"), ("lossy",), ("I14",), 321),
    Guard("commit before answer", _answer_before_commit, ("crashy", "disk"), ("I2",)),
    Guard("ack after commit", _set(Ledger, "concerns", lambda *_: False), ("disk",), ("I2", "I13")),
    Guard(
        "sync before commit returns",
        _set(SimStore, "_sync", lambda _: ALL_WELL),
        ("calm",),
        ("I2", "I8"),
    ),
    Guard("callbacks once", _callbacks_every_time, ("lossy", "crashy"), ("I3",)),
    Guard("one kill for a key", _set(commands, "_repeated", lambda *_: False), ("lossy",), ("I4",)),
    Guard("kills taken up by a restart", _set(restoring, "restore"), ("crashy",), ("I1", "I8")),
    Guard("refused kills stay refused", _set(Ledger, "refused"), ("disk", "storm"), ("I8", "I4")),
    Guard("rows of a failed commit kept", _failed_rows_dropped, ("disk",), ("I2", "I8")),
    Guard("bound of waiters", _waiters_without_bound, ("greedy",), ("I11", "I13"), 69),
    Guard(
        "the ended are remembered",
        _set(State, "bury"),
        ("clocks", "storm", "crashy", "hostile"),
        ("I1", "I6", "I8", "I10", "I14"),
    ),
    Guard("killed again when back", _set(commands, "kill_again"), ("clocks", "storm"), ("I14",)),
    Guard("back after a failed kill", _set(apps, "_survived"), ("clocks", "storm"), ("I14",), 468),
    Guard(
        "told to end when back",
        _set(commands, "ask_when_back", lambda *_: []),
        ("storm",),
        ("I1",),
        6567,
    ),
    Guard("failure told again", _set(Replica, "welcomed"), ("lossy", "hostile"), ("I14",), 289),
    Guard("tasks of sessions new to the broker", _tasks_before_sessions, ("lossy",), ("I8",), 129),
    Guard("own sleep is no silence", _sleep_is_silence, ("clocks",), ("I9",), 84),
    Guard("whoever speaks is not silent", _gap_is_silence, ("hostile", "lossy"), ("I9",), 54),
    Guard("secret of an instance", _no_secret, ("hostile",), ("I5", "I6", "I14")),
    Guard("gaps in an app's numbers", _gaps_accepted, ("lossy",), ("I6", "I2", "I14")),
    Guard("old numbers", _old_numbers_accepted, ("lossy", "hostile"), ("I2", "I6", "I14")),
    Guard("foreign sessions", _foreign_sessions_taken, ("hostile",), ("I6",)),
    Guard("roles", _every_role_acts, ("hostile",), ("I12", "I9")),
    Guard("gaps in the feed", _feed_gaps_ignored, ("lossy",), ("I7", "I5")),
    Guard("the newest number in a beat", _beats_ignored, ("lossy",), ("I7", "I14")),
    Guard("epochs of the feed", _epoch_ignored, ("storm",), ("I7", "I14"), 335),
    Guard("a failed snapshot is not told", _failed_snapshot_told, ("lossy", "storm"), ("I5",), 471),
    Guard("silence of a connection", _set(link, "SILENCE", float("inf")), ("lossy",), ("I14",)),
)
