"""The invariants I1 to I14, a function or two each; every one raises Broken with what it found.

I1, I5, I14 and the agreement of all views are judged once the faults have stopped; the others hold
after every step and are called from `tests.simulation.watch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from broker.registry.core import Registry
from broker.registry.effects import Send
from broker.registry.model import Process
from broker.registry.validate import Violation, validate
from sessionclient.mirror import MAX_BUFFERED, MAX_COMMANDS
from sessionclient.replica import MAX_DONE_WAITING, MAX_ENDED_WAITING, Replica
from sessionclient.requests import MAX_PENDING
from tests.simulation.store import SimStore
from tests.simulation.world import Broken
from tests.support.bench import Rows

if TYPE_CHECKING:
    from tests.simulation.clients import AppNode, Stated
    from tests.simulation.fleet import Fleet
    from tests.simulation.operators import OperatorNode

PASSING = ("heard", "last_heartbeat", "duration_seconds", "is_stale")  # they move by themselves
RESTATED = ("heard", "kill_stage")  # what a restart asks of the clients anew

Row = dict[str, Any]


def _without(row: Mapping[str, Any], names: Iterable[str]) -> Row:
    return {key: value for key, value in row.items() if key not in names}


# --- I1, I2, I3, I4: kills -------------------------------------------------------------------


def i1_accepted_kills_are_done(fleet: Fleet) -> None:
    """Every accepted command is finished, and no target lives that never heard of it."""
    for command_id, targets in fleet.watch.accepted.items():
        row = fleet.store.rows.commands[command_id]
        if row.finished_at is None:
            raise Broken("I1", f"{command_id} is {row.stage} for ever", command_id, *targets)
        for node in fleet.apps:
            for sid in targets:
                if sid in node.live and sid not in node.callbacks:
                    raise Broken("I1", f"{command_id} on {sid} was lost", command_id, sid)


def i2_answered_is_durable(rows: Rows, request: Row, result: Any) -> None:
    """At the instant of an answer, what it promises is on the disk."""
    kind = request["k"]
    if kind in ("kill", "kill_all"):
        command = rows.commands.get(result["command_id"])
        if command is None or command.stage == "refused":
            name = result["command_id"]
            raise Broken("I2", f"{name} is answered and not durable", name, request.get("s", ""))
    elif kind == "create":
        sid = result["session_id"]
        if sid not in rows.sessions:
            raise Broken("I2", f"REST session {sid} is answered and not durable", sid)
    elif kind == "delete":
        row = rows.sessions.get(request["s"])
        if row is not None and row.ended_at is None:
            raise Broken("I2", f"the end of {request['s']} is answered, not durable", request["s"])


def i2_acknowledged_is_durable(
    rows: Rows, replica: Replica, number: int, refused: set[str]
) -> None:
    """What an app may forget because of this ack is on the disk, or was refused."""
    for sid, told in replica._unconfirmed.items():
        if told <= number and sid not in rows.sessions and sid not in refused:
            raise Broken("I2", f"{sid} is acknowledged and not durable", sid)
    for sid, record in replica.ended.items():
        row = rows.sessions.get(sid)
        if record.number <= number and row is not None and row.ended_at is None:
            raise Broken("I2", f"the end of {sid} is acknowledged and not durable", sid)


def i3_effective_once(node: AppNode, sid: str) -> None:
    if node.callbacks[sid] > 1:
        raise Broken("I3", f"the callbacks of {sid} run again", sid)


def i3_pushed_again_at_a_hello(process: Process, sends: list[Send]) -> None:
    pushed = {m["c"] for route, m in sends if route == process.route and m["k"] == "command"}
    for command_id in process.undelivered:
        if command_id not in pushed:
            text = f"{command_id} is not pushed to {process.instance}, which is back"
            raise Broken("I3", text, command_id, process.instance)


def i4_one_key_one_kill(rows: Rows) -> None:
    by_key: dict[str, str] = {}
    for command_id, row in rows.commands.items():
        if row.key is not None and row.stage != "refused":
            earlier = by_key.setdefault(row.key, command_id)
            if earlier != command_id:
                text = f"{earlier} and {command_id} have one key"
                raise Broken("I4", text, earlier, command_id)


# --- I5, I6: the list ------------------------------------------------------------------------


def i5_listed_once(rows: list[Row]) -> None:
    ids = [row["session_id"] for row in rows]
    for sid in {sid for sid in ids if ids.count(sid) > 1}:
        raise Broken("I5", f"{sid} is listed twice", sid)


def i6_the_view_is_what_was_said(process: Process, number: int, history: dict[int, Stated]) -> None:
    """The broker's view of a process is what the process said up to that number, no more: nothing
    late, nothing of another connection, nothing anybody else said."""
    said = history.get(number)
    if said is None:
        text = f"{process.instance} never sent its number {number}"
        raise Broken("I6", text, process.instance, *process.sessions)
    for sid, session in process.sessions.items():
        stated = said.get(sid)
        if stated is None:
            raise Broken("I6", f"{sid} is listed, which its process did not state", sid)
        if stated != (session.status, session.task):
            shown = (session.status, session.task)
            raise Broken("I6", f"{sid} is {shown} instead of {stated}", sid)


# --- I7, I8: copies --------------------------------------------------------------------------


def i7_rows_agree(rows: Mapping[str, Row], registry: Registry, whose: str) -> None:
    """A copy at the feed's newest number equals the registry."""
    sessions = registry.state.sessions
    for sid in rows.keys() ^ sessions.keys():
        has = "shows" if sid in rows else "misses"
        raise Broken("I7", f"{whose} {has} {sid}", sid, whose)
    for sid, session in sessions.items():
        wire, shown = session.wire(), rows[sid]
        wire["heard"] = shown["heard"]  # published only now and then
        if wire != shown:
            raise Broken("I7", f"{whose} shows {shown}, not {wire}", sid, whose)


