"""Panelbus for apps and operators.

In an app::

    tracker = SessionClient.get_tracker("sales", user_id="ann")
    tracker.on_kill(stop.set)
    with tracker.task("Refresh forecast"):
        ...

and for operators `Operator` and `AsyncOperator`, which are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionclient.errors import (
    Conflict,
    Forbidden,
    KeyReused,
    LinkDown,
    Misuse,
    NotFound,
    PanelbusError,
    PeerFault,
    Refused,
    RequestTimeout,
    Unavailable,
)
from sessionclient.tracker import SessionClient
from sessionclient.version import __version__

if TYPE_CHECKING:
    from sessionclient.aio import AsyncOperator
    from sessionclient.operator import Operator

__all__ = [
    "AsyncOperator",
    "Conflict",
    "Forbidden",
    "KeyReused",
    "LinkDown",
    "Misuse",
    "NotFound",
    "Operator",
    "PanelbusError",
    "PeerFault",
    "Refused",
    "RequestTimeout",
    "SessionClient",
    "Unavailable",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # an app that only tracks its sessions need not load what operators use
    if name == "Operator":
        from sessionclient.operator import Operator

        return Operator
    if name == "AsyncOperator":
        from sessionclient.aio import AsyncOperator

        return AsyncOperator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
