"""``python -m broker``: flags, start-up in order, signals, and an orderly end."""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

import click

from broker import addresses, logs
from broker.children import Child, Children
from broker.registry.core import Registry
from broker.registry.model import Settings
from broker.server import AddressInUse, Bus, Sockets, clock
from broker.store import StoreError
from broker.store_sqlite import SqliteStore
from sessionclient import __version__

log = logging.getLogger("panelbus.broker")

DEFAULTS: Final = Settings()
ID_BYTES: Final = 16  # of randomness in an id nobody may guess


class UsageProblem(click.ClickException):
    """Something about how the broker was started: one line on stderr, exit status 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"broker: {self.format_message()}", err=True)


def _checked(check: Any) -> Any:
    def callback(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
        try:
            check(value)
        except addresses.BadAddress as error:
            raise click.BadParameter(str(error)) from error
        return value

    return callback


@click.command(
    context_settings={"auto_envvar_prefix": "PANELBUS", "show_default": True},
    help="Run the Panelbus broker: the session registry, its database and its kill switch."
    " Every option can also be set as PANELBUS_<OPTION> in the environment.",
)
@click.option(
    "--bus",
    default="tcp://127.0.0.1:5760",
    callback=_checked(addresses.bus_address),
    help="Address clients connect to.",
)
@click.option(
    "--feed",
    default="tcp://127.0.0.1:5761",
    callback=_checked(addresses.bus_address),
    help="Address the live feed is published on; clients are told it.",
)
@click.option(
    "--http",
    default="127.0.0.1:8000",
    callback=_checked(addresses.http_address),
    help="HOST:PORT of the REST gateway.",
)
@click.option(
    "--db",
    default="sessions.db",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file that keeps sessions, tasks and commands.",
)
@click.option("--gateway/--no-gateway", default=True, help="Run the REST gateway as a child.")
@click.option("--monitor", is_flag=True, help="Run the live monitor as a child, too.")
@click.option(
    "--stale-after",
    default=DEFAULTS.stale_after,
    type=click.FloatRange(min=1.0),
    help="Seconds of silence after which a session counts as stale.",
)
@click.option(
    "--cleanup-after",
    default=DEFAULTS.cleanup_after,
    type=click.FloatRange(min=1.0),
    help="Seconds of silence after which a session is ended.",
)
@click.option(
    "--retention-days",
    default=DEFAULTS.retention / 86400,
    type=click.FloatRange(min=0.01),
    help="Days that ended sessions and finished commands are kept.",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Listen beyond loopback although nothing is encrypted and anybody may kill.",
)
@click.option(
    "--log-level",
    default="info",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least severe log line to print.",
)
@click.option(
    "--log-format", default="text", type=click.Choice(["text", "json"]), help="Form of log lines."
)
@click.version_option(__version__, prog_name="panelbus broker")
def main(**options: Any) -> None:
    logs.set_up(options["log_level"], options["log_format"])
    _refuse_exposure(options)
    children = Children(_children(options))
    try:
        store = SqliteStore.open(options["db"])
    except StoreError as error:
        raise UsageProblem(str(error)) from error
    sockets = Sockets()
    try:
        sockets.bind(options["bus"], options["feed"])
        registry = _registry(store, options)
    except (AddressInUse, StoreError) as error:
        store.close()
        raise UsageProblem(str(error)) from error
    sys.exit(_serve(Bus(sockets, registry, store), children, options))


def _serve(bus: Bus, children: Children, options: dict[str, Any]) -> int:
    """Run until a signal; returns the exit status."""
    trouble: list[str] = []

    def watch(now: float) -> None:
        why = children.check(now)
        if why is not None and not trouble:
            trouble.append(why)
            bus.stop()

    bus.every_second = watch
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: bus.stop())
    children.start()
    log.info("bus on %s, feed on %s, database %s", options["bus"], options["feed"], options["db"])
    try:
        # children are asked to end when the loop stops, before the last commit: nothing that a
        # gateway has accepted is lost
        bus.run(before_finish=children.stop)
    finally:
        children.stop()
    if bus.failure is not None:
        log.critical("stopped: %s", bus.failure)
        return 1
    if trouble:
        click.echo(f"broker: {trouble[0]}", err=True)
        return 2
    log.info("stopped")
    return 0


def _registry(store: SqliteStore, options: dict[str, Any]) -> Registry:
    settings = Settings(
        stale_after=options["stale_after"],
        cleanup_after=options["cleanup_after"],
        retention=options["retention_days"] * 86400,
    )
    loaded = store.load(
        max_tombstones=settings.max_tombstones, max_commands=settings.max_commands_kept
    )
    return Registry(
        loaded,
        clock(),
        new_id=lambda: secrets.token_hex(ID_BYTES),
        feed_address=options["feed"],
        version=__version__,
        settings=settings,
    )


def _refuse_exposure(options: dict[str, Any]) -> None:
    """Beyond loopback anybody could list and kill, so that has to be asked for."""
    asked = [("--bus", options["bus"]), ("--feed", options["feed"])]
    if options["gateway"]:
        asked.append(("--http", options["http"]))
    for flag, address in asked:
        if not addresses.is_local(address):
            if not options["insecure"]:
                raise UsageProblem(
                    f"{flag} {address} is reachable from other machines, where anybody could list"
                    " and kill sessions; listen on 127.0.0.1, or add --insecure if the network"
                    " itself keeps strangers out"
                )
            log.warning("%s %s is open to everybody who can reach it", flag, address)


def _children(options: dict[str, Any]) -> list[Child]:
    reach = options["bus"].replace("tcp://*:", "tcp://127.0.0.1:").replace("0.0.0.0", "127.0.0.1")
    children = []
    if options["gateway"]:
        if (
            importlib.util.find_spec("fastapi") is None
            or importlib.util.find_spec("uvicorn") is None
        ):
            raise UsageProblem(
                "the REST gateway needs more packages: pip install 'panelbus[broker]'; or go"
                " without it: --no-gateway"
            )
        _must_be_free(options["http"])
        arguments = ["broker.gateway", "--server", reach, "--http", options["http"]]
        arguments += ["--parent-pid", str(os.getpid()), "--log-level", options["log_level"]]
        arguments += ["--log-format", options["log_format"]]
        if options["insecure"]:
            arguments.append("--insecure")
        children.append(Child("gateway", arguments))
    if options["monitor"]:
        if importlib.util.find_spec("monitor") is None:
            raise UsageProblem("--monitor needs the monitor: pip install 'panelbus[monitor]'")
        children.append(Child("monitor", ["monitor", "--server", reach]))
    return children


def _must_be_free(http: str) -> None:
    """Find a taken HTTP port before anything else is started."""
    host, port = addresses.http_address(http)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
    except OSError as error:
        raise UsageProblem(
            f"can't listen on {http}: {error.strerror or error}; choose another address with"
            " --http, or stop what holds it"
        ) from error


if __name__ == "__main__":
    main(prog_name="python -m broker")
