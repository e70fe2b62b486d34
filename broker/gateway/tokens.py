"""Bearer tokens: what a token is, what a list of them says, and whose a request is. Pure.

A token is 256 bits from the system's generator, so it can't be guessed and its plain SHA-256 is
all that is kept: slow hashes protect words that people choose, and here there is nothing to try
out. Who reads the list learns names and roles, and no token.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sessionclient.wire import ROLES

VERSION: Final = 1  # of the list's form
MAX_TOKENS: Final = 1_000  # in a list: each is compared with at each request
SECRET_BYTES: Final = 32
PREFIX: Final = "pbt_"  # lets people and scanners of secrets see what it is
NAME_RULE: Final = "1 to 64 of A-Z a-z 0-9 . _ @ -, the first one a letter or digit"

_SHAPE: Final = rf"{PREFIX}[A-Za-z0-9_-]{{43}}"
_TOKEN: Final = re.compile(_SHAPE.encode())
_IN_TEXT: Final = re.compile(_SHAPE, re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FIELDS: Final = frozenset({"name", "role", "sha256", "created", "expires"})


class BadTokens(Exception):
    """A list of tokens that can't be used; the message says why and what to do."""


class Token(NamedTuple):
    """One line of the list. Times are in seconds since the epoch, UTC."""

    name: str
    role: str
    digest: bytes  # SHA-256 of the token
    created: float
    expires: float | None


Tokens = tuple[Token, ...]


class Identity(NamedTuple):
    """Who asks."""

    name: str
    role: str
    has_token: bool = True


class Denial(NamedTuple):
    """Why nobody is known to ask: `detail` for the client, `cause` for the log."""

    detail: str
    cause: str


MISSING: Final = Denial(
    "this gateway wants one token with each request; send it as Authorization: Bearer TOKEN",
    "no token",
)
# whoever guesses must not learn whether a token ever was one
_NOT_VALID: Final = (
    "this token is not valid here: it is wrong, has expired or was revoked; get another one from"
    " whoever runs this gateway"
)
MALFORMED: Final = Denial(_NOT_VALID, "a malformed token")
WRONG: Final = Denial(_NOT_VALID, "an unknown or revoked token")


def new_token() -> str:
    """A token nobody has yet."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest_of(token: str | bytes) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode() if isinstance(token, str) else token).digest()


def holds_token(text: str) -> bool:
    """Whether something in a text has the form of a token."""
    return _IN_TEXT.search(text) is not None


def redacted(text: str) -> str:
    """A text without what has the form of a token."""
    return _IN_TEXT.sub(f"{PREFIX}...", text)


def check(tokens: Tokens, authorization: Sequence[bytes], now: float) -> Identity | Denial:
    """Whose request it is.

    Args:
        tokens: The list.
        authorization: Every Authorization header of the request, as it came.
        now: Seconds since the epoch.
    """
    if len(authorization) != 1:
        return MISSING
    scheme, _, sent = authorization[0].partition(b" ")
    if scheme.lower() != b"bearer":
        return MISSING
    # bytes throughout: as text, what is not ASCII could neither be matched nor compared safely
    sent = sent.strip(b" ")
    if _TOKEN.fullmatch(sent) is None:
        return MALFORMED
    digest = digest_of(sent)
    found = None
    for token in tokens:  # all of them, so that the time tells nothing of which
        if hmac.compare_digest(token.digest, digest):
            found = token
    if found is None:
        return WRONG
    if found.expires is not None and found.expires <= now:
        return Denial(_NOT_VALID, f"the token {found.name!r}, which has expired")
    return Identity(f"token {found.name}", found.role)


def without(tokens: Tokens, digests: frozenset[bytes]) -> Tokens:
    """The tokens that are not one of these."""
    return tuple(token for token in tokens if token.digest not in digests)


def digests(tokens: Sequence[Token]) -> frozenset[bytes]:
    """What tells the tokens of a list apart."""
    return frozenset(token.digest for token in tokens)


# --- changes --------------------------------------------------------------------------------


def added(tokens: Tokens, token: Token) -> Tokens:
    """The list with one more.

    Raises:
        BadTokens: its name is malformed or taken, or the list is full.
    """
    _check_name(token.name)
    if any(other.name == token.name for other in tokens):
        raise BadTokens(f"there is a token {token.name!r} already; revoke it, or take another name")
    if len(tokens) >= MAX_TOKENS:
        raise BadTokens(f"there are {MAX_TOKENS:,} tokens already; revoke some")
    return (*tokens, token)


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise BadTokens(f"{name!r:.80} is not a token's name; give {NAME_RULE}")


def removed(tokens: Tokens, name: str) -> Tokens:
    """The list without the token of this name.

    Raises:
        BadTokens: there is none.
    """
    left = tuple(token for token in tokens if token.name != name)
    if len(left) == len(tokens):
        raise BadTokens(f"there is no token {name!r:.80}")
    return left


# --- the list as a file holds it -------------------------------------------------------------


def moment(seconds: float | None) -> str | None:
    """A time as RFC 3339, in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def dump(tokens: Tokens) -> bytes:
    """The file's content."""
    rows = [
        {
            "name": token.name,
            "role": token.role,
            "sha256": token.digest.hex(),
            "created": moment(token.created),
            "expires": moment(token.expires),
        }
        for token in tokens
    ]
    return json.dumps({"version": VERSION, "tokens": rows}, indent=1).encode() + b"\n"


