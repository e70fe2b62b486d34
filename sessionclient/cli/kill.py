"""``panelbus kill``: end some sessions by their ids."""

from __future__ import annotations

import time
from typing import Any

import click

from sessionclient.cli.following import REASON, follow, not_done, wait_option
from sessionclient.cli.shared import (
    CONTEXT,
    Failed,
    json_option,
    operating,
    plain,
    print_json,
    server_options,
)
from sessionclient.operator import Operator


@click.command(
    context_settings=CONTEXT,
    help="End sessions now. Each SESSION is an id or a unique beginning of one. Nothing is ended"
    " unless every SESSION is found. The exit status is 0 when all have ended.",
)
@click.argument("session_ids", nargs=-1, required=True, metavar="SESSION...")
@REASON
@wait_option(5.0)
@json_option
@server_options
def kill(
    session_ids: tuple[str, ...],
    reason: str | None,
    wait: float,
    as_json: bool,
    server: str,
    timeout: float,
) -> None:
    with operating(server, timeout) as operator:
        found = {row["session_id"]: row for row in (_find(operator, sid) for sid in session_ids)}
        accepted = {sid: operator.request_kill(sid, reason)["command_id"] for sid in found}
        deadline = time.monotonic() + wait
        commands = {sid: follow(operator, c, deadline) for sid, c in accepted.items()}
    if as_json:
        print_json([_outcome(sid, command) for sid, command in commands.items()])
    else:
        for sid, command in commands.items():
            click.echo(_line(found[sid], command, wait))
    if any(not _good(command, wait) for command in commands.values()):
        raise click.exceptions.Exit(1)


def _find(operator: Operator, given: str) -> dict[str, Any]:
    """The one live session whose id is this or begins so."""
    found = operator.find_sessions(given)
    exact = [row for row in found if row["session_id"] == given]
    if exact or len(found) == 1:
        return (exact or found)[0]
    if not found:
        return operator.get_session(given)  # which tells how it ended, if it did
    listed = ", ".join(row["session_id"] for row in found[:5])
    more = ", ..." if len(found) > 5 else ""
    raise Failed(f"{given!r} is the beginning of several sessions: {listed}{more}; give more of it")


def _good(command: dict[str, Any], wait: float) -> bool:
    """Done, or accepted when nobody wants to wait."""
    return command["stage"] == "completed" or (wait == 0 and command["stage"] != "failed")


def _outcome(session_id: str, command: dict[str, Any]) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "command_id": command["command_id"],
        "stage": command["stage"],
        "error": command["failures"].get(session_id),
    }


def _line(row: dict[str, Any], command: dict[str, Any], wait: float) -> str:
    who = "" if row["user_id"] is None else f" ({plain(row['user_id'])})"
    name = f"{row['session_id']} of {plain(row['app_name'])}{who}"
    if command["stage"] == "completed":
        return f"{name}: ended"
    if wait == 0 and command["stage"] != "failed":
        return f"{name}: kill accepted"
    return f"{plain(row['app_name'])}{who} " + "; ".join(not_done(command, wait))
