"""The gateway as a process: its socket, its server, and how it stops.

Stopping, on SIGINT, SIGTERM or the parent's end: no new connection is taken; what is being served
gets `GRACE_SECONDS` to finish; then the link is closed, so that whatever still waits for the broker
is answered (a waiting kill with the stage it has, anything else with 503) instead of cut off; at
last what remains is cancelled. It fits into the 1.5 s that a broker gives its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
from functools import partial
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from broker.gateway.app import Admission, create_app
from broker.gateway.connection import MAX_CONNECTIONS, MAX_HEAD_BYTES, Bounds, Connection, Rarely
from broker.gateway.operator_like import OperatorLike
from broker.gateway.tls import Tls
from broker.open_files import raise_limit
from sessionclient.address import is_loopback

GRACE_SECONDS: Final = 0.5
LAST_CALL_SECONDS: Final = 1  # from the start of stopping to cancelling what remains
CLOSE_SECONDS: Final = 0.5
PARENT_CHECK_SECONDS: Final = 1.0
_BACKLOG: Final = 1024
OTHER_FILES: Final = 100  # the gateway's own, beside its connections

log = logging.getLogger("panelbus.gateway")


class CannotListen(Exception):
    """The address can't be listened on; the message says why and what to do."""


def bind(host: str, port: int, *, only_loopback: str | None) -> socket.socket:
    """A listening TCP socket; port 0 takes any free one.

    Args:
        host: A name or an address, IPv6 without brackets.
        port: 0 to 65535.
        only_loopback: Why other machines may not be served; None: they may.

    Raises:
        CannotListen: unknown host, taken port, no right to it, or not on loopback.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"unknown host {host!r}: {error}") from error
    family, kind, protocol, _, address = found[0]
    if only_loopback is not None and not is_loopback(str(address[0])):
        raise CannotListen(f"{host} is not a loopback address, so {only_loopback}")
    sock = socket.socket(family, kind, protocol)
    try:
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # else connections of a gateway just stopped would hold the port for a minute
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        # with SO_REUSEADDR only listening shows that another one has the port
        sock.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        sock.close()
        said = getattr(error, "strerror", None) or str(error)
        raise CannotListen(f"can't listen on {_shown(host)}:{port}: {said}") from error
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket, scheme: str = "http") -> str:
    """Where a listening socket is reached by HTTP."""
    host, port = sock.getsockname()[:2]
    return f"{scheme}://{_shown(host)}:{port}"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Server(uvicorn.Server):
    """uvicorn's server that says where it listens and lets no request wait for the broker while
    it stops."""

    def __init__(self, config: uvicorn.Config, operator: OperatorLike) -> None:
        super().__init__(config)
        self._operator = operator

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Stop soon. Any number of times, also as a signal handler."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for sock in sockets or ():
            scheme = "https" if self.config.is_ssl else "http"
            log.info("gateway listening on %s", url_of(sock, scheme))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        closing = asyncio.create_task(self._close_link_soon())
        try:
            await super().shutdown(sockets)
        finally:
            closing.cancel()

    async def _close_link_soon(self) -> None:
        await asyncio.sleep(GRACE_SECONDS)
        await self._operator.aclose()


def server_config(app: ASGIApp, bounds: Bounds, tls: Tls | None = None) -> uvicorn.Config:
    """How uvicorn serves an app within these bounds, with a certificate or by plain HTTP."""
    # one parser everywhere, whatever else is installed
    protocol: Any = partial(Connection, bounds=bounds)
    config = uvicorn.Config(
        app,
        interface="asgi3",
        http=protocol,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever asks would say so himself
        timeout_graceful_shutdown=LAST_CALL_SECONDS,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
        ssl_keyfile_password=None if tls is None else tls.password,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


async def serve(
    operator: OperatorLike,
    sock: socket.socket,
    *,
    admission: Admission,
    tls: Tls | None = None,
    parent_pid: int | None = None,
) -> None:
    """Serve the gateway on a listening socket until SIGINT, SIGTERM or the parent's end.

    Args:
        operator: The link to the broker; closed at the end.
        sock: From `bind`.
        admission: As of `create_app`.
        tls: The certificate to serve with; None: plain HTTP.
        parent_pid: Stop when this process is no longer our parent.
    """
    app = create_app(operator, admission)
    config = server_config(app, Bounds(connections=_connections_allowed()), tls)
    logging.getLogger("uvicorn.error").addFilter(Rarely())
    server = _Server(config, operator)
    # uvicorn raises the signal again when it has stopped: our handler makes that harmless
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.stop)
    watcher = None
    if parent_pid is not None:
        watcher = asyncio.create_task(_stop_with_parent(server, parent_pid))
    try:
        await server.serve(sockets=[sock])
    finally:
        if watcher is not None:
            watcher.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(operator.aclose(), CLOSE_SECONDS)


def _connections_allowed() -> int:
    """As many as wanted, or as there are files for: without one left nobody could connect."""
    files = raise_limit(MAX_CONNECTIONS + OTHER_FILES)
    return MAX_CONNECTIONS if files is None else max(1, min(MAX_CONNECTIONS, files - OTHER_FILES))


async def _stop_with_parent(server: _Server, parent_pid: int) -> None:
    # An orphan gets another parent. Looking each second also finds a parent that was gone before
    # we started, which a notice at its death would miss. (Windows keeps the old number: there
    # only a signal stops us.)
    while not server.should_exit:
        if os.getppid() != parent_pid:
            log.warning("the broker that started this gateway is gone: stopping")
            server.stop()
        await asyncio.sleep(PARENT_CHECK_SECONDS)