def parse(content: bytes) -> Tokens:
    """The list of a file's content.

    Raises:
        BadTokens: it is not one, or one of a later version.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadTokens("is not JSON: restore it from a copy, or make the tokens anew") from error
    if not isinstance(document, dict) or not isinstance(document.get("tokens"), list):
        raise BadTokens("is not a list of tokens; give the file that panelbus token wrote")
    if document.get("version") != VERSION:
        raise BadTokens(
            f"has version {document.get('version')!r:.20}, this gateway knows {VERSION}; upgrade"
        )
    if len(document["tokens"]) > MAX_TOKENS:
        raise BadTokens(f"has more than {MAX_TOKENS:,} tokens; revoke some")
    tokens: list[Token] = []
    for number, row in enumerate(document["tokens"], 1):
        try:
            tokens.append(_token(row))
        except (ValueError, OverflowError, OSError, BadTokens) as error:
            raise BadTokens(f"is damaged at token {number}: {error}") from error
    if len(digests(tokens)) != len(tokens):
        raise BadTokens("is damaged: it has the same token twice")
    if len({token.name for token in tokens}) != len(tokens):
        raise BadTokens("is damaged: it has the same name twice")
    return tuple(tokens)


def _token(row: Any) -> Token:
    """One token of the file.

    Raises:
        ValueError, OverflowError, OSError, BadTokens: it is none.
    """
    # a field we don't know may be one that forbids something
    if not isinstance(row, dict) or row.keys() != _FIELDS:
        raise ValueError(f"it must have {', '.join(sorted(_FIELDS))} and nothing else")
    if not all(isinstance(row[key], str) for key in _FIELDS - {"expires"}):
        raise ValueError("all but expires must be text")
    _check_name(row["name"])
    if row["role"] not in ROLES:
        raise ValueError(f"the role must be one of {', '.join(ROLES)}")
    if _DIGEST.fullmatch(row["sha256"]) is None:
        raise ValueError("sha256 must be 64 digits of 0-9 a-f")
    expires = None if row["expires"] is None else _seconds(row["expires"])
    digest = bytes.fromhex(row["sha256"])
    return Token(row["name"], row["role"], digest, _seconds(row["created"]), expires)


def _seconds(text: Any) -> float:
    if not isinstance(text, str):
        raise ValueError("a time must be text")
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} says no time zone")
    return found.timestamp()
