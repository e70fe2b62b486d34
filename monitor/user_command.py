"""``panelbus user``: who may log in to the monitor. Passwords come from the terminal or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from monitor.users import (
    MAX_PASSWORD_CHARS,
    USER_ROLES,
    User,
    changing,
    check_name,
    hashed,
    read_users,
)
from sessionclient.errors import Misuse

CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "show_default": True}

Command = Callable[..., Any]


def users_option(command: Command) -> Command:
    """--users."""
    return click.option(
        "--users",
        "path",
        envvar="PANELBUS_USERS",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="The file of users that the monitor is given, too.",
    )(command)


@click.group(context_settings=CONTEXT, help="Who may log in to the monitor, and as what.")
def main() -> None:
    pass


@main.command(help="Add a user; asks for the password twice.")
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(USER_ROLES), help="What it may do.")
@users_option
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--replace", is_flag=True, help="Give an existing user this role and password.")
def add(name: str, role: str, path: Path, password_stdin: bool, replace: bool) -> None:
    def put() -> str:
        check_name(name)
        known = path.exists() and name in read_users(path)
        if known and not replace:
            raise Misuse(f"{name} is a user already; add --replace for a new role and password")
        password = hashed(_piped() if password_stdin else _asked(name))
        with changing(path) as users:
            users[name] = User(role, password)
        return f"{name} is {'now' if known else 'added as'} {role}"

    _say(put)


@main.command("list", help="Name the users and their roles.")
@users_option
def list_(path: Path) -> None:
    def told() -> str:
        users = read_users(path)
        width = max(map(len, users), default=0)
        return "\n".join(f"{name:<{width}}  {user.role}" for name, user in sorted(users.items()))

    _say(told)


@main.command(help="Remove a user; what it has open ends within seconds.")
@click.argument("name")
@users_option
def remove(name: str, path: Path) -> None:
    def drop() -> str:
        with changing(path) as users:
            if users.pop(name, None) is None:
                raise Misuse(f"there is no user {name!r:.80} in {path}")
        return f"{name} is removed"

    _say(drop)


def _say(work: Callable[[], str]) -> None:
    try:
        click.echo(work())
    except Misuse as error:
        raise click.UsageError(str(error)) from error


def _asked(name: str) -> str:
    if not sys.stdin.isatty():
        raise Misuse("there is no terminal to ask for the password on; use --password-stdin")
    password: str = click.prompt(
        f"Password of {name}", hide_input=True, confirmation_prompt="Once more"
    )
    return password


def _piped() -> str:
    text = sys.stdin.readline(MAX_PASSWORD_CHARS + 3)
    return text.removesuffix("\n").removesuffix("\r")
