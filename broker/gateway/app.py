"""The gateway as an ASGI app: the routes, the order of its guards, and what it closes at the end.

What they are: `sessions`, `commands` and `health` hold the routes, `problems` the errors, `guard`
and `limits` what stands in front of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from broker.gateway import commands, health, openapi, problems, sessions
from broker.gateway.guard import LOOPBACK_HOSTS, Guard
from broker.gateway.limits import Limits
from broker.gateway.operator_like import OperatorLike

API_VERSION: Final = "1.0.0"
_DESCRIPTION: Final = """\
Live sessions of Panel apps: see them, and end them.

A kill is answered once it is committed and is then not lost. Errors are problem details
(RFC 9457): `detail` says what to do, `code` is for programs. 503 means the broker is not reached or
can't keep what was asked; try again after `Retry-After` seconds."""


def create_app(
    operator: OperatorLike, *, allowed_hosts: Collection[str] | None = LOOPBACK_HOSTS
) -> FastAPI:
    """The gateway in front of one operator link, which it closes when it stops.

    Args:
        operator: The link to the broker; its methods are awaited, also concurrently.
        allowed_hosts: The names it answers to, without port, beside loopback addresses; IPv6 in
            brackets. None, for a gateway beyond loopback: any name.
    """

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
    problems.install(app)
    for part in (sessions, commands, health):
        app.include_router(part.router)
    openapi.install(app)
    # the last one added is the outermost
    app.add_middleware(Limits)
    app.add_middleware(Guard, allowed_hosts=allowed_hosts)
    return app
