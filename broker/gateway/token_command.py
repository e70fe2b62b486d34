"""``panelbus token``: make, list and revoke the tokens a gateway asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from rich import box
from rich.table import Table

from broker.gateway.token_file import change, load
from broker.gateway.tokens import (
    NAME_RULE,
    BadTokens,
    Token,
    added,
    digest_of,
    moment,
    new_token,
    removed,
)
from broker.options import Amount
from sessionclient.cli.shared import CONTEXT, Failed, cell, console, json_option, print_json
from sessionclient.wire import ROLES
from sessionclient.words import count

MAX_DAYS: Final = 3650.0
_DAY: Final = 86_400.0  # seconds

_Command = Callable[..., Any]


def _file_option(command: _Command) -> _Command:
    """--tokens."""
    return click.option(
        "--tokens",
        "file",
        metavar="FILE",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="PANELBUS_TOKENS",
        show_envvar=True,
        help="The list of tokens, the same as the gateway's.",
    )(command)


@click.group(
    context_settings=CONTEXT,
    help="Tokens for the REST gateway. A running gateway takes a change over within a second.",
)
def token() -> None:
    pass


@token.command(
    context_settings=CONTEXT,
    help=f"Make a token and print it, this once: only its SHA-256 is kept. NAME is {NAME_RULE};"
    " the audit shows it, and sessions made with the token belong to it.",
)
@click.argument("name")
@click.option(
    "--role",
    required=True,
    type=click.Choice(ROLES),
    help="app: keeps sessions of its own; viewer: reads; operator: reads, kills, cleans up.",
)
@click.option(
    "--expires",
    "days",
    metavar="DAYS",
    type=Amount(0.001, MAX_DAYS),
    help="Days until it is no longer valid; without it, it always is.",
)
@json_option
@_file_option
def create(name: str, role: str, days: float | None, as_json: bool, file: Path) -> None:
    secret, now = new_token(), float(int(time.time()))
    expires = None if days is None else now + days * _DAY
    token = Token(name, role, digest_of(secret), now, expires)
    try:
        change(file, lambda tokens: added(tokens, token), create=True)
    except BadTokens as error:
        raise Failed(str(error)) from error
    if as_json:
        print_json({"token": secret, **_shown(token)})
    else:
        click.echo(secret)
        until = "" if expires is None else f", valid until {moment(expires)}"
        click.echo(
            f"The token of {name} ({role}{until}). It is shown this once; send it as\n"
            "  Authorization: Bearer TOKEN",
            err=True,
        )


@token.command("list", context_settings=CONTEXT, help="Show every token's name, role and times.")
@json_option
@_file_option
def list_tokens(as_json: bool, file: Path) -> None:
    try:
        tokens = load(file)
    except BadTokens as error:
        raise Failed(str(error)) from error
    if as_json:
        print_json([_shown(token) for token in tokens])
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("Name", "Role", "Made", "Valid until"):
        table.add_column(title, no_wrap=True)
    now = time.time()
    for token in tokens:
        over = token.expires is not None and token.expires <= now
        until = moment(token.expires) or "no end"
        style = "red" if over else ""
        table.add_row(
            cell(token.name),
            cell(token.role),
            cell(moment(token.created)),
            cell(f"{until} (expired)" if over else until, style),
        )
    if tokens:
        console().print(table)
    click.echo(count(len(tokens), "token"))


@token.command(context_settings=CONTEXT, help="Make the token of this name invalid, for good.")
@click.argument("name")
@_file_option
def revoke(name: str, file: Path) -> None:
    try:
        change(file, lambda tokens: removed(tokens, name))
    except BadTokens as error:
        raise Failed(str(error)) from error
    click.echo(f"The token {name} is revoked.")


def _shown(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "role": token.role,
        "created": moment(token.created),
        "expires": moment(token.expires),
    }