def i7_no_silent_gap(operator: OperatorNode, epoch: str, number: int) -> None:
    """Who has heard of a number does not call itself live without all up to it."""
    mirror = operator.mirror
    if mirror.state == "live" and (mirror._epoch != epoch or mirror._number < number):
        at = f"{mirror._number} of {mirror._epoch}"
        text = f"{operator.name} knows of {number} of {epoch} and is live at {at}"
        raise Broken("I7", text, operator.name)


def i8_memory_is_the_store(memory: Registry, replay: Registry, rows: Rows) -> None:
    """With nothing left to write, a restart would know just what the memory knows."""
    one, other = memory.state, replay.state
    for sid in one.sessions.keys() ^ other.sessions.keys():
        where = "memory" if sid in one.sessions else "store"
        raise Broken("I8", f"{sid} lives only in the {where}", sid)
    for sid, session in one.sessions.items():
        kept, stored = (_without(s.wire(), RESTATED) for s in (session, other.sessions[sid]))
        if kept != stored:
            raise Broken("I8", f"{kept} is stored as {stored}", sid)
    for name in one.open_commands.keys() ^ other.open_commands.keys():
        raise Broken("I8", f"{name} is open in only one of memory and store", name)
    for name, row in rows.commands.items():
        if row.stage != "refused" and name not in one.commands:
            raise Broken("I8", f"{name} may come to life: the store has it as {row.stage}", name)


# --- I9, I10: ends ---------------------------------------------------------------------------


def i9_silent_long_enough(instance: str, silence: float, limit: float) -> None:
    """``silence`` as measured from outside, in seconds."""
    if silence < limit:
        text = f"{instance} is given up after {silence:.1f} s, not {limit:.1f}"
        raise Broken("I9", text, instance)


def i10_ended_stays_ended(registry: Registry, ended: set[str]) -> None:
    if not registry.state.sessions.keys().isdisjoint(ended):
        sid = sorted(registry.state.sessions.keys() & ended)[0]
        raise Broken("I10", f"{sid} lives again", sid)


# --- I11, I12, I13: bounds, scope, validity ----------------------------------------------------


def i11_tables_are_bounded(registry: Registry) -> None:
    """The bounds that cost nothing to look at; the others are in `validate`."""
    state, limits = registry.state, registry.state.settings
    for name, size, limit in (
        ("sessions", len(state.sessions), limits.max_sessions),
        ("peers", len(state.peers), limits.max_peers),
        ("open commands", len(state.open_commands), limits.max_open_commands),
        ("waiters", state.waiter_count, limits.max_waiters),
    ):
        if size > limit:
            raise Broken("I11", f"{size} {name} are over {limit}")


def i11_queues_are_bounded(
    registry: Registry, apps: Iterable[AppNode], operators: Iterable[OperatorNode]
) -> None:
    """What each process and each peer may keep."""
    state, limits = registry.state, registry.state.settings
    for process in state.processes.values():
        if len(process.sessions) > limits.max_sessions_per_process:
            raise Broken("I11", f"{process.instance} has too many sessions", process.instance)
    if state.sends:
        raise Broken("I11", "messages are left behind")
    for app in apps:
        replica = app.replica
        if len(replica.done) > MAX_DONE_WAITING or len(replica.ended) > MAX_ENDED_WAITING:
            raise Broken("I11", f"{app.name} keeps too much", app.name)
    for operator in operators:
        mirror = operator.mirror
        small = mirror._buffered <= MAX_BUFFERED and len(mirror.commands) <= MAX_COMMANDS
        if not small or len(operator.requests._pending) > MAX_PENDING:
            raise Broken("I11", f"{operator.name} keeps too much", operator.name)


