"""What can go wrong, in three families: you misused me, the peer misbehaved, the link is down.

A fourth, `Refused`, is no fault at all: the broker understood the request and said no.
"""

from __future__ import annotations


class PanelbusError(Exception):
    """Base of everything this library raises on purpose."""


class Misuse(PanelbusError, ValueError):
    """You misused me: an argument is wrong. The message says what to give instead."""


class PeerFault(PanelbusError):
    """The peer misbehaved: what it sent is not the protocol."""


class LinkDown(PanelbusError, ConnectionError):
    """The link is down: the broker could not be reached, or went away before it answered."""


class RequestTimeout(LinkDown, TimeoutError):
    """The broker gave no answer within the request's timeout."""


class Refused(PanelbusError):
    """The broker refused the request; ``code`` is one of `wire.ERROR_CODES`."""

    code = "bad_request"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class NotFound(Refused, LookupError):
    """There is no such live session or command; the message names the id."""

    code = "not_found"


class Conflict(Refused):
    """The request does not fit the present state, such as ending another process's session."""

    code = "conflict"


class KeyReused(Refused):
    """The idempotency key was used before, for a different request."""

    code = "key_reused"


class Forbidden(Refused):
    """The role may not do this, or the session is somebody else's."""

    code = "forbidden"


class Unavailable(Refused):
    """The broker can't keep what was asked right now (its disk, usually); try again later."""

    code = "unavailable"


_BY_CODE: dict[str, type[Refused]] = {
    kind.code: kind for kind in (NotFound, Conflict, KeyReused, Forbidden, Unavailable)
}


def refusal(code: str, message: str) -> Refused:
    """The exception for an ``error`` message of the broker."""
    return _BY_CODE.get(code, Refused)(message, code)
