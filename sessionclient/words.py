"""Numbers as people say them, for terminals and pages."""

from __future__ import annotations

from typing import Final

NOTHING: Final = "\u2013"  # an en dash, where there is no value to show


def duration(seconds: float) -> str:
    """Seconds as people say them: 42s, 3m 05s, 2h 07m, 4d 03h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, second = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m {second:02d}s"
    hours, minute = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minute:02d}m"
    days, hour = divmod(hours, 24)
    return f"{days}d {hour:02d}h"


def count(number: int, what: str) -> str:
    """A number of things, in words: 1 session, 2 sessions."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
