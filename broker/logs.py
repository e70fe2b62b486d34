"""Log lines on stderr, as text for people or as JSON for machines."""

from __future__ import annotations

from sessionclient.logs import JsonLines, set_up

__all__ = ["JsonLines", "set_up"]
