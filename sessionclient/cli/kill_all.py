"""``panelbus kill-all``, which is also ``scripts/kill_all.py``: end all sessions of an app."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sessionclient.cli.following import REASON, follow, not_done, wait_option
from sessionclient.cli.shared import (
    CONTEXT,
    Failed,
    console,
    json_option,
    operating,
    plain,
    print_json,
    server_options,
)
from sessionclient.errors import LinkDown
from sessionclient.operator import Operator
from sessionclient.words import count


@click.command(
    "kill-all",
    context_settings=CONTEXT,
    help="End every session of APP. Exit status: 0 done, 1 the broker can't be reached or some did"
    " not end in time (they are listed), 2 wrong usage.",
)
@click.argument("app")
@REASON
@wait_option(10.0)
@click.option("--yes", "-y", is_flag=True, help="Do not ask first.")
@json_option
@server_options
def kill_all(
    app: str,
    reason: str | None,
    wait: float,
    yes: bool,
    as_json: bool,
    server: str,
    timeout: float,
) -> None:
    with operating(server, timeout) as operator:
        total = operator.list_sessions(app, limit=1).total
        if total and not yes:
            _ask(app, total, server)
        answer = operator.kill_app(app, reason)
        command = _followed(operator, answer, wait, quiet=as_json)
    _report(app, answer, command, wait, as_json)


def _ask(app: str, total: int, server: str) -> None:
    click.echo(f"{count(total, 'session')} of {plain(app)!r} at {server} will be ended.", err=True)
    if not click.confirm("End them?", err=True):
        raise Failed("nothing was killed")


def _followed(
    operator: Operator, answer: dict[str, Any], wait: float, *, quiet: bool
) -> dict[str, Any]:
    """The command as far as it got while we waited, with a bar on a terminal."""
    command_id, deadline = answer["command_id"], time.monotonic() + wait
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(stderr=True),
        disable=quiet or not wait or not console(stderr=True).is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task("Ending sessions", total=answer["killed_count"])

        def show(command: dict[str, Any]) -> None:
            bar.update(task, completed=command["completed"] + command["failed"])

        try:
            return follow(operator, command_id, deadline, show)
        except LinkDown as error:
            raise Failed(
                f"the kill was accepted ({command_id}) and goes on, but how far it is can't be"
                f" told: {error}"
            ) from error


def _report(
    app: str, answer: dict[str, Any], command: dict[str, Any], wait: float, as_json: bool
) -> None:
    done = command["stage"] == "completed"
    good = done or (wait == 0 and command["stage"] != "failed")
    if as_json:
        names = ("stage", "total", "completed", "failed", "pending", "failures")
        print_json({**answer, **{name: command[name] for name in names}})
    elif not answer["killed_count"]:
        click.echo(f"{plain(app)!r} has no session that is not being ended already.")
    elif done:
        click.echo(f"{count(command['completed'], 'session')} of {plain(app)!r} ended.")
    elif good:
        click.echo(f"The kill of {count(answer['killed_count'], 'session')} is accepted.")
    if not good:
        if not as_json:
            left = command["total"] - command["completed"]
            click.echo(f"{left:,} of {count(command['total'], 'session')} did not end:", err=True)
            for line in not_done(command, wait):
                click.echo(f"  {line}", err=True)
        raise click.exceptions.Exit(1)
