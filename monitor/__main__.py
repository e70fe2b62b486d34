"""``python -m monitor``: serve the live monitor."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from monitor import exposure
from monitor.settings import PROVIDERS, Settings
from sessionclient import Misuse, __version__, logs
from sessionclient.address import DEFAULT_URL, check_url

ORIGIN: Final = re.compile(r"[A-Za-z0-9._*-]+(:[0-9]{1,5})?")
FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command(
    context_settings={"auto_envvar_prefix": "PANELBUS", "show_default": True},
    help="Serve the live monitor. Every option can also be set as PANELBUS_<OPTION>.",
)
@click.option(
    "--server",
    envvar=["PANELBUS_SERVER", "PANELBUS_URL"],
    default=DEFAULT_URL,
    help="The broker's address.",
)
@click.option("--key", type=FILE, metavar="FILE", help="Our key, for a broker that asks for keys.")
@click.option("--port", default=5006, type=click.IntRange(1, 65535), help="TCP port to serve on.")
@click.option("--address", default="127.0.0.1", help="Host name or address to serve on.")
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    envvar="PANELBUS_ALLOW_ORIGIN",
    metavar="HOST[:PORT]",
    help="Also serve pages of this host, as behind a proxy; may be repeated.",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Serve beyond loopback without a login: whoever reaches the port can end sessions.",
)
@click.option(
    "--users", type=FILE, metavar="FILE", help="Who may log in; panelbus user writes this file."
)
@click.option(
    "--cookie-secret-file",
    type=FILE,
    metavar="FILE",
    help="What logins are signed with, made on first use; by default beside the users' file.",
)
@click.option(
    "--login-hours",
    default=12.0,
    type=click.FloatRange(min=0.01, max=720.0),
    help="How long a login lasts.",
)
@click.option(
    "--oauth-provider", type=click.Choice(PROVIDERS), help="Log in at this provider instead."
)
@click.option("--oauth-key", metavar="ID", help="The client id that the provider knows us by.")
@click.option(
    "--oauth-secret-file", type=FILE, metavar="FILE", help="The file with the client secret."
)
@click.option(
    "--oauth-redirect-uri", metavar="URL", help="Our address that the provider knows: .../login"
)
@click.option(
    "--oauth-operators",
    metavar="NAME,...",
    help="Who of the provider's users is an operator.",
)
@click.option(
    "--oauth-viewers",
    metavar="NAME,...",
    help="Who else may log in; '*' for everybody whom the provider lets in.",
)
@click.option("--tls-cert", type=FILE, metavar="FILE", help="Serve HTTPS with this certificate.")
@click.option("--tls-key", type=FILE, metavar="FILE", help="The certificate's private key.")
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="A proxy in front speaks HTTPS; trust its X-Real-IP and X-Forwarded headers.",
)
@click.option(
    "--log-level",
    default="info",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least severe line that is logged.",
)
@click.option(
    "--log-format", default="text", type=click.Choice(["text", "json"]), help="Form of log lines."
)
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@click.version_option(__version__, prog_name="panelbus monitor", allow_from_autoenv=False)
def main(**options: Any) -> None:
    settings = Settings(**options)
    logs.set_up(settings.log_level, settings.log_format)
    try:
        check_url(settings.server)
    except Misuse as error:
        raise click.BadParameter(str(error), param_hint="--server") from error
    for origin in settings.origins:
        if ORIGIN.fullmatch(origin) is None:
            raise click.BadParameter(
                f"{origin!r} is not HOST or HOST:PORT, without http://", param_hint="--allow-origin"
            )
    try:
        warning = exposure.check(exposed(settings))
        # only now, because Panel takes seconds to load: not for --help, nor for a wrong option
        from monitor.running import start

        start(settings, warning)
    except (exposure.Refused, Misuse) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """One line on stderr, exit status 2."""
    click.echo(f"monitor: {message}", err=True)
    sys.exit(2)


def exposed(settings: Settings) -> exposure.Exposure:
    return exposure.Exposure(
        settings.address,
        settings.users is not None or settings.oauth_provider is not None,
        settings.tls_cert is not None,
        settings.behind_proxy,
        settings.insecure,
    )


if __name__ == "__main__":
    main(prog_name="python -m monitor")
