"""Who may do what: by the key a connection has proved, or by its word where no keys are asked for.

With keys, a connection's role is that of its key in the allow-list, never what its messages say.
Without (only on loopback, unless somebody insisted), the hello's word is taken. A gateway or a
monitor acts on behalf of its own users and says so with each request: then the lesser of the two
roles counts, and the audit names the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from broker.registry.model import Peer, Session


class Credential(NamedTuple):
    """One key of the allow-list."""

    name: str
    role: str


Access = Mapping[str, Credential]  # by user id, which is the client's public key in Z85

NOT_YOURS: Final = "this session was made by somebody else"

# An operator may also present itself as one who only reads. An app's key is an app's alone: what
# runs in it is the least trusted code there is.
MAY_BE: Final[Mapping[str, tuple[str, ...]]] = {
    "app": ("app",),
    "viewer": ("viewer",),
    "operator": ("viewer", "operator"),
}


FEED_ROLES: Final = ("viewer", "operator")  # those that may listen to the feed


def readers(access: Access) -> set[str]:
    """The users that may listen to the feed."""
    return {user for user, credential in access.items() if credential.role in FEED_ROLES}


def objection(access: Access | None, user_id: str | None, role: str) -> str | None:
    """Why a connection of this user may not take a role, or None."""
    if access is None:
        return None
    credential = access.get(user_id or "")
    if credential is None:
        return "this key is not on the broker's list, or no longer"
    if role not in MAY_BE[credential.role]:
        return f"the key {credential.name!r} is for the role {credential.role!r}, not {role!r}"
    return None


def actor(peer: Peer, message: dict[str, Any]) -> str:
    """Who asks, for the audit and for those who see the command."""
    by = message.get("by")
    return peer.name if by is None else f"{by['name']} ({by['role']}) through {peer.name}"


def asker(peer: Peer, message: dict[str, Any]) -> str:
    """Who asks, as refusals are counted: by what somebody can't choose anew with each attempt."""
    by = message.get("by")
    if by is not None:
        return str(by["name"])
    return f"an open {peer.role}" if peer.key is None else f"key {peer.key}"


def by_role(message: dict[str, Any]) -> str | None:
    """The role of the one on whose behalf this is asked; None when it is the peer itself."""
    by = message.get("by")
    return None if by is None else str(by["role"])


def owner(peer: Peer, message: dict[str, Any]) -> str | None:
    """Whose a session is that this request makes."""
    by = message.get("by")
    return peer.key if by is None else str(by["name"])


def is_foreign(session: Session, message: dict[str, Any]) -> bool:
    """Whether an app's user asks for a session that it did not make."""
    by = message.get("by")
    return by is not None and by["role"] == "app" and session.process.owner != by["name"]
