"""The monitor as its options want it: its login, its address, and its end."""

from __future__ import annotations

import logging
import os
import secrets
import signal
from typing import Any, Final

import click
from tornado.ioloop import PeriodicCallback

from monitor.live import Live
from monitor.login import Doorkeeper
from monitor.logins import FileAccounts, Logins, OAuthAccounts
from monitor.oauth import OAuth
from monitor.secret_files import cookie_secret, read_secret
from monitor.serving import Guard, Site, check_certificate, serve
from monitor.settings import Settings
from monitor.users import UserFile
from sessionclient import Misuse, closed_tabs

log = logging.getLogger("panelbus.monitor")

LIBRARIES: Final = (
    "asyncio",
    "bokeh",
    "panel",
    "param",
    "tornado",
)  # they log more than anybody reads
PARENT_EVERY_MS: Final = 1_000  # between looks for the process that started this one


def start(settings: Settings, warning: str | None) -> None:
    """Serve until it is ended; ``warning`` is logged once it serves.

    Raises:
        Misuse: options don't go together, a file can't be used, or the port is taken.
    """
    tame_libraries(settings.log_level)
    guard = guarded(settings)
    live = Live(settings.server, settings.key)
    port, address = settings.port, settings.address
    host = f"[{address}]" if ":" in address else address
    # Bokeh reads no IPv6 hosts: such a page comes by name, or by what --allow-origin says
    own = [f"localhost:{port}"] if ":" in address else [f"{address}:{port}", f"localhost:{port}"]
    site = Site(
        port,
        address,
        [*settings.origins, *own],
        settings.tls_cert,
        settings.tls_key,
        settings.behind_proxy,
    )
    try:
        serving = serve(live, site, guard)
    except OSError as error:
        live.close()
        raise Misuse(
            f"can't listen on {host}:{port}: {error.strerror or error}; choose another port with"
            " --port or host with --address, or stop what holds it"
        ) from error
    if warning is not None:
        log.warning("%s", warning)
    live.start()
    scheme = "https" if site.certificate is not None else "http"
    run(serving, f"{scheme}://{host}:{port}", settings.parent_pid)
    live.close()


def tame_libraries(level: str) -> None:
    """Their lines, from a warning on, among ours."""
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()  # they bring their own, which know nothing of our form
        library.propagate = True
        library.setLevel(logging.ERROR if level == "error" else logging.WARNING)
    # it writes a provider's answers down, tokens included; monitor.oauth says what went wrong
    logging.getLogger("panel.auth").setLevel(logging.CRITICAL)


def guarded(settings: Settings) -> Guard | None:
    """The login that the options ask for; None for none.

    Raises:
        Misuse: options don't go together, or a file can't be used.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is not None and key is not None:
        check_certificate(cert, key)
    elif cert is not None or key is not None:
        raise Misuse("--tls-cert and --tls-key go together")
    secure = cert is not None or settings.behind_proxy
    lifetime = 3600 * settings.login_hours
    if settings.oauth_provider is not None:
        oauth = asked_elsewhere(settings)
        accounts = OAuthAccounts(names(settings.oauth_operators), names(settings.oauth_viewers))
        file = settings.cookie_secret_file
        secret = cookie_secret(file) if file is not None else secrets.token_hex(32)
        keeper = Doorkeeper(Logins(accounts, lifetime), None, secure=secure)
        return Guard(keeper, secret, oauth)
    if settings.users is None:
        return None
    users = UserFile(settings.users)
    beside = settings.users.with_name(f"{settings.users.name}.cookie-secret")
    secret = cookie_secret(settings.cookie_secret_file or beside)
    logins = Logins(FileAccounts(users), lifetime)
    return Guard(Doorkeeper(logins, users, secure=secure), secret)


def asked_elsewhere(settings: Settings) -> OAuth:
    """The provider, with all that it takes; raises Misuse."""
    provider, key = settings.oauth_provider, settings.oauth_key
    file, uri = settings.oauth_secret_file, settings.oauth_redirect_uri
    if settings.users is not None:
        raise Misuse("--users and --oauth-provider are two logins; give one of them")
    if provider is None or not key or file is None or not uri:
        raise Misuse(
            "--oauth-provider needs --oauth-key ID, --oauth-secret-file FILE and"
            " --oauth-redirect-uri URL"
        )
    if not names(settings.oauth_operators) | names(settings.oauth_viewers):
        raise Misuse(
            "--oauth-provider lets nobody in until you say whom: --oauth-operators NAME,... and"
            " --oauth-viewers NAME,..., or --oauth-viewers '*' for everybody with an account there"
        )
    return OAuth(provider, key, read_secret(file, "the client secret"), uri)


def names(said: str | None) -> frozenset[str]:
    """Those of a list with commas."""
    return frozenset(filter(None, map(str.strip, (said or "").split(","))))


def run(serving: Any, url: str, parent_pid: int | None) -> None:
    """Serve until SIGINT or SIGTERM, or until the process that started this one is gone."""

    def stop(*_: Any) -> None:
        serving.io_loop.add_callback_from_signal(serving.io_loop.stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)

    def look_for_parent() -> None:
        if os.getppid() != parent_pid:
            serving.io_loop.stop()

    if parent_pid is not None:  # a broker that was killed hard could not end us
        PeriodicCallback(look_for_parent, PARENT_EVERY_MS).start()
    serving.io_loop.asyncio_loop.set_exception_handler(closed_tabs.are_no_news)
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)  # nor to be warned of
    serving.start()
    click.echo(f"monitor on {url}", err=True)
    serving.io_loop.start()
    serving.stop()
