"""One HTTP connection, and what it may cost before and after its requests.

The server itself waits for ever: for a head that trickles in, for a connection that says nothing,
for an answer that nobody reads. Here each of these has a time, and connections have a number: when
there are too many, the one that has been without a request for longest makes room. So whoever
holds connections only, keeps nobody else away. What a request itself may cost is in `limits`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from broker.gateway.problems import problem

MAX_HEAD_BYTES: Final = 16 * 1024  # request line and headers
HEAD_SECONDS: Final = 10.0  # without a request; an idle connection is closed before, see serving
UNREAD_SECONDS: Final = 30.0  # to take an answer
MAX_CONNECTIONS: Final = 2000
COMPLAINT_INTERVAL: Final = 10.0  # seconds between two log lines that say the same

_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")


@dataclass(slots=True)
class Bounds:
    """What connections may cost, and which of them wait for a request."""

    connections: int = MAX_CONNECTIONS
    head_seconds: float = HEAD_SECONDS
    unread_seconds: float = UNREAD_SECONDS
    waiting: dict[Connection, None] = field(default_factory=dict)  # longest first


class Connection(H11Protocol):
    """uvicorn's own with bounds."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounds: Bounds,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds = bounds
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    # --- what the transport tells ------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look()
        if len(self.connections) > self._bounds.connections:
            longest = next(iter(self._bounds.waiting), self)
            longest._forget()
            longest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._serving and self._head_is_too_long(data):
            self._refuse_head()
        else:
            super().data_received(data)
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self._abort_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    # --- what the server tells ---------------------------------------------------------------

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._abort_later()  # closing waits for an answer to be taken, without end

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP; called while the parser's error is being handled."""
        error = sys.exc_info()[1]
        if getattr(error, "error_status_hint", 400) == 431:
            self._refuse_head()
        else:
            self._refuse(400, "bad_request", "this is not HTTP/1.1; send a proper request")

    def _unsupported_upgrade_warning(self) -> None:
        """Anybody may ask for a websocket any number of times; the log is for better things."""

    # --- waiting for a request ---------------------------------------------------------------

    @property
    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _head_is_too_long(self, data: bytes) -> bool:
        """The parser itself bounds only a head that comes in pieces."""
        began, _ = self.conn.trailing_data
        if len(began) + len(data) <= MAX_HEAD_BYTES:
            return False
        return _END_OF_HEAD.search((began + data)[:MAX_HEAD_BYTES]) is None

    def _look(self) -> None:
        """Wait for a request, or stop waiting because there is one."""
        if self._serving or self.transport.is_closing():
            self._stop_waiting()
        elif self._head_timer is None:
            self._bounds.waiting[self] = None
            self._head_timer = self.loop.call_later(self._bounds.head_seconds, self._head_is_late)

    def _stop_waiting(self) -> None:
        self._bounds.waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        began, _ = self.conn.trailing_data
        if began:
            seconds = self._bounds.head_seconds
            detail = f"the request's head did not arrive within {seconds:g} seconds; send it again"
            self._refuse(408, "too_slow", detail)
        else:
            self._close()

    # --- ending ------------------------------------------------------------------------------

    def _refuse(self, status: int, code: str, detail: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()  # in the middle of an answer there is no room for another
            return
        answer = problem({}, status, code, detail, headers={"Connection": "close"})
        for event in (
            h11.Response(status_code=status, headers=answer.raw_headers),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self._close()

    def _refuse_head(self) -> None:
        detail = f"the request's head is over {MAX_HEAD_BYTES} bytes; send fewer headers"
        self._refuse(431, "too_large", detail)

    def _close(self) -> None:
        self.transport.close()
        self._abort_later()

    def _abort_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._bounds.unread_seconds, self.transport.abort)

    def _forget(self) -> None:
        self._stop_waiting()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None


class Rarely(logging.Filter):
    """Lets a message through once in `COMPLAINT_INTERVAL`: strangers may cause it at will."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[str, float] = {}  # by the text in the code, of which there are few
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, text = time.monotonic(), str(record.msg)
        if now < self._next.get(text, 0.0):
            self._left_out[text] = self._left_out.get(text, 0) + 1
            return False
        self._next[text] = now + COMPLAINT_INTERVAL
        more = self._left_out.pop(text, 0)
        if more:
            record.msg = f"{text} ({more} more since the last such line)"
        return True
