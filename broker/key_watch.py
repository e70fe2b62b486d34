"""Notices that the list of keys has changed, so that nobody need restart a broker to revoke one."""

from __future__ import annotations

import logging
import math
from typing import Final

from broker.keyring import Clients, Keyring
from broker.registry.access import Access
from sessionclient.errors import Misuse

TELL_AGAIN: Final = 60.0  # seconds after which a directory still unreadable is told again

log = logging.getLogger("panelbus.broker")


class KeyWatch:
    """The list as it was last read, and a look each second at whether it has changed."""

    def __init__(self, keyring: Keyring) -> None:
        """Read it.

        Raises:
            Misuse: it can't be read, or others may write in it.
        """
        self._keyring = keyring
        self._told = -math.inf  # when it was last told that it can't be read; monotonic
        try:
            keyring.refuse_others()
            self._marks = keyring.marks()
            clients = keyring.clients()
        except OSError as error:
            raise Misuse(f"can't read {keyring.clients_directory}: {error.strerror}") from error
        self._tell(clients)
        self.access: Access = clients.access()

    def changed(self, now: float) -> bool:
        """Whether there is another list; ``access`` is that then.

        A directory that can't be read changes nothing: closing everybody out because a disk is
        away for a moment would be worse than a revocation that comes late, and is logged.

        Args:
            now: monotonic seconds.
        """
        try:
            marks = self._keyring.marks()
            if marks == self._marks:
                return False
            clients = self._keyring.clients()
        except OSError as error:
            if now - self._told >= TELL_AGAIN:
                self._told = now
                directory = self._keyring.clients_directory
                log.error("can't read %s, so its last list stays: %s", directory, error.strerror)
            return False
        self._marks = marks
        before, self.access = self.access, clients.access()
        self._tell(clients)
        if self.access == before:
            return False
        log.info("the list of keys has changed: %d clients may speak", len(self.access))
        return True

    def _tell(self, clients: Clients) -> None:
        for trouble in clients.trouble:
            log.error("%s", trouble)
