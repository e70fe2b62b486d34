"""``python -m demos``: serve the demo apps."""

from __future__ import annotations

import signal
import sys
from typing import Any

import click
import panel as pn

from demos.app import app_factory
from sessionclient import Misuse, __version__
from sessionclient.address import DEFAULT_URL, check_url


@click.command(
    context_settings={"auto_envvar_prefix": "PANELBUS", "show_default": True},
    help="Serve the demo apps. Every option can also be set as PANELBUS_<OPTION>.",
)
@click.option(
    "--server",
    envvar=["PANELBUS_SERVER", "PANELBUS_URL"],
    default=DEFAULT_URL,
    help="The broker's address.",
)
@click.option("--port", default=5007, type=click.IntRange(1, 65535), help="TCP port to serve on.")
@click.option("--address", default="127.0.0.1", help="Host name or address to serve on.")
@click.version_option(__version__, prog_name="panelbus demos")
def main(server: str, port: int, address: str) -> None:
    try:
        check_url(server)
    except Misuse as error:
        raise click.BadParameter(str(error), param_hint="--server") from error
    hosts = [f"{address}:{port}", f"localhost:{port}"]
    try:
        serving = pn.serve(
            {"app": app_factory(server)},
            port=port,
            address=address,
            websocket_origin=hosts,
            title="Panelbus demos",
            show=False,
            start=False,
            verbose=False,
        )
    except OSError as error:
        click.echo(
            f"demos: can't listen on {address}:{port}: {error.strerror or error}; choose another"
            " port with --port, or stop what holds it",
            err=True,
        )
        sys.exit(2)
    _run(serving, f"http://{address}:{port}")


def _run(serving: Any, url: str) -> None:
    """Serve until SIGINT or SIGTERM; then the interpreter ends and with it every session."""

    def stop(*_: Any) -> None:
        serving.io_loop.add_callback_from_signal(serving.io_loop.stop)

    # pn.serve's own handling would skip the exit handlers, and with them the goodbye
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    serving.start()
    click.echo(f"demos on {url}", err=True)
    serving.io_loop.start()
    serving.stop()


if __name__ == "__main__":
    main(prog_name="python -m demos")
