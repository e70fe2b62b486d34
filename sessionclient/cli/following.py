"""Following accepted kills until they are done or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import click

from sessionclient.cli.shared import plain
from sessionclient.operator import Operator

LONGEST_WAIT: Final = 20.0  # seconds one question may stay open at the broker

REASON: Final = click.option("--reason", help="Why; the users will see it.")


def wait_option(default: float) -> Callable[[Any], Any]:
    """--wait."""
    return click.option(
        "--wait",
        default=default,
        type=click.FloatRange(min=0.0, max=86_400.0),
        metavar="SECONDS",
        help="Seconds to wait until the sessions have ended; 0 returns as soon as it is accepted.",
    )


def follow(
    operator: Operator,
    command_id: str,
    deadline: float,
    progress: Callable[[dict[str, Any]], None] = lambda _command: None,
) -> dict[str, Any]:
    """The command when it is finished or the deadline (monotonic seconds) has passed; ``progress``
    is told of every step."""
    command = operator.get_command(command_id)
    progress(command)
    while command["finished_at"] is None and (left := deadline - time.monotonic()) > 0:
        seen = command["completed"] + command["failed"]
        command = operator.get_command(command_id, min(left, LONGEST_WAIT), seen)
        progress(command)
    return command


def not_done(command: dict[str, Any], waited: float) -> list[str]:
    """A line for every session that was not ended, and why."""
    lines = [f"{sid}: failed: {plain(error)}" for sid, error in command["failures"].items()]
    asked = command["stage"] == "requested"
    why = "its process does not answer" if asked else "its callbacks are still running"
    lines += [f"{sid}: {why} after {waited:g} s" for sid in command["pending"]]
    told = len(command["failures"]) + len(command["pending"])
    missing = command["total"] - command["completed"] - told
    if missing > 0:
        lines.append(f"... and {missing:,} more")
    return lines
