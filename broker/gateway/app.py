"""The gateway as an ASGI app: the routes, the order of its guards, and what it closes at the end.

What they are: `sessions`, `commands`, `audit` and `health` hold the routes, `problems` the errors,
`guard`, `access` and `limits` what stands in front of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from broker.gateway import audit, commands, health, openapi, problems, sessions
from broker.gateway.access import Door, Rates
from broker.gateway.guard import LOOPBACK_HOSTS, Guard
from broker.gateway.limits import Limits
from broker.gateway.operator_like import OperatorLike
from broker.gateway.token_file import TokenFile

API_VERSION: Final = "1.0.0"
ROUTERS: Final = tuple(part.router for part in (sessions, commands, audit, health))
_CORS_METHODS: Final = ("DELETE", "GET", "POST", "PUT")
_CORS_HEADERS: Final = ("Authorization", "Content-Type", "Idempotency-Key")
_CORS_ANSWERS: Final = ("Retry-After", "WWW-Authenticate")
_DESCRIPTION: Final = """\
Live sessions of Panel apps: see them, and end them.

A kill is answered once it is committed and is then not lost. Errors are problem details
(RFC 9457): `detail` says what to do, `code` is for programs. 503 means the broker is not reached or
can't keep what was asked; try again after `Retry-After` seconds."""


@dataclass(frozen=True)
class Admission:
    """Who may come in, and how often.

    allowed_hosts: The names it answers to, without port, beside loopback addresses; IPv6 in
        brackets. None, for a gateway beyond loopback: any name.
    tokens: Whose tokens it takes; None: it asks for none.
    rates: How often each may ask.
    origins: Origins whose pages may ask from elsewhere, as browsers write them.
    https: Whether it is served by TLS.
    """

    allowed_hosts: Collection[str] | None = LOOPBACK_HOSTS
    tokens: TokenFile | None = None
    rates: Rates = field(default_factory=Rates)
    origins: tuple[str, ...] = ()
    https: bool = False


def create_app(operator: OperatorLike, admission: Admission | None = None) -> FastAPI:
    """The gateway in front of one operator link, which it closes when it stops.

    Args:
        operator: The link to the broker; its methods are awaited, also concurrently.
        admission: Default: everybody on this machine.
    """
    admission = admission or Admission()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await operator.aclose()

    app = FastAPI(
        title="Panelbus",
        summary="Live session registry, monitor and kill switch",
        description=_DESCRIPTION,
        version=API_VERSION,
        lifespan=lifespan,
        # ours stand in their place
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # clients of the ancestor may send JSON without saying so; a page can't (see `guard`)
        strict_content_type=False,
    )
    app.state.operator = operator
    app.state.tokens = admission.tokens
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    openapi.install(app, ROUTERS)
    # the last one added is the outermost
    app.add_middleware(Limits)
    app.add_middleware(Door, tokens=admission.tokens, rates=admission.rates)
    if admission.origins:
        # before the door: a browser's first question carries no token
        app.add_middleware(
            CORSMiddleware,
            allow_origins=admission.origins,
            allow_methods=_CORS_METHODS,
            allow_headers=_CORS_HEADERS,
            expose_headers=_CORS_ANSWERS,
        )
    app.add_middleware(
        Guard,
        allowed_hosts=admission.allowed_hosts,
        origins=admission.origins,
        https=admission.https,
    )
    return app
