"""The directory of keys: the broker's own, the list of clients that may speak, and their keys.

::

    DIR/broker.key         the broker's pair; its secret never leaves this machine
    DIR/clients/NAME.pub   one allowed client: name, role, public key; removing the file revokes it
    DIR/keys/NAME.key      what a client needs, to be handed to it and best removed here

One file for each client, so that adding and revoking are as plain as copying and removing, and two
people who do it at once lose nothing of each other's.
"""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import zmq

from broker.files import place
from broker.registry.access import Credential
from sessionclient.errors import Misuse
from sessionclient.keys import check_name, check_z85, read_fields
from sessionclient.wire import ROLES

MAX_CLIENTS: Final = 10_000  # files of clients that are read
DIRECTORY_MODE: Final = 0o700
_SUFFIX: Final = ".pub"

# name, inode, time of change, size and mode of each file
Marks = frozenset[tuple[str, int, int, int, int]]
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class BrokerKey(NamedTuple):
    """The broker's key pair, Z85 text."""

    public: str
    secret: str

    def __repr__(self) -> str:  # no secret in a log or a traceback
        return f"BrokerKey({self.public!r})"


class Client(NamedTuple):
    """One allowed client."""

    name: str
    role: str
    public: str


class Clients(NamedTuple):
    """The allow-list as it was read."""

    allowed: tuple[Client, ...]
    trouble: tuple[str, ...]  # what was wrong with files that are therefore left out

    def access(self) -> dict[str, Credential]:
        """By user id, as the registry wants it."""
        return {client.public: Credential(client.name, client.role) for client in self.allowed}