def i12_only_operators_act(rows: Rows) -> None:
    """No role acts beyond its scope, and every kill has its rows in the audit: of the request, and
    once it is finished of what became of it."""
    noted = {(row.command_id, row.outcome) for row in rows.audit.values()}
    for name, row in rows.commands.items():
        if not row.requested_by.startswith("operator "):
            raise Broken("I12", f"{name} was asked for by {row.requested_by}", name)
        if (name, "requested") not in noted:
            raise Broken("I12", f"nobody noted that {name} was asked for", name)
        if (
            row.finished_at is not None
            and row.stage != "refused"
            and (name, row.stage) not in noted
        ):
            raise Broken("I12", f"nobody noted that {name} is {row.stage}", name)


def i13_the_state_is_valid(registry: Registry) -> None:
    """Whatever came from outside; that nothing is raised on the way is seen by the run itself."""
    try:
        validate(registry)
    except Violation as error:
        raise Broken("I13", str(error)) from error


# --- I14: once healed --------------------------------------------------------------------------


def i14_unrest(fleet: Fleet) -> str | None:
    """What has not come to rest yet, or None: bounded time after the faults there is nothing."""
    broker, lives = fleet.broker, fleet.living()
    ledger = broker.registry.state.ledger
    # heartbeats come for ever
    due = ledger.pending() - len(ledger.heard) or ledger.after or ledger.behind
    written = ledger.flight is not None and replace(ledger.flight.batch, heard=[])
    if not broker.running or broker.is_frozen or due or written:
        return "the broker is busy"
    listed = broker.registry.state.sessions.keys()
    if listed != lives:
        return f"{sorted(listed ^ lives)} are listed and do not live, or the other way round"
    for client in (*fleet.apps, *fleet.operators):
        if client.frozen or client.connection is None or not client.connection.known:
            return f"{client.name} is frozen, or its connection is not what it thinks"
    for node in fleet.apps:
        replica = node.replica
        if replica.ended or replica.done or replica.confirmed != node.live.keys():
            return f"{node.name} is not confirmed"
        for sid, state in node.live.items():
            if state != _shown(broker.registry, sid):
                return f"{sid} is {state}, shown as {_shown(broker.registry, sid)}"
    for operator in fleet.operators:
        mirror = operator.mirror
        if mirror.state != "live" or mirror.rows.keys() != listed:
            return f"the mirror of {operator.name} is {mirror.state}"
        waits = operator.requests._pending or operator.trying_again
        if waits or any(operator.keeps.values()):
            return f"{operator.name} waits for answers"
    if any(command.pending for command in broker.registry.state.open_commands.values()):
        return "commands are under way"
    return None


def agreement(fleet: Fleet, over_the_wire: list[Row]) -> None:
    """Guarantee 5: registry, store, REST and every mirror show what lives, and the same of it."""
    broker = fleet.broker
    lives = fleet.living()
    replay = broker.replay()
    i8_memory_is_the_store(broker.registry, replay, fleet.store.rows)
    i5_listed_once(over_the_wire)
    if {row["session_id"] for row in over_the_wire} != lives:
        raise Broken("I5", f"REST shows {over_the_wire}, and {lives} live", *lives)
    for operator in fleet.operators:
        i7_rows_agree(operator.mirror.rows, broker.registry, operator.name)
        shown = {row["session_id"]: _without(row, PASSING) for row in over_the_wire}
        seen = {sid: _without(row, PASSING) for sid, row in operator.seen.items()}
        if shown != seen:
            raise Broken("I5", f"{operator.name} has watched {seen}, REST shows {shown}", *lives)
        for name, command in broker.registry.state.commands.items():
            wire, mirrored = command.wire(), operator.mirror.commands.get(name)
            if wire != mirrored:
                raise Broken("I7", f"{operator.name} shows {mirrored}, not {wire}", name)
    for node in fleet.apps:
        for sid in node.live:
            _every_task_is_kept(fleet.store, sid, node.tasks.get(sid, 0))


def _shown(registry: Registry, sid: str) -> tuple[str, str, str | None]:
    session = registry.state.sessions[sid]
    return session.app, session.status, session.task


def _every_task_is_kept(store: SimStore, sid: str, count: int) -> None:
    numbers = [row.task_no for row in store.tasks(sid, 1_000)]
    if numbers != list(range(1, count + 1)):
        raise Broken("I8", f"{sid} finished {count} tasks, kept are {numbers}", sid)
