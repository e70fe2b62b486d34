"""What an app says of its session, checked: who misuses the client learns it at the call."""

from __future__ import annotations

import math
from typing import Any, Final

from sessionclient.address import check_url
from sessionclient.callbacks import callback_timeout
from sessionclient.errors import Misuse
from sessionclient.text import sendable
from sessionclient.wire import MAX_TEXT_CHARS

MAX_HEARTBEAT: Final = 86_400.0  # seconds


class Settings:
    """Checked; there is one for each session, so it is kept small."""

    __slots__ = ("app_name", "callback_timeout", "heartbeat_interval", "url", "user_id")

    app_name: str
    user_id: str | None
    url: str
    heartbeat_interval: float  # seconds
    callback_timeout: float  # seconds

    @classmethod
    def check(cls, app_name: Any, user_id: Any, server_url: Any, interval: Any) -> Settings:
        """Raises Misuse with what to give instead."""
        settings = cls()
        settings.app_name = checked_name("app_name", app_name)
        settings.user_id = None if user_id is None else checked_name("user_id", user_id)
        settings.url = check_url(server_url)
        number = isinstance(interval, (int, float)) and not isinstance(interval, bool)
        if not number or not 0.0 < interval <= MAX_HEARTBEAT or math.isnan(interval):
            raise Misuse(
                f"heartbeat_interval must be seconds above 0 and up to {MAX_HEARTBEAT:g},"
                f" not {interval!r}"
            )
        settings.heartbeat_interval = max(0.01, float(interval))
        settings.callback_timeout = callback_timeout()
        return settings


def checked_name(what: str, value: Any) -> str:
    """Text of 1 to 255 characters as it can be sent; raises Misuse for anything else."""
    if not isinstance(value, str):
        raise Misuse(f"{what} must be text, not {type(value).__name__}")
    if not 1 <= len(value) <= MAX_TEXT_CHARS:
        raise Misuse(f"{what} must have 1 to {MAX_TEXT_CHARS} characters, not {len(value)}")
    return sendable(str(value))
