"""What every operator's command has in common: its options, its errors, how it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from sessionclient.address import DEFAULT_URL
from sessionclient.errors import Misuse, PanelbusError
from sessionclient.operator import Operator

PIPE_WIDTH: Final = 200  # columns when nobody's terminal says how many there are
SHORT_ID: Final = 8  # characters of an id that are shown; `kill` takes any unique beginning
CONTEXT: Final[dict[str, Any]] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
}

Command = Callable[..., Any]


class Failed(click.ClickException):
    """It could not be done: one line on stderr, exit status 1."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._program = click.get_current_context().find_root().info_name

    def show(self, file: Any = None) -> None:
        click.echo(f"{self._program}: {self.format_message()}", err=True, file=file)


def server_options(command: Command) -> Command:
    """--server and --timeout."""
    server = click.option(
        "--server",
        envvar=["PANELBUS_SERVER", "PANELBUS_URL"],
        default=DEFAULT_URL,
        metavar="URL",
        help="The broker's address.",
    )
    timeout = click.option(
        "--timeout",
        default=5.0,
        type=click.FloatRange(min=0.1, max=3600.0),
        help="Seconds to wait for the broker's answer.",
    )
    return server(timeout(command))


def json_option(command: Command) -> Command:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@contextmanager
def operating(server: str, timeout: float, role: str = "operator") -> Iterator[Operator]:
    """An operator whose errors become exit statuses: 1 for what failed, 2 for wrong usage."""
    try:
        with Operator(server, timeout, role=role) as operator:
            yield operator
    except Misuse as error:
        raise click.UsageError(str(error)) from error
    except PanelbusError as error:
        raise Failed(str(error)) from error


def console(*, stderr: bool = False) -> Console:
    """Where tables and progress go; a pipe gets wide lines instead of cut ones."""
    found = Console(stderr=stderr, highlight=False)
    if not found.is_terminal:
        found.width = PIPE_WIDTH
    return found


def print_json(value: Any) -> None:
    """One JSON document on one line, times as RFC 3339."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=not _unicode_stdout()))


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def _unicode_stdout() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def plain(value: Any) -> str:
    """Text from an app or a user as it may go to a terminal: nothing that could steer it."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(value))


def cell(value: Any, style: str = "") -> Text:
    """The same for a table; a `Text` is never taken for markup."""
    return Text("" if value is None else plain(value), style=style)
