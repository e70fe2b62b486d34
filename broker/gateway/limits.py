"""How much may come in: the size of a body, how long it may take, how many requests at once.

Neither the framework nor the server bounds these. The body is read whole before the app sees the
request (the limit makes that cheap), so an oversized one never reaches a route, whether it says its
length or comes in chunks without one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.gateway.problems import problem

MAX_BODY_BYTES: Final = 64 * 1024
BODY_SECONDS: Final = 10.0  # for the whole body
MAX_REQUESTS: Final = 1000  # being served at once; each may wait for the broker
ALWAYS_SERVED: Final = "/healthz"


class _Gone(Exception):
    """The client went away before its body was complete."""


class _TooLarge(Exception):
    """The body is over the limit."""


class Limits:
    """Pure ASGI middleware: 413 for a large body, 408 for a slow one, 503 for too many at once.

    Args:
        app: What it protects.
        max_body_bytes: The largest body that is let through.
        body_seconds: How long the client may take to send it.
        max_requests: How many requests may be served at once, `ALWAYS_SERVED` not counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int = MAX_BODY_BYTES,
        body_seconds: float = BODY_SECONDS,
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_seconds = body_seconds
        self._max_requests = max_requests
        self._serving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == ALWAYS_SERVED:
            await self._app(scope, receive, send)
            return
        if self._serving >= self._max_requests:
            detail = f"{self._max_requests} requests are being served already; try again"
            await problem(scope, 503, "too_busy", detail)(scope, receive, send)
            return
        self._serving += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self._serving -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await asyncio.wait_for(self._read(scope, receive), self._body_seconds)
        except _Gone:
            return
        except _TooLarge:
            detail = f"the body is over {self._max_body_bytes} bytes; send less"
            await self._refuse(scope, 413, "too_large", detail)(scope, receive, send)
            return
        except TimeoutError:
            detail = f"the body did not arrive within {self._body_seconds:g} seconds; send it again"
            await self._refuse(scope, 408, "too_slow", detail)(scope, receive, send)
            return
        unread = True

        async def replay() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self._app(scope, replay, send)

    @staticmethod
    def _refuse(scope: Scope, status: int, code: str, detail: str) -> Response:
        # closing tells the server not to read the rest of the body
        return problem(scope, status, code, detail, headers={"Connection": "close"})

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            _TooLarge: it says so, or turns out to be.
            _Gone: the client went away.
        """
        for name, value in scope["headers"]:
            # the server has checked that it is a number; if not, counting decides
            told = name == b"content-length" and value.isdigit() and len(value) < 20
            if told and int(value) > self._max_body_bytes:
                raise _TooLarge
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise _TooLarge
            if not message.get("more_body", False):
                return bytes(body)
