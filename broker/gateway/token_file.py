"""The file of tokens: read again when it changes, and written so that nobody sees half of it."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.gateway.tokens import BadTokens, Tokens, digests, dump, parse, without
from sessionclient import private_files

RECHECK_SECONDS: Final = 0.5  # a change counts this much later at the latest
MAX_FILE_BYTES: Final = 1_000_000
MAX_REVOKED_KEPT: Final = 100_000  # tokens a running gateway remembers as taken off the list

log = logging.getLogger("panelbus.gateway")


def read(path: Path) -> bytes:
    """The content of the file.

    Raises:
        BadTokens: it can't be read, or others than its owner may change it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadTokens(f"can't be read: {error.strerror or error}") from error
    if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadTokens("may be changed by others than its owner: chmod 600 it")
    if len(content) > MAX_FILE_BYTES:
        raise BadTokens(f"is over {MAX_FILE_BYTES:,} bytes, so it is no list of tokens")
    return content


def load(path: Path) -> Tokens:
    """The list in the file.

    Raises:
        BadTokens: there is none; the message begins with the path.
    """
    try:
        return parse(read(path))
    except BadTokens as error:
        raise BadTokens(f"{path} {error}") from error


class TokenFile:
    """The list as a gateway uses it: what the file says, as long as that makes sense.

    When it does not (damaged, gone, not to be read), the last good list stays in use. What has
    once been taken off the list never comes back in this process, not even when an old copy of the
    file does: to use a token again that was revoked by mistake, restart the gateway.
    """

    def __init__(self, path: Path) -> None:
        """Read the list.

        Raises:
            BadTokens: it can't be used.
        """
        self._path = path
        self._tokens = load(path)
        self._revoked: frozenset[bytes] = frozenset()
        self._content = b""
        self._read_at = -RECHECK_SECONDS
        self.trouble: str | None = None  # why the file itself can't be used now

    def current(self, now: float) -> Tokens:
        """The list, never older than `RECHECK_SECONDS`.

        Args:
            now: monotonic seconds.
        """
        if now - self._read_at >= RECHECK_SECONDS:
            self._read_at = now
            self._look()
        return self._tokens

    def _look(self) -> None:
        """Take over what has changed; what can't be used is told once."""
        try:
            content = read(self._path)
            # read whole each time: the time of a change is too coarse to tell two of them apart
            if content != self._content or self.trouble is not None:
                self._take(parse(content))
                self._content = content
        except BadTokens as error:
            if self.trouble != str(error):
                log.error(
                    "%s %s; the tokens it held before stay in use, and no change of them counts"
                    " until that is mended",
                    self._path,
                    error,
                )
            self.trouble = str(error)

    def _take(self, tokens: Tokens) -> None:
        gone = digests(self._tokens) - digests(tokens)
        if len(self._revoked) + len(gone) > MAX_REVOKED_KEPT:
            raise BadTokens("has changed too often for one run; restart the gateway")
        self._revoked |= gone
        taken = without(tokens, self._revoked)
        if len(taken) < len(tokens):
            log.warning(
                "%s holds %d tokens that had been revoked; they stay revoked until the gateway"
                " restarts",
                self._path,
                len(tokens) - len(taken),
            )
        if self.trouble is not None:
            log.info("%s can be used again", self._path)
        self.trouble = None
        self._tokens = taken


# --- writing ---------------------------------------------------------------------------------


def change(path: Path, edit: Callable[[Tokens], Tokens], *, create: bool = False) -> None:
    """Replace the list by an edited one, whole or not at all, while no other command does.

    Args:
        path: The file.
        edit: Makes the new list of the old one; may raise BadTokens.
        create: Whether a file that is not there counts as an empty list.

    Raises:
        BadTokens: the file can't be used or written, or `edit` refused.
    """
    try:
        with private_files.alone_with(path) as target:
            old = () if create and not target.exists() else load(target)
            private_files.replace(target, dump(edit(old)))
    except private_files.Busy as error:
        raise BadTokens(str(error)) from error
    except OSError as error:
        raise BadTokens(f"can't write {path}: {error.strerror or error}") from error
