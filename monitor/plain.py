"""The monitor's plain functions, for scripts and notebooks without a page."""

from __future__ import annotations

from typing import Any

from sessionclient import Operator


def load_sessions_data(server_url: str | None = None) -> list[dict[str, Any]]:
    """All live sessions as dicts; LinkDown when the broker can't be reached."""
    with Operator(server_url, role="viewer") as operator:
        return operator.get_all_sessions()


def request_kill(
    session_id: str, reason: str | None = None, server_url: str | None = None
) -> dict[str, Any]:
    """End one session; command_id and stage. NotFound when there is none."""
    with Operator(server_url) as operator:
        return operator.request_kill(session_id, reason)


def request_kill_all(
    app_name: str, reason: str | None = None, server_url: str | None = None
) -> int:
    """End every session of an app; how many were newly asked to end."""
    with Operator(server_url) as operator:
        return operator.request_kill_by_app(app_name, reason)
