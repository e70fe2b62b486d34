"""A client's key: what it proves itself with to a broker that asks for keys (CURVE, RFC 26).

One file holds all that one client needs: its own pair and the broker's public key. `panelbus
keygen` writes it. Keys are Z85 text of 40 characters (RFC 32), as everywhere in ZeroMQ.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path
from typing import Final, NamedTuple

from sessionclient.errors import Misuse

KEY_VARIABLE: Final = "PANELBUS_KEY"
MAX_FILE_BYTES: Final = 4096

_LINE: Final = re.compile(r'([a-z]+)\s*=\s*"([^"\\]*)"')
_Z85: Final = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,63}")


class ClientKey(NamedTuple):
    """A client's key pair and the broker it is for; all of them Z85 text."""

    name: str
    public: str
    secret: str
    server: str  # the broker's public key

    def __repr__(self) -> str:  # no secret in a log or a traceback
        return f"ClientKey({self.name!r})"


def key_from_environment() -> ClientKey | None:
    """The key in the file that PANELBUS_KEY names; None when it names none.

    Raises:
        Misuse: there is no usable key in it.
    """
    path = os.environ.get(KEY_VARIABLE)
    return read_key(path) if path else None


def read_key(path: str | Path) -> ClientKey:
    """The key in a file of `panelbus keygen`.

    Raises:
        Misuse: it can't be read, is readable by everybody, or holds no key. What it holds is
            never in the message.
    """
    fields = read_fields(path)
    missing = [name for name in ("name", "public", "secret", "server") if name not in fields]
    if missing:
        text = f"{path} is no client's key: {', '.join(missing)} is missing"
        raise Misuse(f"{text}; make one with: panelbus keygen NAME --role app --keys DIR")
    for name in ("public", "secret", "server"):
        check_z85(fields[name], f"{name} in {path}")
    return ClientKey(
        check_name(fields["name"]), *(fields[f] for f in ("public", "secret", "server"))
    )


def read_fields(path: str | Path, *, guarded: bool = False) -> dict[str, str]:
    """The ``name = "value"`` lines of a key file; comments and empty lines are skipped.

    ``guarded``: who writes it decides who is let in, so others than its owner may not.

    Raises:
        Misuse: it can't be read, is readable by everybody though it holds a secret, may be changed
            by others though it is guarded, or has other lines.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(MAX_FILE_BYTES + 1).decode("ascii")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not plain text"
        raise Misuse(f"can't read the key file {path}: {why}") from error
    if guarded and os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Misuse(f"others may change {path}; close it: chmod go-w {shlex.quote(str(path))}")
    if len(text) > MAX_FILE_BYTES:
        raise Misuse(f"{path} is no key file: it is over {MAX_FILE_BYTES} bytes")
    found: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or match[1] in found:
            raise Misuse(f'line {number} of {path} is not one of a key file: NAME = "VALUE"')
        found[match[1]] = match[2]
    if "secret" in found and os.name == "posix" and stat.S_IMODE(mode) & stat.S_IROTH:
        raise Misuse(f"everybody on this machine can read {path}; close it: chmod 600 {path}")
    return found


def check_z85(text: str, what: str) -> str:
    """``text`` if it is a key in Z85; raises Misuse, without showing it."""
    if _Z85.fullmatch(text) is None:
        raise Misuse(f"{what} is not a key of 40 characters (Z85)")
    return text


def check_name(text: str) -> str:
    """``text`` if it can name a key, which is also its file's name; raises Misuse."""
    if _NAME.fullmatch(text) is None:
        raise Misuse(
            f"{text!r:.80} can't name a key: give 1 to 64 of A-Z a-z 0-9 _ . - that begin with a"
            " letter or a digit"
        )
    return text
