"""Who may log in to the monitor: names, roles and password hashes, in one JSON file of mode 0600.

`panelbus user` writes it, whole and under a lock; the monitor reads it again when it has changed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sessionclient import private_files
from sessionclient.errors import Misuse

log = logging.getLogger("panelbus.monitor")

USER_ROLES: Final = ("viewer", "operator")
MIN_PASSWORD_CHARS: Final = 8
MAX_PASSWORD_CHARS: Final = 1_024
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_USERS: Final = 10_000
MAX_COST_BYTES: Final = 256 * 1024 * 1024  # memory one check may take, whatever the file says
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
VERSION: Final = 1

_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.@+-]{0,63}")


class Cost(NamedTuple):
    """What one guess costs: scrypt's N, r and p. It needs 128 * n * r bytes."""

    n: int
    r: int
    p: int


# OWASP's Password Storage Cheat Sheet, of its equal choices the one that takes 32 MiB
DEFAULT_COST: Final = Cost(n=2**15, r=8, p=3)


class Password(NamedTuple):
    """A password, hashed."""

    cost: Cost
    salt: bytes
    key: bytes

    def __repr__(self) -> str:  # no hash in a log or a traceback
        return f"Password({self.cost})"


class User(NamedTuple):
    """One who may log in."""

    role: str
    password: Password

    @property
    def stamp(self) -> str:
        """Changes whenever the user is changed; tells nothing of the password."""
        return hashlib.sha256(self.role.encode() + self.password.salt).hexdigest()[:16]


# --- passwords -----------------------------------------------------------------------------------


def _key(password: str, cost: Cost, salt: bytes) -> bytes:
    # the same text however a keyboard composes it; what can't be encoded is just another text
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    limit = 128 * cost.n * cost.r + 128 * cost.r * (cost.p + 2) + 1024 * 1024
    return hashlib.scrypt(
        text, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=limit, dklen=KEY_BYTES
    )


def hashed(password: str, cost: Cost = DEFAULT_COST) -> Password:
    """A password as it may be kept; takes as long as a check.

    Raises:
        Misuse: it is too short or too long.
    """
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise Misuse(
            f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS:,} characters,"
            f" not {len(password):,}"
        )
    salt = secrets.token_bytes(SALT_BYTES)
    return Password(cost, salt, _key(password, cost, salt))


def matches(kept: Password, password: str) -> bool:
    """Whether it is this password; takes as long for a wrong one."""
    return hmac.compare_digest(_key(password, kept.cost, kept.salt), kept.key)


def check_name(name: str) -> str:
    """``name`` if a user can have it; raises Misuse."""
    if _NAME.fullmatch(name) is None:
        raise Misuse(
            f"{name!r:.80} can't name a user: give 1 to 64 of A-Z a-z 0-9 _ . @ + - that begin"
            " with a letter or a digit"
        )
    return name


# --- the file ------------------------------------------------------------------------------------


def read_users(path: Path) -> dict[str, User]:
    """The users in a file.

    Raises:
        Misuse: it can't be read, is readable by everybody, may be changed by others, or is no file
            of users. What it holds is never in the message.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Misuse(
            f"can't read the users in {path}: {error.strerror}; make it with: panelbus user add"
            f" NAME --role operator --users {path}"
        ) from error
    if os.name == "posix" and stat.S_IMODE(mode) & stat.S_IROTH:
        raise Misuse(f"everybody on this machine can read {path}; close it: chmod 600 {path}")
    if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Misuse(f"others may change {path}; close it: chmod 600 {path}")
    if len(data) > MAX_FILE_BYTES:
        raise Misuse(f"{path} has more than {MAX_FILE_BYTES:,} bytes; it is no file of users")
    try:
        return _parsed(json.loads(data))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # the cause may quote the file, so it is not shown
        raise Misuse(f"{path} is no file of users; make one with: panelbus user add") from error


def _parsed(document: Any) -> dict[str, User]:
    if document["version"] != VERSION or len(document["users"]) > MAX_USERS:
        raise ValueError("another version, or too many users")
    return {check_name(name): _user(entry) for name, entry in document["users"].items()}


def _user(entry: Mapping[str, Any]) -> User:
    kept = entry["password"]
    cost = Cost(*(_whole(kept[field]) for field in Cost._fields))
    if kept["kdf"] != "scrypt" or entry["role"] not in USER_ROLES:
        raise ValueError("an unknown role or hash")
    if not 128 * cost.n * cost.r <= MAX_COST_BYTES or cost.n & (cost.n - 1) or cost.p > 64:
        raise ValueError("scrypt can't be run like this")
    salt, key = (base64.b64decode(kept[field], validate=True) for field in ("salt", "key"))
    if len(salt) < SALT_BYTES or len(key) != KEY_BYTES:
        raise ValueError("salt or key is cut")
    return User(entry["role"], Password(cost, salt, key))


def _whole(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= 2**24:
        raise ValueError("not a cost")
    return value


def _written(users: Mapping[str, User]) -> bytes:
    entries = {
        name: {
            "role": user.role,
            "password": {
                "kdf": "scrypt",
                **user.password.cost._asdict(),
                "salt": base64.b64encode(user.password.salt).decode(),
                "key": base64.b64encode(user.password.key).decode(),
            },
        }
        for name, user in sorted(users.items())
    }
    return json.dumps({"version": VERSION, "users": entries}, indent=1).encode() + b"\n"


@contextmanager
def changing(path: Path) -> Iterator[dict[str, User]]:
    """The users to change; written when the block ends well, one writer at a time.

    Raises:
        Misuse: there is a file that can't be read, it can't be written, or another command holds
            it for too long.
    """
    try:
        with private_files.alone_with(path) as target:
            users = read_users(target) if target.exists() else {}
            yield users
            if len(users) > MAX_USERS:
                raise Misuse(f"{path} holds {MAX_USERS:,} users already")
            private_files.replace(target, _written(users))
    except private_files.Busy as error:
        raise Misuse(str(error)) from error
    except OSError as error:
        raise Misuse(f"can't write {path}: {error.strerror}") from error


# --- for the monitor -----------------------------------------------------------------------------


class UserFile:
    """The users as the file has them now. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Raises:
        Misuse: the file can't be used.
        """
        self.path = path
        self._lock = threading.Lock()
        self._seen = self._state()
        self._users = read_users(path)

    def get(self, name: str) -> User | None:
        """The user of this name, now."""
        return self._now().get(name)

    def check(self, name: str, password: str) -> User | None:
        """The user, if that is the password. Takes as long when there is no such user."""
        users = self._now()
        user = users.get(name)
        if len(password) > MAX_PASSWORD_CHARS:
            return None
        if user is not None:
            return user if matches(user.password, password) else None
        cost = next(iter(users.values())).password.cost if users else DEFAULT_COST
        _key(password, cost, bytes(SALT_BYTES))
        return None

    def _state(self) -> tuple[int, int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode

    def _now(self) -> dict[str, User]:
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._seen = state
                try:
                    self._users = read_users(self.path)
                    log.info("the users in %s are read again: %d", self.path, len(self._users))
                except Misuse as error:
                    self._users = {}  # nobody may do what nobody can check
                    log.error("nobody can log in: %s", error)
            return self._users
