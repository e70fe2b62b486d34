"""What this process holds: its hubs, its trackers, its callback threads; and what a fork does.

"The tracker of this session" and "one connection for all sessions" are facts about a process, so
this is the one place with module-level state. A forked child must not touch its parent's threads,
locks and sockets, nor let them be finalised: it starts with a fresh state and keeps the old one
alive, unused, for as long as it lives.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from sessionclient.callbacks import Runners
from sessionclient.hub import HubTable

if TYPE_CHECKING:
    from sessionclient.tracker import SessionClient

log = logging.getLogger("sessionclient")

EXIT_CALLBACKS: Final = 5.0  # seconds all callbacks together may take when the process exits
EXIT_FLUSH: Final = 1.0  # seconds the goodbye to the brokers may take
MAX_ENDED_PAGES: Final = 10_000  # ended pages remembered; a browser comes back soon or not at all

Key = tuple[str, str, str]  # (broker, "page" or "app", Bokeh session id or app name)


class ProcessState:
    """Everything that belongs to one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.hubs = HubTable()
        self.runners = Runners()
        self.callers = Runners("panelbus-callback")
        self.trackers: dict[Key, SessionClient] = {}
        self.live: dict[str, SessionClient] = {}  # all of them, by session id
        self._ended_pages: dict[str, str | None] = {}  # Bokeh session id -> reason

    def page_ended(self, page_id: str, reason: str | None) -> None:
        """Remember a page whose session was killed, so that a browser can't bring it back."""
        with self.lock:
            self._ended_pages.pop(page_id, None)
            self._ended_pages[page_id] = reason
            while len(self._ended_pages) > MAX_ENDED_PAGES:
                del self._ended_pages[next(iter(self._ended_pages))]

    def ended_page(self, page_id: str) -> tuple[bool, str | None]:
        """Whether this page's session was killed, and the reason given."""
        with self.lock:
            return page_id in self._ended_pages, self._ended_pages.get(page_id)

    def forget(self, tracker: SessionClient) -> None:
        """A tracker has ended."""
        with self.lock:
            self.live.pop(tracker.session_id, None)
            for key in [key for key, value in self.trackers.items() if value is tracker]:
                del self.trackers[key]

    def shut_down(self) -> None:
        """The process exits: callbacks first, then the brokers are told; all of it bounded."""
        deadline = time.monotonic() + EXIT_CALLBACKS
        with self.lock:
            trackers = list(self.live.values())
        for tracker in trackers:
            tracker.exit(max(0.0, deadline - time.monotonic()))
        self.hubs.close(EXIT_FLUSH)


_state = ProcessState()
_inherited: list[ProcessState] = []


def current() -> ProcessState:
    """This process's state."""
    return _state


def _after_fork() -> None:
    global _state
    _inherited.append(_state)
    _state = ProcessState()


def _at_exit() -> None:
    _state.shut_down()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
