"""Who asks, and what they may: a token with each request, a role for each route, a rate for each
asker.

`Door` stands before the routes: by default nobody passes without a valid token, and the few paths
that are open are named here. What a role may do is the table of the bus (`sessionclient.wire`); a
route says which request of it it makes, and is given the operator on behalf of who asks. The
broker decides the same again, and who may touch which session.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast
from urllib.parse import unquote

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.gateway.limits import ALWAYS_SERVED
from broker.gateway.operator_like import OperatorLike
from broker.gateway.problems import problem
from broker.gateway.rates import Buckets, retry_after
from broker.gateway.token_file import TokenFile
from broker.gateway.tokens import Denial, Identity, check, holds_token
from sessionclient.address import neighbourhood
from sessionclient.errors import Forbidden
from sessionclient.wire import ROLES, TO_BROKER

DEFAULT_RATE: Final = 200.0  # requests a second, of each token, or of each address without one
DEFAULT_BURST: Final = 400.0  # requests at once
FAILURE_RATE: Final = 1.0  # requests a second with a wrong token or none, of each address
FAILURE_BURST: Final = 20.0
# for probes, and the API pages, which are the same everywhere and hold no data
OPEN_PATHS: Final = frozenset(
    {
        "/healthz",
        "/readyz",
        "/docs",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
        "/openapi.json",
    }
)
_IDENTITY: Final = "panelbus.identity"  # its place in the scope
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="panelbus"', "Connection": "close"}

log = logging.getLogger("panelbus.gateway")


class Clock(NamedTuple):
    """Seconds: since the epoch, for what expires; monotonic, for what is counted."""

    wall: Callable[[], float] = time.time
    mono: Callable[[], float] = time.monotonic


SYSTEM: Final = Clock()


@dataclass(frozen=True)
class Rates:
    """How often each asker may ask, and each address may fail to say who asks."""

    requests: Buckets = field(default_factory=lambda: Buckets(DEFAULT_RATE, DEFAULT_BURST))
    failures: Buckets = field(default_factory=lambda: Buckets(FAILURE_RATE, FAILURE_BURST))


class Door:
    """Pure ASGI middleware: finds out who asks; 401 for nobody, 429 for too often.

    A valid token passes whatever its address did before: many may share that address (a proxy's),
    and one of them must not shut the others out. Against guessing stand the 256 bits of a token;
    the bucket of failures bounds the work and the log lines that trying costs us.

    Args:
        app: What it guards.
        tokens: Who may ask; None: everybody, as an operator.
        rates: How often.
        clock: What time it is.
    """

    def __init__(
        self, app: ASGIApp, tokens: TokenFile | None, rates: Rates, clock: Clock = SYSTEM
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._rates = rates
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != ALWAYS_SERVED:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Any:
        """The answer for a request that may not come in; else its asker is put into the scope."""
        now = self._clock.mono()
        address = scope["client"][0] if scope.get("client") else "an unknown address"
        if holds_token(scope["path"]) or holds_token(_query(scope)):
            return problem(
                scope,
                400,
                "token_in_url",
                "a token in a URL ends up in logs and histories, so it is not taken: revoke it, and"
                " send another one as Authorization: Bearer TOKEN",
            )
        who: Identity | Denial | None
        if self._tokens is None:
            who = Identity(f"REST without a token from {address}", "operator", has_token=False)
        elif scope["path"] in OPEN_PATHS:
            who = None
        else:
            sent = [value for name, value in scope["headers"] if name == b"authorization"]
            who = check(self._tokens.current(now), sent, self._clock.wall())
        if isinstance(who, Denial):
            return self._denied(scope, address, who, now)
        asker = who.name if who is not None and who.has_token else neighbourhood(address)
        wait = self._rates.requests.take(asker, now)
        if wait:
            detail = "you ask too often; wait as long as Retry-After says"
            return problem(
                scope, 429, "too_often", detail, headers={"Retry-After": retry_after(wait)}
            )
        scope[_IDENTITY] = who
        return None

    def _denied(self, scope: Scope, address: str, why: Denial, now: float) -> Any:
        wait = self._rates.failures.take(neighbourhood(address), now)
        if wait:
            detail = "too many requests without a valid token; wait as long as Retry-After says"
            headers = {**_CHALLENGE, "Retry-After": retry_after(wait)}
            return problem(scope, 429, "too_often", detail, headers=headers)
        log.info("refused a request from %s: %s", address, why.cause)
        return problem(scope, 401, "no_valid_token", why.detail, headers=_CHALLENGE)


def _query(scope: Scope) -> str:
    return unquote(scope.get("query_string", b"").decode("latin-1"))


# --- what a route needs -----------------------------------------------------------------------


def identity_of(request: Request) -> Identity:
    """Who asks, on a route that is not open."""
    return cast(Identity, request.scope[_IDENTITY])


class Needs:
    """A dependency of a route: whoever may make this kind of request on the bus.

    Its value is the operator on behalf of who asks.
    """

    def __init__(self, kind: str) -> None:
        allows = TO_BROKER[kind].allows
        self.roles = tuple(role for role in ROLES if allows("operator", role))

    async def __call__(self, request: Request) -> OperatorLike:
        who = identity_of(request)
        if who.role not in self.roles:
            raise Forbidden(
                f"a token of the role {who.role} may not do this; ask with one of"
                f" {' or '.join(self.roles)}"
            )
        operator = cast(OperatorLike, request.app.state.operator)
        return operator.acting_for(who.name, who.role)


async def _open_to_all() -> None:
    """No token is needed: the path is one of `OPEN_PATHS`."""


OPEN: Final[Dependency] = Depends(_open_to_all)


def roles_of(dependencies: list[Any]) -> tuple[str, ...] | None:
    """Who may use a route with these dependencies (FastAPI's); () for everybody, None: untold."""
    for dependency in dependencies:
        if isinstance(dependency.call, Needs):
            return dependency.call.roles
        if dependency.call is _open_to_all:
            return ()
    return None
