"""``panelbus sessions`` and ``panelbus cleanup``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click
from rich import box
from rich.table import Table

from sessionclient.cli.shared import (
    CONTEXT,
    SHORT_ID,
    cell,
    console,
    json_option,
    operating,
    print_json,
    server_options,
)
from sessionclient.rows import shown_status
from sessionclient.words import count, duration

COLOURS: Final = {
    "kill failed": "bold red",
    "being killed": "red",
    "stale": "yellow",
    "running": "green",
}


@click.command(context_settings=CONTEXT, help="List the live sessions.")
@click.option("--app", help="Only sessions of this app.")
@click.option("--user", help="Only sessions of this user.")
@click.option("--status", help="Only sessions of this status, such as running.")
@click.option("--stale/--not-stale", default=None, help="Only those silent too long, or the rest.")
@click.option("--full-ids", is_flag=True, help="Show whole session ids.")
@json_option
@server_options
def sessions(
    app: str | None,
    user: str | None,
    status: str | None,
    stale: bool | None,
    full_ids: bool,
    as_json: bool,
    server: str,
    timeout: float,
) -> None:
    with operating(server, timeout, "viewer") as operator:
        found = operator.get_all_sessions(app, user, status, stale)
    if as_json:
        print_json(found)
    elif found:
        console().print(_table(found, full_ids))
        click.echo(count(len(found), "session"))
    else:
        filtered = any(value is not None for value in (app, user, status, stale))
        click.echo("No session matches." if filtered else "No sessions are live.")


def _table(rows: list[dict[str, Any]], full_ids: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("App", "User", "Session", "Started", "For", "Status", "Task", "Where", "Heard"):
        table.add_column(title, no_wrap=title in ("Session", "Started", "For", "Heard"))
    now = datetime.now(UTC)
    for row in rows:
        sid = row["session_id"]
        task = row["current_task"]
        since = "" if row["task_start"] is None else f" ({_ago(now, row['task_start'])})"
        table.add_row(
            cell(row["app_name"]),
            cell(row["user_id"]),
            cell(sid if full_ids else sid[:SHORT_ID]),
            cell(row["start_time"].astimezone().strftime("%m-%d %H:%M")),
            cell(duration(row["duration_seconds"])),
            cell(*_status(row)),
            cell(None if task is None else task + since),
            cell(f"{row['host']}:{row['pid']}" if row["source"] == "bus" else "REST"),
            cell(_ago(now, row["last_heartbeat"]) + " ago"),
        )
    return table


def _ago(now: datetime, then: datetime) -> str:
    return duration((now - then).total_seconds())


def _status(row: dict[str, Any]) -> tuple[str, str]:
    """Words and colour."""
    words = shown_status(row)
    return words, COLOURS.get(words, "")


@click.command(context_settings=CONTEXT, help="End the sessions that have long been silent.")
@click.option(
    "--older-than",
    default=10.0,
    type=click.FloatRange(min=0.0),
    metavar="MINUTES",
    help="Minutes of silence after which a session is ended.",
)
@json_option
@server_options
def cleanup(older_than: float, as_json: bool, server: str, timeout: float) -> None:
    with operating(server, timeout) as operator:
        ended = operator.cleanup_stale_sessions(older_than)
    if as_json:
        print_json({"cleaned_up_count": ended})
    else:
        click.echo(f"{count(ended, 'stale session')} ended.")
