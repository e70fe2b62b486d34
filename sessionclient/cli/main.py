"""The command group: ``panelbus broker | monitor | demos`` start the parts, ``token`` makes logins
for REST, the rest operates."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import click

from sessionclient.cli.audit import audit
from sessionclient.cli.kill import kill
from sessionclient.cli.kill_all import kill_all
from sessionclient.cli.sessions import cleanup, sessions
from sessionclient.cli.shared import CONTEXT
from sessionclient.cli.watch import watch
from sessionclient.version import __version__


@click.group(
    context_settings=CONTEXT,
    help="Panelbus: see every session of your Panel apps, and end any of them at once.",
)
@click.version_option(__version__, prog_name="panelbus")
def main() -> None:
    pass


def _launcher(name: str, module: str, command: str, what: str) -> click.Command:
    """A command of another package, which is loaded when it is called and hears everything."""

    def run(arguments: tuple[str, ...]) -> None:
        _entry(module, command).main(args=list(arguments), prog_name=f"panelbus {name}")

    return click.Command(
        name,
        callback=run,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=what,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


def _entry(module: str, command: str) -> Any:
    """The part's own click command, if it and what it needs are installed."""
    package = module.partition(".")[0]
    hint = f"pip install 'panelbus[{package}]'"
    if importlib.util.find_spec(package) is None:
        raise click.UsageError(f"the {package} is not installed: {hint}")
    try:
        return getattr(importlib.import_module(module), command)
    except ImportError as error:
        raise click.UsageError(f"the {package} needs more packages ({error}): {hint}") from error


for _name, _module, _function, _what in (
    ("broker", "broker.__main__", "main", "Run the broker: registry, database, kill, REST."),
    ("monitor", "monitor.__main__", "main", "Serve the live monitor."),
    ("demos", "demos.__main__", "main", "Serve the demo apps."),
    ("backup", "broker.backup", "main", "Copy the database, with or without a broker."),
    ("restore", "broker.restore", "main", "Put a backup in the database's place."),
    ("doctor", "broker.doctor.__main__", "main", "Look for what is wrong, and say what to do."),
    ("keygen", "broker.key_commands", "keygen", "Make a client's key for a broker with --keys."),
    ("token", "broker.gateway.token_command", "token", "Make, list and revoke tokens for REST."),
    ("user", "monitor.user_command", "main", "Who may log in to the monitor."),
    ("keys", "broker.key_commands", "keys", "List and revoke the keys of clients."),
):
    main.add_command(_launcher(_name, _module, _function, _what))
for _command in (sessions, kill, kill_all, cleanup, watch, audit):
    main.add_command(_command)
