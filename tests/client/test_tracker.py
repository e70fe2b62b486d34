"""Sessions and operators in awkward moments: a page that does not end, a fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from sessionclient import Misuse, Operator, process, tracker
from sessionclient.arguments import Settings
from sessionclient.hub import Hub
from sessionclient.panel_hooks import Page
from sessionclient.tracker import SessionClient
from tests.support.processes import eventually, free_port


class StuckPage:
    """A page whose event loop does not run until it is let."""

    id = "page"

    def __init__(self) -> None:
        self.reason: str | None = None
        self.done: Callable[[str | None], None] | None = None

    def end(self, reason: str | None, done: Callable[[str | None], None]) -> None:
        self.reason, self.done = reason, done


class DeafHub:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.ends: list[tuple[str, str | None]] = []

    def failed(self, _source: Any, error: str) -> None:
        self.failures.append(error)

    def end(self, _source: Any, reason: str, error: str | None = None) -> None:
        self.ends.append((reason, error))


def test_a_page_whose_loop_is_blocked_is_told_as_alive_and_later_as_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracker, "PAGE_END_TIMEOUT", 0.1)
    monkeypatch.setattr(process, "_state", process.ProcessState())
    page, hub = StuckPage(), DeafHub()
    client = SessionClient.__new__(SessionClient)
    client._set_up(Settings.check("app", None, None, 30.0), cast(Page, page))
    client._hub = cast(Hub, hub)
    ran: list[str] = []
    client.on_kill(lambda: ran.append("callback"))
    client.on_command("c1", "too old")
    eventually(lambda: hub.failures, "the operator is told")
    assert hub.failures == [
        "callbacks have run, but the app's event loop did not for 0.1 s,"
        " so the page is still open; it ends when the loop is free"
    ]
    assert (ran, page.reason, hub.ends) == (["callback"], "too old", [])
    assert page.done is not None
    page.done(None)  # the loop is free
    assert hub.ends == [("killed", None)]


def test_an_operator_made_before_a_fork_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with Operator(f"tcp://127.0.0.1:{free_port()}", timeout=0.1) as operator:
        parent = operator._connection._io.pid
        with monkeypatch.context() as child:
            child.setattr("os.getpid", lambda: parent + 1)
            for ask in (operator.stats, operator.watch):
                with pytest.raises(Misuse, match="made before a fork; make a new one in the child"):
                    ask()
