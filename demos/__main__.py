"""``python -m demos``: serve the demo apps."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, Final

import click
import panel as pn

from demos import app, app_pool
from sessionclient import Misuse, __version__, closed_tabs
from sessionclient.address import DEFAULT_URL, check_url

INDEX: Final = Path(__file__).with_name("index.html")
POOL_TIME: Final = 15.0  # seconds the pool has to end; far more than it needs


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
@click.version_option(__version__, prog_name="panelbus demos", allow_from_autoenv=False)
def main(server: str, port: int, address: str) -> None:
    try:
        check_url(server)
    except Misuse as error:
        raise click.BadParameter(str(error), param_hint="--server") from error
    hosts = [f"{address}:{port}", f"localhost:{port}"]
    try:
        serving = pn.serve(
            {"app": app.app_factory(server), "app_pool": app_pool.app_factory(server)},
            index=str(INDEX),
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
    serve(serving, f"http://{address}:{port}")


def serve(serving: Any, url: str) -> None:
    """Serve until SIGINT or SIGTERM; then the pool ends, and with the interpreter every session."""

    def stop(*_: Any) -> None:
        serving.io_loop.add_callback_from_signal(serving.io_loop.stop)

    # pn.serve's own handling would skip the exit handlers, and with them the goodbye
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    serving.io_loop.asyncio_loop.set_exception_handler(closed_tabs.are_no_news)
    serving.start()
    click.echo(f"demos on {url}", err=True)
    serving.io_loop.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # being stopped already
    serving.stop()
    serving.io_loop.run_sync(app_pool.shutdown_pool, timeout=POOL_TIME)


if __name__ == "__main__":
    main(prog_name="python -m demos")
