"""Quiet about browsers that leave while Bokeh sends to them; for programs that serve pages.

Bokeh awaits such a send nowhere, so asyncio would log a traceback for a tab that was closed. Needs
Tornado, which comes with Panel; nothing else of this package imports it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError


def are_no_news(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For `asyncio.loop.set_exception_handler`: everything else is told as ever."""
    if not isinstance(context.get("exception"), (WebSocketClosedError, StreamClosedError)):
        loop.default_exception_handler(context)
