"""The command group: ``panelbus broker | monitor | demos`` start the parts, the rest operates."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import click

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


def _launcher(name: str, what: str) -> click.Command:
    """A command that hands everything on to ``python -m <name>``."""

    def run(arguments: tuple[str, ...]) -> None:
        _entry(name).main(args=list(arguments), prog_name=f"panelbus {name}")

    return click.Command(
        name,
        callback=run,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=what,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


def _entry(name: str) -> Any:
    """The part's own click command, if it and what it needs are installed."""
    hint = f"pip install 'panelbus[{name}]'"
    if importlib.util.find_spec(name) is None:
        raise click.UsageError(f"the {name} is not installed: {hint}")
    try:
        return importlib.import_module(f"{name}.__main__").main
    except ImportError as error:
        raise click.UsageError(f"the {name} needs more packages ({error}): {hint}") from error


main.add_command(_launcher("broker", "Run the broker: registry, database, kill switch, REST."))
main.add_command(_launcher("monitor", "Serve the live monitor."))
main.add_command(_launcher("demos", "Serve the demo apps."))
for _command in (sessions, kill, kill_all, cleanup, watch):
    main.add_command(_command)
