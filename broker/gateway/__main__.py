"""``python -m broker.gateway``: the REST gateway alone, beside its broker or on another host."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

import click

from broker import logs
from broker.gateway.access import DEFAULT_BURST, DEFAULT_RATE, Rates
from broker.gateway.app import Admission
from broker.gateway.exposure import objection
from broker.gateway.guard import LOOPBACK_HOSTS, host_of
from broker.gateway.rates import Buckets
from broker.gateway.serving import CannotListen, bind, serve
from broker.gateway.tls import PASSWORD_VARIABLE, BadCertificate, Tls
from broker.gateway.token_file import TokenFile
from broker.gateway.tokens import BadTokens
from broker.options import Amount
from sessionclient import AsyncOperator
from sessionclient.address import DEFAULT_URL, check_url, is_loopback
from sessionclient.errors import Misuse

DEFAULT_HTTP: Final = "127.0.0.1:8000"
DEFAULT_TIMEOUT: Final = 10.0  # seconds
EXIT_BAD_SETTING: Final = 2

_HTTP_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})")


_ORIGIN: Final = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")

log = logging.getLogger("panelbus.gateway")


def _check_http(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, int]:
    match = _HTTP_ADDRESS.fullmatch(value)
    if match is None or int(match.group(3)) > 65535:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, such as {DEFAULT_HTTP}")
    return match.group(1) or match.group(2), int(match.group(3))


def _check_server(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return check_url(value)
    except Misuse as error:
        raise click.BadParameter(str(error)) from error


def _check_hosts(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    for value in values:
        if host_of(value) != value.lower().rstrip("."):
            raise click.BadParameter(
                f"{value!r} is not a host name; give it without port, IPv6 in brackets"
            )
    return values


def _check_origins(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    for value in values:
        if _ORIGIN.fullmatch(value) is None:
            raise click.BadParameter(
                f"{value!r} is not an origin; give each as a browser writes it, such as"
                " https://apps.example.com: lower case, no path, no port if it is the usual one"
            )
    return values


_PEM: Final = click.Path(dir_okay=False, path_type=Path)


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.option(
    "--server",
    metavar="ADDR",
    default=DEFAULT_URL,
    envvar=["PANELBUS_SERVER", "PANELBUS_URL"],
    show_envvar=True,
    callback=_check_server,
    help="The broker's bus address.",
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    default=DEFAULT_HTTP,
    envvar="PANELBUS_HTTP",
    show_envvar=True,
    callback=_check_http,
    help="Where to listen; port 0 takes a free one.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=Amount(0.1, 3600),
    default=DEFAULT_TIMEOUT,
    envvar="PANELBUS_TIMEOUT",
    show_envvar=True,
    help="How long a request waits for the broker, in seconds.",
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    envvar="PANELBUS_ALLOW_HOST",
    show_envvar=True,
    callback=_check_hosts,
    help="Also answer to this name in Host and Origin, without port; may be repeated"
    " (in the variable: separated by blanks).",
)
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="PANELBUS_TOKENS",
    show_envvar=True,
    help="Ask for a token of this file with each request; `panelbus token create` makes it.",
)
@click.option(
    "--tls-cert",
    metavar="FILE",
    type=_PEM,
    envvar="PANELBUS_TLS_CERT",
    show_envvar=True,
    help="Serve HTTPS with this certificate and its chain, in PEM.",
)
@click.option(
    "--tls-key",
    metavar="FILE",
    type=_PEM,
    envvar="PANELBUS_TLS_KEY",
    show_envvar=True,
    help=f"The certificate's key, in PEM; its password, if any, in {PASSWORD_VARIABLE}.",
)
@click.option(
    "--behind-proxy",
    is_flag=True,
    envvar="PANELBUS_BEHIND_PROXY",
    show_envvar=True,
    help="A proxy in front of it speaks TLS: listen beyond loopback without, with --tokens.",
)
@click.option(
    "--rate",
    metavar="N",
    type=Amount(0.1, 1_000_000),
    default=DEFAULT_RATE,
    envvar="PANELBUS_RATE",
    show_envvar=True,
    help="Requests a second that each token, or each address without one, may make.",
)
@click.option(
    "--burst",
    metavar="N",
    type=Amount(1, 1_000_000),
    default=DEFAULT_BURST,
    envvar="PANELBUS_BURST",
    show_envvar=True,
    help="How many of them at once.",
)
@click.option(
    "--allow-origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    # not PANELBUS_ALLOW_ORIGIN, which is the monitor's and has no scheme
    envvar="PANELBUS_CORS_ORIGIN",
    show_envvar=True,
    callback=_check_origins,
    help="Let pages of this origin, such as https://apps.example.com, ask from their browsers"
    " (CORS); may be repeated (in the variable: separated by blanks).",
)
@click.option(
    "--insecure",
    is_flag=True,
    envvar="PANELBUS_INSECURE",
    show_envvar=True,
    help="Listen beyond loopback also without tokens or TLS: whoever reaches the port, or reads"
    " along, can end sessions.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    envvar="PANELBUS_LOG_LEVEL",
    show_envvar=True,
    help="The least severe messages to log, on stderr.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="PANELBUS_LOG_FORMAT",
    show_envvar=True,
    help="Form of log lines.",
)
@click.option(
    "--parent-pid",
    type=click.IntRange(min=1),
    envvar="PANELBUS_PARENT_PID",
    hidden=True,
    help="Stop when this process is no longer the parent.",
)
def command(**options: Any) -> None:
    """REST, metrics and API pages in front of a Panelbus broker."""
    _set_up_logging(options["log_level"].lower(), options["log_format"])
    tls = _tls(options)
    tokens = None if options["tokens"] is None else TokenFile(options["tokens"])
    host, port = options["http"]
    refusal = objection(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        tokens=None if tokens is None else str(options["tokens"]),
        tls=tls is not None,
        behind_proxy=options["behind_proxy"],
        insecure=options["insecure"],
    )
    with bind(host, port, only_loopback=refusal) as sock:
        on_loopback = is_loopback(str(sock.getsockname()[0]))
        if tokens is None and not on_loopback:
            log.warning("%s:%d is open to everybody who can reach it", host, port)
        admission = Admission(
            allowed_hosts=_allowed_hosts(options["hosts"], on_loopback),
            tokens=tokens,
            rates=Rates(requests=Buckets(options["rate"], options["burst"])),
            origins=options["origins"],
            https=tls is not None,
        )

        async def run() -> None:
            # made here, because an operator belongs to the loop that is running then
            operator = AsyncOperator(options["server"], timeout=options["timeout"])
            await serve(
                operator, sock, admission=admission, tls=tls, parent_pid=options["parent_pid"]
            )

        asyncio.run(run())


def _tls(options: dict[str, Any]) -> Tls | None:
    """The certificate, tried out; None when there is none.

    Raises:
        click.UsageError: only one of the two files is given.
        BadCertificate: they can't be used.
    """
    certificate, key = options["tls_cert"], options["tls_key"]
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise click.UsageError("give both --tls-cert and --tls-key")
    tls = Tls(certificate, key, os.environ.get(PASSWORD_VARIABLE))
    tls.check()
    return tls


def _allowed_hosts(hosts: tuple[str, ...], on_loopback: bool) -> frozenset[str] | None:
    return LOOPBACK_HOSTS | set(hosts) if on_loopback or hosts else None


def _set_up_logging(level: str, form: str) -> None:
    logs.set_up(level, form)
    if level != "debug":
        # how far uvicorn is with starting and stopping is of no interest to anybody else
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def main() -> int:
    """Run the command; the exit status, 2 for a bad setting with one line on stderr."""
    try:
        result = command.main(prog_name="python -m broker.gateway", standalone_mode=False)
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (BadCertificate, BadTokens, CannotListen, Misuse) as error:
        return _refuse(str(error))
    except (click.Abort, KeyboardInterrupt):
        return 130
    return result if isinstance(result, int) else 0


def _refuse(why: str) -> int:
    # commands to copy stand on lines of their own, indented; all else is one line
    first, *commands = why.split("\n  ")
    print("\n  ".join([f"gateway: {' '.join(first.split())}", *commands]), file=sys.stderr)
    return EXIT_BAD_SETTING


if __name__ == "__main__":
    sys.exit(main())
