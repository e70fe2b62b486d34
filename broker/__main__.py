"""``python -m broker``: flags, start-up in order, signals, and an orderly end."""

from __future__ import annotations

import gc
import logging
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

import click

from broker import addresses, logs
from broker.children import Children
from broker.exposure import Listening, exposed
from broker.key_watch import KeyWatch
from broker.keyring import Keyring
from broker.memory import Memory
from broker.open_files import OpenFiles, raise_limit
from broker.options import Amount
from broker.parts import children as parts
from broker.problems import UsageProblem
from broker.quickstart import quickstart, told
from broker.registry.core import Registry
from broker.registry.model import Settings
from broker.server import Bus, clock
from broker.sockets import AddressInUse, Sockets
from broker.store import StoreError
from broker.store_sqlite import SqliteStore
from sessionclient import __version__
from sessionclient.errors import Misuse
from sessionclient.wire import MAX_SECONDS

log = logging.getLogger("panelbus.broker")

DEFAULTS: Final = Settings()
ID_BYTES: Final = 16  # of randomness in an id nobody may guess


def _checked(check: Any) -> Any:
    def callback(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
        try:
            check(value)
        except addresses.BadAddress as error:
            raise click.BadParameter(str(error)) from error
        return value

    return callback


def _quickstart(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is None or context.resilient_parsing:
        return
    host = socket.gethostname()
    try:
        click.echo(told(quickstart(Path(value), host), host), nl=False)
    except Misuse as error:
        raise UsageProblem(str(error)) from error
    context.exit()


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
    type=Amount(1.0, MAX_SECONDS),
    help="Seconds of silence after which a session counts as stale.",
)
@click.option(
    "--cleanup-after",
    default=DEFAULTS.cleanup_after,
    type=Amount(1.0, MAX_SECONDS),
    help="Seconds of silence after which a session is ended.",
)
@click.option(
    "--retention-days",
    default=DEFAULTS.retention / 86400,
    type=Amount(0.01, MAX_SECONDS / 86400),
    help="Days that ended sessions and finished commands are kept.",
)
@click.option(
    "--audit-days",
    default=DEFAULTS.audit_retention / 86400,
    type=Amount(1.0, MAX_SECONDS / 86400),
    help="Days it is kept who did what.",
)
@click.option(
    "--keys",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Directory of keys: clients must prove theirs, and everything is encrypted. Made by"
    " `panelbus keygen`.",
)
@click.option(
    "--tokens",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="File of tokens that REST asks for. Made by `panelbus token create`.",
)
@click.option(
    "--users",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of those who may log in to --monitor. Made by `panelbus user add`.",
)
@click.option(
    "--tls-cert",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Serve REST and --monitor by HTTPS with this certificate.",
)
@click.option(
    "--tls-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The certificate's private key.",
)
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="A proxy in front of REST and --monitor speaks HTTPS.",
)
@click.option(
    "--secure-quickstart",
    is_eager=True,
    expose_value=False,
    callback=_quickstart,
    metavar="DIR",
    help="Write keys, a token and a settings file to DIR, say what to do with them, and exit.",
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
@click.version_option(__version__, prog_name="panelbus broker", allow_from_autoenv=False)
def main(**options: Any) -> None:
    logs.set_up(options["log_level"], options["log_format"])
    if bool(options["tls_cert"]) != bool(options["tls_key"]):
        raise UsageProblem("--tls-cert and --tls-key go together; give both")
    _refuse_exposure(options)
    children = Children(parts(options))
    try:
        store = SqliteStore.open(options["db"])
    except StoreError as error:
        raise UsageProblem(str(error)) from error
    try:
        keys = KeyWatch(Keyring(options["keys"])) if options["keys"] else None
        sockets = _sockets(keys, options)
        registry = _registry(store, keys, options)
    except (AddressInUse, StoreError, Misuse) as error:
        store.close()
        raise UsageProblem(str(error)) from error
    sys.exit(_serve(Bus(sockets, registry, store), children, keys, options))


def _sockets(keys: KeyWatch | None, options: dict[str, Any]) -> Sockets:
    key = None if keys is None else Keyring(options["keys"]).broker_key()
    sockets = Sockets(key, None if keys is None else keys.access)
    sockets.bind(options["bus"], options["feed"])
    return sockets


def _serve(bus: Bus, children: Children, keys: KeyWatch | None, options: dict[str, Any]) -> int:
    """Run until a signal; returns the exit status."""
    trouble: list[str] = []
    files, memory = OpenFiles(raise_limit()), Memory()

    def watch(now: float) -> None:
        files.watch(now)
        if keys is not None and keys.changed(now):
            bus.set_access(keys.access)
        memory.watch(now)
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


def _registry(store: SqliteStore, keys: KeyWatch | None, options: dict[str, Any]) -> Registry:
    settings = Settings(
        stale_after=options["stale_after"],
        # or the feed would tell too late that a process was heard
        heard_interval=min(DEFAULTS.heard_interval, options["stale_after"] / 4),
        cleanup_after=options["cleanup_after"],
        retention=options["retention_days"] * 86400,
        audit_retention=options["audit_days"] * 86400,
        # or what is kept for minutes would be kept for an hour
        purge_interval=min(DEFAULTS.purge_interval, options["retention_days"] * 86400 / 10),
    )
    gc.disable()  # all that is made here stays: to look for garbage takes a third of the time
    try:
        loaded = store.load(
            max_tombstones=settings.max_tombstones,
            max_commands=settings.max_commands_kept,
            max_gone=settings.max_gone,
        )
        return Registry(
            loaded,
            clock(),
            new_id=lambda: secrets.token_hex(ID_BYTES),
            feed_address=options["feed"],
            version=__version__,
            settings=settings,
            access=None if keys is None else keys.access,
        )
    finally:
        gc.freeze()  # nor is it looked at again
        gc.enable()


def _refuse_exposure(options: dict[str, Any]) -> None:
    """Beyond loopback anybody could list and kill, so that has to be asked for."""
    found = exposed(
        Listening(
            options["bus"],
            options["feed"],
            options["http"] if options["gateway"] else None,
            keys=options["keys"] is not None,
            tokens=options["tokens"] is not None,
            encrypted=options["tls_cert"] is not None or options["behind_proxy"],
        )
    )
    if found and not options["insecure"]:
        raise UsageProblem(found[0])
    for problem in found:
        log.warning("--insecure: %s", problem.partition(". ")[0])


if __name__ == "__main__":
    main(prog_name="python -m broker")
