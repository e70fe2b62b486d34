"""The registry: events and the time in, messages and batches out.

The shell (`broker.server`) feeds it and carries out what it wants; nothing in here touches a
socket, a thread, the disk or a clock. The order of a kill: `handle` notes the command; `begin`
hands it to the store; `committed` makes it real, and only then is it answered and pushed.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import intern
from typing import Any

from broker.registry import access, apps, commands, operators, reading, restoring, waiting
from broker.registry.access import Access
from broker.registry.audit import Trail
from broker.registry.effects import BackUp, Feed, Found, Read, Send
from broker.registry.ledger import Ledger
from broker.registry.model import Now, Process, Route, Session, Settings
from broker.registry.state import State
from broker.store import ALL_WELL, Batch, Kept, Loaded, StoreError, StoreUnavailable
from sessionclient.wire import ERROR_CODES, TO_BROKER, WireError

BEAT_INTERVAL = 1.0  # seconds between beats of the feed, which also tell the store's health


class Registry:
    """Who is connected, which sessions live, which commands are under way."""

    def __init__(
        self,
        loaded: Loaded,
        now: Now,
        *,
        new_id: Callable[[], str],
        feed_address: str,
        version: str,
        settings: Settings | None = None,
        access: Access | None = None,
    ) -> None:
        """Start a new epoch from what the store had.

        Args:
            loaded: the store's live sessions, open commands and tombstones.
            now: the time; every process gets the whole grace time from here on.
            new_id: makes ids nobody can guess (sessions on REST, commands, the epoch).
            feed_address: what clients are told to subscribe to.
            version: the product's version, shown to clients.
            access: the keys that may speak, by user id; None where no keys are asked for.
        """
        settings = settings or Settings()
        epoch = new_id()
        self.state = State(
            settings=settings,
            epoch=epoch,
            feed_address=feed_address,
            version=version,
            new_id=new_id,
            started=now,
            ledger=Ledger(
                settings,
                next_flush=now.mono + settings.flush_interval,
                next_purge=now.mono + settings.purge_interval,
                trail=Trail(loaded.last_audit),
            ),
            access=access,
            feed=Feed(epoch),
            last_mono=now.mono,
            last_seq=loaded.last_seq,
        )
        self._next_sweep = now.mono + settings.sweep_interval
        self._next_beat = now.mono
        self._restore(loaded)

    def _restore(self, loaded: Loaded) -> None:
        state = self.state
        processes = {
            row.instance: Process(
                row.instance,
                row.source,
                row.secret_hash,
                row.host,
                row.pid,
                heard=0.0,
                heard_wall=row.heard_at,
                owner=row.owner,
            )
            for row in loaded.processes
        }
        for row in loaded.sessions:
            state.enter(
                Session(
                    row.session_id,
                    row.seq,
                    intern(row.app_name),
                    None if row.user_id is None else intern(row.user_id),
                    processes[row.process],
                    row.start_time,
                    intern(row.status),
                    row.current_task,
                    row.task_start,
                    kill_error=row.kill_error,
                )
            )
        for instance, secret_hash in loaded.gone:
            state.remember_secret(instance, secret_hash)
        for tombstone in loaded.tombstones:
            state.bury(tombstone)
        for command_row in loaded.commands:
            restoring.restore(state, command_row, loaded.ended_badly)

    # --- events ----------------------------------------------------------------------------

    def handle(
        self, route: Route, message: dict[str, Any], now: Now, user_id: str | None = None
    ) -> None:
        """One checked message of the connection ``route``; ``user_id`` is what the transport has
        proved of it, and is looked at with a hello only."""
        state = self.state
        if now.mono != state.last_mono:  # not again for messages that came together
            state.advance(now)
        kind = message["k"]
        state.stats.messages[kind] += 1
        if kind == "hello":
            apps.hello(state, route, message, now, user_id)
            peer = state.peers.get(route)
            if peer is not None and peer.process is not None:
                state.heard(peer.process, now)
            return
        peer = state.peers.get(route)
        if peer is None:
            state.send(route, "say_hello")
            return
        peer.heard = state.observed
        by_role = access.by_role(message)
        if not TO_BROKER[kind].allows(peer.role, by_role):
            text = f"the role {by_role or peer.role!r} may not send {kind!r}"
            state.forbid(peer, message, text, now)
        elif peer.process is not None:
            apps.receive(state, peer, message, now)
        else:
            operators.HANDLERS[kind](state, peer, message, now)

    def rejected(self, route: Route, error: WireError) -> None:
        """Bytes that are no message: counted and answered."""
        self.state.stats.rejected[error.cause] += 1
        code = error.cause if error.cause in ERROR_CODES else "bad_request"
        self.state.refuse(route, error.request, code, str(error)[:500])

    def set_access(self, allowed: Access, now: Now) -> bool:
        """Another allow-list. Whoever is not on it any longer, or for another role, is cut off;
        True when one of them could read the feed, for which nobody need be greeted."""
        self.state.advance(now)
        before, self.state.access = self.state.access or {}, allowed
        apps.cut_off(self.state, now)
        return not access.readers(before) <= access.readers(allowed)

    def denied(self, who: str, why: str, count: int, now: Now) -> None:
        """The transport has turned somebody away, so many times."""
        self.state.stats.rejected["unknown_key"] += count
        self.state.ledger.trail.stranger(now, who, why)

    def unreachable(self, route: Route) -> None:
        """A message could not be sent because that connection is gone."""
        apps.drop_route(self.state, route)

    # --- the store -------------------------------------------------------------------------

    def begin(self, now: Now) -> Batch | None:
        """What to commit next, if anything is due and no commit is under way."""
        return self.state.ledger.begin(now)

    def committed(self, seconds: float, now: Now, kept: Kept = ALL_WELL) -> None:
        """The batch from `begin` is durable; the commit took so many seconds."""
        state = self.state
        state.advance(now)
        state.stats.commit.observe(seconds)
        self.checked(kept.trouble)
        for tombstone in kept.refused:  # before commands in the batch meet those sessions
            apps.stays_ended(state, tombstone, now)
        if kept.more_to_purge:
            state.ledger.purge_soon(now)
        for process, number in state.ledger.committed(now).items():
            process.acked = max(process.acked, number)
            if process.route is not None:
                state.send(process.route, "ack", n=process.acked)

    def commit_failed(self, error: StoreError, now: Now) -> None:
        """The batch from `begin` was not kept. Live sessions and open kills stay as they are."""
        state = self.state
        state.advance(now)
        self.checked(error)
        state.ledger.failed(now, str(error), state.sessions)

    def checked(self, trouble: StoreError | None) -> None:
        """How the store is, as it says itself; None when all is well."""
        health = self.state.stats.health
        if trouble is None:
            health.cause, health.message = None, ""
            return
        health.cause = trouble.cause if isinstance(trouble, StoreUnavailable) else "unusable"
        health.message = str(trouble)

    def read_done(self, read: Read, found: Found) -> None:
        """What the store said to one of `take_reads`."""
        reading.read_done(self.state, read, found)

    def backed_up(self, asked: BackUp, done: tuple[str, int] | StoreError, now: Now) -> None:
        """What became of one of `take_backups`: (path, bytes), or why there is none."""
        operators.backed_up(self.state, asked, done, now)

    # --- time ------------------------------------------------------------------------------

    def tick(self, now: Now) -> None:
        """Whatever is due by now: waiters, redelivery, silence, forgotten peers."""
        state = self.state
        state.advance(now)
        if state.waiting:
            waiting.answer_waiters(state, now)
        if now.mono >= self._next_sweep:
            self._next_sweep = now.mono + state.settings.sweep_interval
            operators.sweep(state, state.settings.cleanup_after, now)
            self._redeliver()
            self._forget_peers()
            state.ledger.trail.tick(now)

    def _redeliver(self) -> None:
        state = self.state
        before = state.observed - state.settings.redeliver_after
        owners = {
            state.sessions[sid].process: None
            for command in state.open_commands.values()
            for sid in command.undelivered
        }
        for process in owners:
            for command_id, pushed in list(process.undelivered.items()):
                if pushed <= before:
                    commands.push_to(state, process, state.commands[command_id])

    def _forget_peers(self) -> None:
        state = self.state
        limit = state.observed - state.settings.peer_silence
        for peer in [p for p in state.peers.values() if p.process is None and p.heard < limit]:
            del state.peers[peer.route]
            waiting.forget(state, peer.route)

    def next_deadline(self, now: Now) -> float:
        """When `tick`, `begin` or `beat` has something to do (monotonic seconds)."""
        # a healthy loop turns before so much has passed that it would seem to have slept
        awake = self.state.last_mono + self.state.clock_step / 2
        soonest = min(self._next_sweep, self._next_beat, awake)
        due = self.state.ledger.due(now)
        if due is not None and due < soonest:
            soonest = due
        if self.state.waiting:
            waiter = waiting.next_waiter(self.state)
            soonest = min(soonest, now.mono if waiter is None else waiter)
        return soonest

    # --- what to do ------------------------------------------------------------------------

    def take_sends(self) -> list[Send]:
        """Messages to send now, in order."""
        sends, self.state.sends = self.state.sends, []
        return sends

    def asks(self) -> bool:
        """Whether there is anything in `take_reads` or `take_backups`."""
        return bool(self.state.reads or self.state.backups)

    def take_reads(self) -> list[Read]:
        """Questions to the store; each wants `read_done`."""
        reads, self.state.reads = self.state.reads, []
        return reads

    def take_backups(self) -> list[BackUp]:
        """Copies of the database to make; each wants `backed_up`."""
        backups, self.state.backups = self.state.backups, []
        return backups

    def take_feed(self, now: Now) -> dict[str, Any] | None:
        """The next message to publish, or None; call until it is None or enough."""
        return self.state.feed.take(now, self.state.observed)

    def beat(self, now: Now) -> dict[str, Any] | None:
        """A beat when one is due: it carries the newest number and the store's health."""
        if now.mono < self._next_beat:
            return None
        self._next_beat = now.mono + BEAT_INTERVAL
        self.state.feed.tell_heard()
        message = self.state.feed.beat(now, self.state.observed)
        message["health"] = self.state.stats.health.wire()
        return message

    def awaited(self) -> Batch | None:
        """The batch that is being committed, if an operator's command is in it or behind it."""
        ledger = self.state.ledger
        flight = ledger.flight
        return flight.batch if flight is not None and (flight.after or ledger.after) else None

    # --- stopping --------------------------------------------------------------------------

    def flush_now(self) -> None:
        """Make everything that waits for the disk due at once."""
        self.state.ledger.next_flush, self.state.ledger.hurry = 0.0, True

    def unsaved(self) -> bool:
        """Whether anything still waits for the disk."""
        ledger = self.state.ledger
        return ledger.flight is not None or bool(ledger.pending() or ledger.after or ledger.behind)
