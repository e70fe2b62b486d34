"""``panelbus doctor``: every check, one line each, with what to do."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from broker import addresses
from broker.doctor import facts, findings, network
from broker.doctor.findings import BrokerFacts, DatabaseFacts, Finding, PortFacts
from sessionclient.address import check_url
from sessionclient.cli.shared import CONTEXT, json_option, plain, print_json, server_options
from sessionclient.errors import Misuse
from sessionclient.version import __version__

GATEWAY_SIGN: Final = b'{"status":"ok"}'  # what /healthz of a gateway says
MONITOR_SIGN: Final = b"Panelbus monitor"  # the title of its page


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What was looked at once and serves several checks."""

    database: DatabaseFacts
    broker: BrokerFacts
    ports: list[PortFacts]


def check_database(seen: Seen) -> list[Finding]:
    return findings.database(seen.database)


def check_broker(seen: Seen) -> list[Finding]:
    return findings.broker(seen.broker, seen.database.holder, __version__)


def check_ports(seen: Seen) -> list[Finding]:
    return findings.ports(seen.ports, broker_runs=seen.broker.error is None)


def check_secrets(_seen: Seen) -> list[Finding]:
    return findings.secrets(facts.open_secrets(os.environ))


def check_open_files(seen: Seen) -> list[Finding]:
    pid = facts.broker_process(seen.database.holder)
    return findings.open_files(facts.open_files_limit(pid), of_broker=pid is not None)


def check_versions(_seen: Seen) -> list[Finding]:
    return findings.versions(facts.versions())


# every check there is, in the order of its lines; one more is one more function here
CHECKS: Final[tuple[Callable[[Seen], list[Finding]], ...]] = (
    check_database,
    check_broker,
    check_ports,
    check_secrets,
    check_open_files,
    check_versions,
)


@click.command(
    context_settings=CONTEXT,
    help="Look at the database, the broker, its ports and the host, and say what is wrong and what"
    " to do. Changes nothing; works with and without a running broker. The exit status is 1 when"
    " something fails, 0 with warnings.",
)
@click.option(
    "--db",
    envvar="PANELBUS_DB",
    default="sessions.db",
    type=click.Path(path_type=Path),
    help="The broker's database.",
)
@click.option(
    "--feed",
    envvar="PANELBUS_FEED",
    show_default="the port after --server",
    help="Address of the broker's feed.",
)
@click.option("--http", default="http://127.0.0.1:8000", metavar="URL", help="The REST gateway.")
@click.option("--monitor", default="http://127.0.0.1:5006", metavar="URL", help="The monitor.")
@json_option
@server_options
def main(
    db: Path,
    feed: str | None,
    http: str,
    monitor: str,
    as_json: bool,
    server: str,
    timeout: float,
) -> None:
    urls = {"--http": http, "--monitor": monitor}
    _check_usage(server, feed, urls)
    seen = _look(db, server, timeout, feed, urls)
    found = [finding for check in CHECKS for finding in check(seen)]
    if as_json:
        print_json([finding._asdict() for finding in found])
    else:
        for finding in found:
            click.echo(_line(finding))
    if any(finding.level == "fail" for finding in found):
        raise click.exceptions.Exit(1)


def _check_usage(server: str, feed: str | None, urls: dict[str, str]) -> None:
    try:
        check_url(server)
        if feed is not None:
            addresses.bus_address(feed)
        for option, url in urls.items():
            scheme, _, rest = url.partition("://")
            if scheme not in ("http", "https"):
                text = f"{option} must be http://HOST:PORT or https://HOST:PORT, not {url!r:.80}"
                raise click.UsageError(text)
            addresses.http_address(rest)
    except (Misuse, addresses.BadAddress) as error:
        raise click.UsageError(str(error)) from error


def _look(db: Path, server: str, timeout: float, feed: str | None, urls: dict[str, str]) -> Seen:
    broker, epoch = network.broker(server, timeout)
    ports = [network.bus_port(broker)]
    feed_at = network.feed_address(feed, server)
    if feed_at is not None:
        ports.append(network.feed_port(feed_at, epoch))
    ports.append(network.http_port("http", urls["--http"], "/healthz", GATEWAY_SIGN, "--http"))
    ports.append(network.http_port("monitor", urls["--monitor"], "/", MONITOR_SIGN, "--port"))
    return Seen(facts.database(db), broker, ports)


def _line(finding: Finding) -> str:
    todo = f" -> {finding.todo}" if finding.todo else ""
    return plain(f"{finding.level:4}  {finding.check:9}  {finding.text}{todo}")


if __name__ == "__main__":
    main(prog_name="python -m broker.doctor")
