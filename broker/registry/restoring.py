"""After a restart: commands as they were stored, and what their targets have met since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from broker.registry import commands
from broker.registry.model import Command
from broker.registry.state import State
from broker.store import CommandRow, EndedBadly


def restore(state: State, row: CommandRow, ended_badly: Mapping[str, EndedBadly]) -> None:
    """Take up a stored command where it stood; what its targets had is asked of them again."""
    command = Command(
        command_id=row.command_id,
        app=row.app_name,
        targets=row.targets,
        reason=row.reason,
        key=row.key,
        digest=row.digest,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        requested_mono=None,
        kind=row.kind,
        finished_at=row.finished_at,
        committed=True,
        delivered=row.delivered,
        completed=row.completed,
        failed=row.failed,
    )
    state.commands[command.command_id] = command
    if command.key is not None:
        state.keys[command.key] = command
    commands.ask_when_back(state, command)  # the rows of such sessions do not say so
    if row.finished_at is not None:
        state.keep_command(command)
        command.failures = _failures(command, command.targets, state, ended_badly)
        for session_id in command.targets:
            session = state.sessions.get(session_id)
            # its kill failed; one without an error came back after it was taken for gone
            if session is not None and session.kill_error is not None:
                session.commands += (command,)
                session.kill_stage = "failed"
        return
    state.open_commands[command.command_id] = command
    gone = [sid for sid in command.targets if sid not in state.sessions]
    command.failures = _failures(command, gone, state, ended_badly)
    # those that failed and live on are pending again; of the others the row may know more than
    # is remembered, or less, since it is stored after them
    again = sum(
        1
        for sid in command.targets
        if (session := state.sessions.get(sid)) is not None and session.kill_error is not None
    )
    command.failed = min(max(row.failed - again, len(command.failures)), len(gone))
    commands.attach(state, command)
    command.delivered = 0
    if not command.pending:
        commands.finish(state, command, state.started)


def _failures(
    command: Command,
    targets: Iterable[str],
    state: State,
    ended_badly: Mapping[str, EndedBadly],
) -> dict[str, str]:
    """Why these targets failed, as far as it is known."""
    found = {}
    for session_id in targets:
        session, ended = state.sessions.get(session_id), ended_badly.get(session_id)
        error = None
        if session is not None:
            error = session.kill_error
        elif ended is not None and ended.kill_error and ended.kill_command == command.command_id:
            error = ended.kill_error
        elif ended is not None:
            error = ended.end_error
        if error is not None:
            found[session_id] = error
    return found
