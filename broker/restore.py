"""``panelbus restore``: a backup takes the database's place, whose present files are kept aside."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import click

from broker import files
from broker.file_lock import FileLock
from broker.store import StoreError, StoreUnusable
from broker.store_opening import check_ours, refuse_foreign_file
from sessionclient.cli.shared import CONTEXT, Failed, json_option, plain, print_json

CHOOSE: Final = "choose another backup"


class Restored(NamedTuple):
    """What `restore` did."""

    version: int  # of the backup's schema
    aside: Path | None  # where the files before are


@click.command(
    context_settings=CONTEXT,
    help="Put the backup FILE in the database's place, while no broker runs. FILE is checked first"
    " and stays; the present database is kept beside the new one under a dated name.",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--db",
    envvar="PANELBUS_DB",
    default="sessions.db",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The database to replace.",
)
@json_option
def main(file: Path, db: Path, as_json: bool) -> None:
    database = db.absolute()
    try:
        done = restore(file.absolute(), database, datetime.now(UTC))
    except StoreError as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"can't restore {database}: {error.strerror or error}") from error
    aside = None if done.aside is None else str(done.aside)
    if as_json:
        print_json({"database": str(database), "version": done.version, "kept_aside": aside})
        return
    click.echo(f"{plain(database)} is {plain(file)} now (schema version {done.version})")
    if aside is not None:
        click.echo(f"the database before is kept as {plain(aside)}")


def restore(backup: Path, database: Path, now: datetime) -> Restored:
    """Install a backup under the broker's lock.

    Raises:
        StoreUnusable: a broker runs, or the backup is no sound database of ours; nothing changed.
        OSError: the files can't be written. The database is as before, or complete and new.
    """
    refuse_foreign_file(backup, CHOOSE)
    lock = FileLock(database)
    try:
        fresh = database.with_name(database.name + ".restoring")
        with files.unfinished(fresh):
            _fetch(backup, fresh)
            version = _checked(fresh, backup)
            _own(fresh, database)
            aside = _keep_aside(database, now)
            files.sync(fresh)
            fresh.replace(database)
            files.sync(database.parent)
    finally:
        lock.release()
    return Restored(version, aside)


def _fetch(backup: Path, fresh: Path) -> None:
    """Copy the backup, with the log that a copy of a stopped broker's files may have beside it."""
    for suffix in ("", "-wal"):
        source = backup.with_name(backup.name + suffix)
        if source.exists():
            target = fresh.with_name(fresh.name + suffix)
            files.create(target)
            shutil.copyfile(source, target)


def _checked(fresh: Path, backup: Path) -> int:
    """The version of a sound database, which is one file afterwards."""
    try:
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            version = check_ours(connection, backup, CHOOSE)
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise StoreUnusable(f"{backup} is damaged ({error}); {CHOOSE}") from error
    if found != "ok":
        raise StoreUnusable(f"{backup} is damaged ({found}); {CHOOSE}")
    if version == 0:
        raise StoreUnusable(f"{backup} holds nothing; {CHOOSE}")
    return version


def _own(fresh: Path, database: Path) -> None:
    """Mode and owner of the database before, or for the directory's owner alone."""
    if database.exists():
        shutil.copymode(database, fresh)
        files.give_to_owner_of(fresh, database)
    else:
        files.give_to_owner_of(fresh, database.parent)


def _keep_aside(database: Path, now: datetime) -> Path | None:
    """Give the present files a second name, then take away what must not lie beside the new one.

    The database itself keeps its name until the new one replaces it: a broker started in between
    meets the old one, never none, which it would make anew.
    """
    if not database.exists():
        aside = None
    else:
        aside = database.with_name(f"{database.name}.before-{now:%Y%m%dT%H%M%SZ}")
        _second_name(database, aside)
    for suffix in ("-wal", "-shm"):
        beside = database.with_name(database.name + suffix)
        if aside is not None and suffix == "-wal" and beside.exists():
            _second_name(beside, aside.with_name(aside.name + suffix))
        beside.unlink(missing_ok=True)
    files.sync(database.parent)
    return aside


def _second_name(path: Path, name: Path) -> None:
    try:
        os.link(path, name)
    except OSError as error:
        if error.errno not in files.NO_LINKS:
            raise
        shutil.copy2(path, name)


if __name__ == "__main__":
    main(prog_name="python -m broker.restore")
