"""The monitor's server: Panel's, with a login in front, safe headers, and nothing needless open."""

from __future__ import annotations

import logging
import secrets
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import panel as pn
from panel.io.server import AuthenticatedStaticFileHandler, ComponentResourceHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.ioloop import PeriodicCallback
from tornado.web import HTTPError, OutputTransform, RequestHandler

from monitor.dashboard import MonitorDashboard
from monitor.grid import SCRIPT, STYLE, WHEEL
from monitor.live import Live
from monitor.login import Doorkeeper, login_of_document
from monitor.oauth import OAuth, door
from sessionclient.errors import Misuse

requests_log = logging.getLogger("panelbus.monitor.requests")

ASSETS: Final = "perspective"  # under this path, beside the page
UNUSED_MS: Final = 10_000  # a page that was closed is forgotten after this
SWEEP_MS: Final = 1_000  # between looks for open pages whose login has ended
MAX_BODY_BYTES: Final = 64 * 1024  # of a form; websockets have a limit of their own
BODY_TIMEOUT: Final = 10.0  # seconds a form may take to arrive
# Bokeh, Panel and Perspective write scripts and styles into the page, compile WebAssembly, and
# load modules from blobs; but nothing comes from, goes to or is shown on another host.
POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:;"
    " style-src 'self' 'unsafe-inline' blob: data:; img-src 'self' data: blob:;"
    " font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob: data:;"
    " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FOREVER: Final = "max-age=31536000"  # of HTTPS, in seconds


class Site(NamedTuple):
    """Where and how to serve."""

    port: int
    address: str
    origins: list[str]
    certificate: Path | None = None
    certificate_key: Path | None = None
    behind_proxy: bool = False

    @property
    def secure(self) -> bool:
        """Whether browsers come by HTTPS."""
        return self.certificate is not None or self.behind_proxy


class Guard(NamedTuple):
    """The login in front."""

    keeper: Doorkeeper
    cookie_secret: str
    oauth: OAuth | None = None


class SafeHeaders(OutputTransform):
    """Puts the headers that keep browsers safe on every answer, errors and files included."""

    def __init__(self, request: HTTPServerRequest, *, secure: bool) -> None:
        super().__init__(request)
        self._secure = secure

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        del finishing
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        if self._secure:
            headers["Strict-Transport-Security"] = FOREVER
        # Bokeh lets scripts of other hosts read autoload.js, cookies included
        for name in [name for name in headers if name.startswith("Access-Control-")]:
            del headers[name]
        headers["Server"] = "panelbus"
        return status_code, headers, chunk


class Components(AuthenticatedStaticFileHandler, ComponentResourceHandler):
    """Files of Panel's components: behind the login, and of modules that are in use already.

    Panel's own would import any module that a stranger names.
    """

    def parse_url_path(self, path: str) -> str:
        if path.partition("/")[0] not in sys.modules:
            raise HTTPError(404)
        found: str = super().parse_url_path(path)
        return found


def log_request(handler: RequestHandler) -> None:
    """One line a request, without its query: that may hold what nobody else should read."""
    level = logging.WARNING if handler.get_status() >= 500 else logging.DEBUG
    request = handler.request
    requests_log.log(
        level,
        "%s %.200s from %s: %d in %.0f ms",
        request.method,
        request.path,
        request.remote_ip,
        handler.get_status(),
        1000 * request.request_time(),
    )


def check_certificate(certificate: Path, key: Path) -> None:
    """Raises Misuse when a server can't prove itself with these."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # a password is never asked for: nobody sits at a service's terminal
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        why = "they are no certificate and its key without a password"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            why = error.strerror or str(error)
        raise Misuse(
            f"can't serve HTTPS with --tls-cert {certificate} and --tls-key {key}: {why}"
        ) from error


def serve(live: Live, site: Site, guard: Guard | None = None) -> Any:
    """The server, listening, not yet running. Nothing on its pages asks another host.

    Raises:
        OSError: it can't listen there.
    """
    # what extra patterns serve is not behind the server's login by itself
    files = (
        rf"/{ASSETS}/({SCRIPT}|{STYLE})".replace(".", r"\."),
        AuthenticatedStaticFileHandler,
        {"path": str(WHEEL)},
    )
    settings = {**_of_all(site), **(_of_login(guard) if guard else {})}
    serving = pn.serve(
        {"/": lambda: _page(live)},  # a partial would be shown, not called
        port=site.port,
        address=site.address,
        websocket_origin=site.origins,
        title="Panelbus monitor",
        extra_patterns=[files, (r"/components/(.*)", Components, {})],
        show=False,
        start=False,
        verbose=False,
        unused_session_lifetime_milliseconds=UNUSED_MS,
        check_unused_sessions_milliseconds=UNUSED_MS // 2,
        **settings,
    )
    if guard is not None:
        keeper = guard.keeper
        look = PeriodicCallback(lambda: keeper.sweep(serving.get_sessions("/")), SWEEP_MS)
        look.start()
    return serving


def _page(live: Live) -> MonitorDashboard:
    """One page, for whoever is logged in."""
    return MonitorDashboard(
        live,
        module_url=f"{ASSETS}/{SCRIPT}",
        style_url=f"{ASSETS}/{STYLE}",
        full_page=True,
        login=login_of_document(pn.state.curdoc),
    )


def _of_all(site: Site) -> dict[str, Any]:
    flags: dict[str, Any] = {"httponly": True, "samesite": "Strict", "secure": site.secure}
    found: dict[str, Any] = {
        # a page's token goes through its HTML: it must neither be forged nor hold a login
        "sign_sessions": True,
        "secret_key": secrets.token_bytes(32),
        "include_cookies": [],
        "exclude_headers": ["Cookie", "Authorization"],
        "xsrf_cookies": True,
        "xsrf_cookie_name": "__Host-panelbus-form" if site.secure else "panelbus-form",
        "xsrf_cookie_kwargs": {**flags, "expires_days": None},
        "transforms": [partial(SafeHeaders, secure=site.secure)],
        "log_function": log_request,
        "use_xheaders": site.behind_proxy,
        "http_server_kwargs": {"max_body_size": MAX_BODY_BYTES, "body_timeout": BODY_TIMEOUT},
    }
    if site.certificate is not None:
        found |= {
            "ssl_certfile": str(site.certificate),
            "ssl_keyfile": str(site.certificate_key),
            "ssl_password": "",
        }
    return found


def _of_login(guard: Guard) -> dict[str, Any]:
    found: dict[str, Any] = {"auth_provider": guard.keeper, "cookie_secret": guard.cookie_secret}
    if guard.oauth is not None:
        guard.keeper.door = door(guard.oauth.provider)
        found |= {
            "oauth_key": guard.oauth.key,
            "oauth_secret": guard.oauth.secret,
            "oauth_redirect_uri": guard.oauth.redirect_uri,
        }
    return found