class Keyring:
    """One directory of keys."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broker_file = directory / "broker.key"
        self.clients_directory = directory / "clients"
        self.keys_directory = directory / "keys"

    def key_file(self, name: str) -> Path:
        """Where the key of a client is put when it is made."""
        return self.keys_directory / f"{name}.key"

    # --- reading ---------------------------------------------------------------------------

    def broker_key(self) -> BrokerKey:
        """The broker's own pair.

        Raises:
            Misuse: there is none, or it is not one; the message says what to do.
        """
        if not self.broker_file.exists():
            raise Misuse(
                f"there is no broker's key in {self.directory}; make one, with the first client's:"
                f" panelbus keygen NAME --role operator --keys {self.directory}"
            )
        fields = read_fields(self.broker_file, guarded=True)
        if not {"public", "secret"} <= fields.keys():
            raise Misuse(f"{self.broker_file} is no broker's key: public or secret is missing")
        pair = [check_z85(fields[f], f"{f} in {self.broker_file}") for f in ("public", "secret")]
        if zmq.curve_public(pair[1].encode()).decode() != pair[0]:
            raise Misuse(f"public and secret in {self.broker_file} are not one pair")
        return BrokerKey(*pair)

    def marks(self) -> Marks:
        """Changes whenever the list of clients may have changed; cheap enough for each second.

        Raises:
            OSError: the directory can't be read.
        """
        found = set()
        for entry in os.scandir(self.clients_directory):
            if entry.name.endswith(_SUFFIX):
                found.add((entry.name, *_mark(entry)))
        return frozenset(found)

    def refuse_others(self) -> None:
        """Who may write in the directory lets in whom they like.

        Raises:
            Misuse: others than its owner may; the message says what to do.
            OSError: it is not there.
        """
        for directory in (self.directory, self.clients_directory):
            if os.name == "posix" and directory.stat().st_mode & OTHERS_WRITE:
                quoted = shlex.quote(str(directory))
                raise Misuse(f"others may write in {directory}; close it: chmod go-w {quoted}")

    def clients(self) -> Clients:
        """Who may speak. A file that is wrong allows nobody and is told in ``trouble``.

        Raises:
            OSError: the directory can't be read.
        """
        allowed: list[Client] = []
        trouble: list[str] = []
        names = sorted(n for n in os.listdir(self.clients_directory) if n.endswith(_SUFFIX))
        if len(names) > MAX_CLIENTS:
            trouble.append(f"{len(names)} clients are over {MAX_CLIENTS}; the rest is left out")
        by_public: dict[str, str] = {}
        for name in names[:MAX_CLIENTS]:
            try:
                client = _read_client(self.clients_directory / name)
            except Misuse as error:
                trouble.append(str(error))
                continue
            if client.public in by_public:
                other = by_public[client.public]
                trouble.append(f"{name} holds the key of {other!r} again, and is left out")
                continue
            by_public[client.public] = client.name
            allowed.append(client)
        return Clients(tuple(allowed), tuple(trouble))

    # --- writing ---------------------------------------------------------------------------

    def make_broker_key(self) -> bool:
        """Make the broker's pair unless there is one; whether it was made.

        Raises:
            Misuse: the directory can't be written.
        """
        self._make_directories()
        if self.broker_file.exists():
            return False
        public, secret = (part.decode() for part in zmq.curve_keypair())
        text = _file("The broker's key. Its secret never leaves this machine.", public=public,
                     secret=secret)  # fmt: skip
        return write_new(self.broker_file, text)

    def add(self, name: str, role: str, key_file: Path | None = None) -> Path:
        """Make a client's key, allow it, and write the file that the client needs.

        Returns that file: ``key_file``, or one in the directory.

        Raises:
            Misuse: the name or role can't be, a file is there already, or none can be written.
        """
        check_name(name)
        if role not in ROLES:
            raise Misuse(f"role must be one of {', '.join(ROLES)}, not {role!r:.60}")
        server = self.broker_key().public
        public, secret = (part.decode() for part in zmq.curve_keypair())
        target = key_file or self.key_file(name)
        text = _file(
            f"The key of {name!r} ({role}). Keep it secret; set PANELBUS_KEY to this file's path.",
            name=name,
            role=role,
            public=public,
            secret=secret,
            server=server,
        )
        listed = self.clients_directory / f"{name}{_SUFFIX}"
        if listed.exists():
            raise Misuse(
                f"there is a client {name!r} already; revoke it first: panelbus keys revoke {name}"
                f" --keys {self.directory}"
            )
        if not write_new(target, text):
            raise Misuse(f"{target} exists already; move it away, or choose another with --out")
        entry = _file("A client of this broker; remove this file to revoke it.", name=name,
                      role=role, public=public)  # fmt: skip
        if not write_new(listed, entry):
            target.unlink()
            raise Misuse(f"there is a client {name!r} already")
        return target

    def revoke(self, name: str) -> None:
        """Take a client off the list; a running broker notices within about a second.

        Raises:
            Misuse: there is no such client; or it is revoked, but its key is still there.
        """
        try:
            (self.clients_directory / f"{check_name(name)}{_SUFFIX}").unlink()
        except FileNotFoundError as error:
            raise Misuse(f"there is no client {name!r} in {self.clients_directory}") from error
        except OSError as error:
            raise Misuse(f"can't remove the client {name!r}: {error.strerror}") from error
        copy = self.key_file(name)
        try:
            copy.unlink(missing_ok=True)
        except OSError as error:
            raise Misuse(
                f"{name!r} is revoked, but the copy of its key is still there: can't remove {copy}:"
                f" {error.strerror}"
            ) from error

    def _make_directories(self) -> None:
        try:
            for directory in (self.directory, self.clients_directory, self.keys_directory):
                directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise Misuse(f"can't make {self.directory}: {error.strerror}") from error


def _mark(entry: os.DirEntry[str]) -> tuple[int, int, int, int]:
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere, or just removed: the others count all the same
        return 0, 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode


def _read_client(path: Path) -> Client:
    fields = read_fields(path, guarded=True)
    missing = [name for name in ("name", "role", "public") if name not in fields]
    if missing:
        raise Misuse(f"{path} allows nobody: {', '.join(missing)} is missing")
    if fields["role"] not in ROLES:
        raise Misuse(f"{path} allows nobody: its role is none of {', '.join(ROLES)}")
    name = check_name(fields["name"])
    if name != path.name.removesuffix(_SUFFIX):  # revoking removes the file of that name
        raise Misuse(f"{path} allows nobody: the name in it is {name!r}, not that of the file")
    public = check_z85(fields["public"], f"public in {path}")
    return Client(name, fields["role"], public)


def others_can_read(path: Path) -> bool:
    """Whether anybody but its owner can read or write a file (POSIX)."""
    return os.name == "posix" and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _file(comment: str, **fields: str) -> str:
    lines = [f"# Panelbus. {comment}", *(f'{name} = "{value}"' for name, value in fields.items())]
    return "\n".join(lines) + "\n"


def write_new(path: Path, text: str) -> bool:
    """Write a whole private file under a name that is free; False when it is not.

    Raises:
        Misuse: it can't be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # of mode 0600
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError:
        return False
    except OSError as error:
        raise Misuse(f"can't write {path}: {error.strerror}") from error
    return True
