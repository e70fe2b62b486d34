"""``panelbus backup``: a copy of the database, made by the broker or, without one, from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from broker.file_lock import FileLock
from broker.store import StoreError, StoreUnusable
from broker.store_copy import copy_database
from broker.store_opening import refuse_foreign_file
from sessionclient.cli.shared import (
    CONTEXT,
    Failed,
    json_option,
    operating,
    plain,
    print_json,
    server_options,
)


@click.command(
    context_settings=CONTEXT,
    help="Copy the database to FILE, a new file on the broker's host that ends in .db. The broker"
    " makes the copy while it serves. With --db the file is copied from here, while no broker has"
    " it. A relative FILE counts from the database's directory.",
)
@click.argument("file")
@click.option(
    "--db",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="ask the broker",
    help="Database to copy while no broker runs.",
)
@click.option(
    "--wait",
    default=600.0,
    type=click.FloatRange(min=1.0, max=3600.0),
    metavar="SECONDS",
    help="Seconds the broker may take for it.",
)
@json_option
@server_options
def main(
    file: str, db: Path | None, wait: float, as_json: bool, server: str, timeout: float
) -> None:
    if db is None:
        with operating(server, timeout) as operator:
            made = operator.backup(file, wait)
    else:
        made = _copied(db.absolute(), file)
    if as_json:
        print_json(made)
    else:
        click.echo(f"{plain(made['file'])}: {made['bytes']} bytes")


def _copied(database: Path, file: str) -> dict[str, Any]:
    try:
        if not refuse_foreign_file(database):
            raise StoreUnusable(f"there is no database {database}; correct --db")
        lock = FileLock(database)
        try:
            path, size = copy_database(database, file, lambda: True)
        finally:
            lock.release()
    except StoreError as error:
        raise Failed(str(error)) from error
    return {"file": path, "bytes": size}


if __name__ == "__main__":
    main(prog_name="python -m broker.backup")
