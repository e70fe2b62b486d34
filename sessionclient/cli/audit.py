"""``panelbus audit``: who did what."""

from __future__ import annotations

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
from sessionclient.wire import MAX_NUMBER, MAX_PAGE_ROWS
from sessionclient.words import count

COLOURS: Final = {"refused": "yellow", "failed": "bold red", "not accepted": "bold red"}
MAX_IDS: Final = 3  # of targets shown in a line


@click.command(
    context_settings=CONTEXT,
    help="Show who killed, cleaned up or was refused what, the newest last.",
)
@click.option(
    "--limit",
    default=50,
    type=click.IntRange(1, MAX_PAGE_ROWS),
    metavar="ROWS",
    help="How many rows, counted from the newest.",
)
@click.option(
    "--before",
    type=click.IntRange(1, MAX_NUMBER),
    metavar="NUMBER",
    help="Only rows before this one, for older pages.",
)
@json_option
@server_options
def audit(limit: int, before: int | None, as_json: bool, server: str, timeout: float) -> None:
    with operating(server, timeout) as operator:
        page = operator.get_audit(limit, before)
    rows = page.rows[::-1]
    if as_json:
        print_json(rows)
        return
    if rows:
        console().print(_table(rows))
    older = "" if page.next_before is None else f"; older ones: --before {page.next_before}"
    click.echo(f"{count(len(rows), 'row')}{older}" if rows else "Nothing is on record.")


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("No", "When", "Who", "Did", "Outcome", "App", "Sessions", "Why"):
        table.add_column(title, no_wrap=title in ("No", "When", "Did"))
    for row in rows:
        table.add_row(
            cell(row["number"]),
            cell(row["at"].astimezone().strftime("%m-%d %H:%M:%S")),
            cell(row["actor"]),
            cell(row["action"]),
            cell(row["outcome"], COLOURS.get(row["outcome"], "")),
            cell(row["app_name"]),
            cell(_targets(row)),
            cell("; ".join(filter(None, (row["reason"], row["detail"])))),
        )
    return table


def _targets(row: dict[str, Any]) -> str:
    shown = [sid[:SHORT_ID] for sid in row["targets"][:MAX_IDS]]
    if row["total"] > len(shown):
        shown.append(f"and {row['total'] - len(shown):,} more")
    return ", ".join(shown)
