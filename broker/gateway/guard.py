"""Who may ask: no web page behind the user's back, and no page in a frame.

A browser lets any page send requests to 127.0.0.1, and a name that resolves there (DNS rebinding)
even lets it read the answers. So on loopback a request must be for a loopback name (`Host`) and,
when it comes from a page (`Origin`), from a page of a loopback name. A foreign Host is answered
with 421 (this server does not speak for that name), a foreign Origin with 403. Ports are not
looked at: the monitor is a page on another port of the same host.

Without a list of names (beyond loopback, where the gateway can't know what it is called) the page's
host must be the one asked for. Nothing is allowed to other origins but those named one by one
(`--allow-origin`), for which Starlette's middleware speaks CORS behind this one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.gateway.problems import SECURITY_HEADERS, problem
from sessionclient.address import is_loopback

# a year; ports don't count here, so never for localhost: it would take other servers' http away
HSTS: Final = "max-age=31536000"
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

# host[:port], the host a name, an IPv4 address or an IPv6 address in brackets
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::[0-9]{0,5})?")


def host_of(authority: str) -> str | None:
    """The host of ``host[:port]`` in lower case without a final dot; None when malformed."""
    match = _AUTHORITY.fullmatch(authority.lower())
    return match.group(1).rstrip(".") if match else None


class Guard:
    """Pure ASGI middleware: refuses foreign hosts and origins, adds `SECURITY_HEADERS`.

    Args:
        app: What it guards.
        allowed_hosts: Names without port that this server answers to, beside loopback addresses;
            IPv6 in brackets. None: any name, and pages only of the very host asked for.
        origins: Further origins whose pages may ask, as browsers write them.
        https: Whether it is served by TLS, and browsers are to keep to that.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Collection[str] | None,
        origins: Collection[str] = (),
        https: bool = False,
    ) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._https = https
        self._allowed = (
            None
            if allowed_hosts is None
            else frozenset(h.lower().rstrip(".") for h in allowed_hosts)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        # latin-1 takes any byte; what is not a host's character is refused by the pattern
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        host = host_of(hosts[0]) if len(hosts) == 1 else None
        strict = self._https and host is not None and host != "localhost" and not is_loopback(host)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if strict:
                    headers["Strict-Transport-Security"] = HSTS
            await send(message)

        if host is None or not self._serves(host):
            refusal = problem(
                scope,
                421,
                "foreign_host",
                "this gateway does not answer to the name in the Host header; use its loopback"
                " address, or start it with --allow-host NAME",
            )
            await refusal(scope, receive, send_guarded)
        elif not all(self._trusts(origin, host) for origin in origins):
            refusal = problem(
                scope,
                403,
                "foreign_origin",
                "pages of another origin may not use this gateway; ask it from its own host, or"
                " without an Origin header, or start it with --allow-origin ORIGIN",
            )
            await refusal(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    def _serves(self, host: str) -> bool:
        # an address can't be rebound to another one, so any of loopback's is as good as the first
        return self._allowed is None or host in self._allowed or is_loopback(host)

    def _trusts(self, origin: str, host: str) -> bool:
        if origin in self._origins:
            return True
        scheme, separator, authority = origin.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            return False  # "null" (a sandboxed page, a file) and browser extensions
        page = host_of(authority)
        if page is None:
            return False
        return page == host if self._allowed is None else self._serves(page)
