"""``python -m broker.gateway``: the REST gateway alone, beside its broker or on another host."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import sys
from typing import Final

import click

from broker import logs
from broker.gateway.guard import LOOPBACK_HOSTS, host_of
from broker.gateway.serving import CannotListen, bind, is_loopback_address, serve
from sessionclient import AsyncOperator
from sessionclient.address import DEFAULT_URL, check_url
from sessionclient.errors import Misuse

DEFAULT_HTTP: Final = "127.0.0.1:8000"
DEFAULT_TIMEOUT: Final = 10.0  # seconds
EXIT_BAD_SETTING: Final = 2

_HTTP_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]+)):([0-9]{1,5})")


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


def _check_timeout(_context: click.Context, _option: click.Parameter, value: float) -> float:
    # click's range lets NaN through: every comparison with it is false
    if math.isnan(value):
        raise click.BadParameter("nan is not a number of seconds")
    return value


def _check_hosts(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    for value in values:
        if host_of(value) != value.lower().rstrip("."):
            raise click.BadParameter(
                f"{value!r} is not a host name; give it without port, IPv6 in brackets"
            )
    return values


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
    type=click.FloatRange(0.1, 3600),
    default=DEFAULT_TIMEOUT,
    envvar="PANELBUS_TIMEOUT",
    show_envvar=True,
    callback=_check_timeout,
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
    "--insecure",
    is_flag=True,
    envvar="PANELBUS_INSECURE",
    show_envvar=True,
    help="Listen beyond loopback without a login: whoever reaches the port can end sessions.",
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
def command(
    server: str,
    http: tuple[str, int],
    timeout: float,
    hosts: tuple[str, ...],
    insecure: bool,
    log_level: str,
    log_format: str,
    parent_pid: int | None,
) -> None:
    """REST, metrics and API pages in front of a Panelbus broker."""
    _set_up_logging(log_level.lower(), log_format)
    with bind(*http, beyond_loopback=insecure) as sock:
        on_loopback = is_loopback_address(str(sock.getsockname()[0]))
        allowed = LOOPBACK_HOSTS | set(hosts) if on_loopback or hosts else None

        async def run() -> None:
            # made here, because an operator belongs to the loop that is running then
            operator = AsyncOperator(server, timeout=timeout)
            await serve(operator, sock, allowed_hosts=allowed, parent_pid=parent_pid)

        asyncio.run(run())


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
    except (CannotListen, Misuse) as error:
        return _refuse(str(error))
    except (click.Abort, KeyboardInterrupt):
        return 130
    return result if isinstance(result, int) else 0


def _refuse(why: str) -> int:
    line = " ".join(why.split())
    print(f"gateway: {line}", file=sys.stderr)
    return EXIT_BAD_SETTING


if __name__ == "__main__":
    sys.exit(main())
