"""``panelbus keygen`` and ``panelbus keys``: make, list and revoke the keys of a broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from broker.keyring import Keyring
from sessionclient.errors import Misuse
from sessionclient.keys import KEY_VARIABLE
from sessionclient.wire import ROLES

CONTEXT: Final[dict[str, Any]] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
}


def _keys_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--keys",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="PANELBUS_KEYS",
        show_envvar=True,
        required=True,
        help="The broker's directory of keys.",
    )(command)


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except Misuse as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.UsageError(f"can't read {error.filename}: {error.strerror}") from error


@click.command(
    context_settings=CONTEXT,
    help="Make a key for the client NAME and allow it. The first one makes the broker's own key,"
    " too, so this is all that a broker with --keys needs.",
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    required=True,
    help="app: its own sessions only; viewer: read and feed; operator: kill and clean up, too.",
)
@_keys_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the client's file.  [default: KEYS/keys/NAME.key]",
)
def keygen(name: str, role: str, keys: Path, out: Path | None) -> None:
    ring = Keyring(keys)
    with _telling():
        if ring.make_broker_key():
            click.echo(f"made the broker's key in {ring.broker_file}")
        written = ring.add(name, role, out)
    click.echo(f"made the key of {name!r} ({role}); a running broker takes it within a second")
    click.echo(f"give the client this file, and nobody else: {KEY_VARIABLE}={written}")


@click.group(context_settings=CONTEXT, help="The clients that a broker with --keys lets in.")
def keys() -> None:
    pass


@keys.command("list", context_settings=CONTEXT, help="List the clients that are let in.")
@_keys_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(keys: Path, as_json: bool) -> None:
    with _telling():
        clients = Keyring(keys).clients()
    for trouble in clients.trouble:
        click.echo(trouble, err=True)
    if as_json:
        click.echo(json.dumps([client._asdict() for client in clients.allowed]))
        return
    for client in clients.allowed:
        click.echo(f"{client.name:<24} {client.role:<9} {client.public}")


@keys.command("revoke", context_settings=CONTEXT, help="Let a client in no longer.")
@click.argument("name")
@_keys_option
def revoke(name: str, keys: Path) -> None:
    with _telling():
        Keyring(keys).revoke(name)
    click.echo(f"revoked {name!r}; a running broker cuts it off within a second")
