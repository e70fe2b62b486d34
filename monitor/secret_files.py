"""Secrets come from files of their own, never from the command line: reading and making them."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from sessionclient.errors import Misuse

MAX_SECRET_BYTES: Final = 4_096
MIN_COOKIE_SECRET_CHARS: Final = 32


def read_secret(path: Path, what: str) -> str:
    """The one line in a file.

    Raises:
        Misuse: it can't be read, everybody can read it, or it holds no line of text. What it
            holds is never in the message.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(MAX_SECRET_BYTES + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not plain text"
        raise Misuse(f"can't read {what} in {path}: {why}") from error
    if os.name == "posix" and stat.S_IMODE(mode) & stat.S_IROTH:
        raise Misuse(f"everybody on this machine can read {path}; close it: chmod 600 {path}")
    if not text or not text.isprintable() or len(text) > MAX_SECRET_BYTES:
        raise Misuse(f"{path} must hold {what} as one line of text")
    return text


def cookie_secret(path: Path) -> str:
    """What cookies are signed with; made on first use, for its owner alone.

    Raises:
        Misuse: it can't be read or made, or is too short to be safe.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise Misuse(
            f"can't make the cookie secret {path}: {error.strerror}; choose another place with"
            " --cookie-secret-file"
        ) from error
    else:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
    found = read_secret(path, "the cookie secret")
    if len(found) < MIN_COOKIE_SECRET_CHARS:
        raise Misuse(
            f"the cookie secret in {path} has less than {MIN_COOKIE_SECRET_CHARS} characters;"
            " remove the file, and a new one is made"
        )
    return found
