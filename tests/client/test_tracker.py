"""Sessions and operators in awkward moments: a page that does not end, a fork."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from sessionclient import Misuse, Operator, panel_hooks, process, tracker
from sessionclient.arguments import Settings
from sessionclient.hub import Hub
from sessionclient.panel_hooks import Page
from sessionclient.tracker import SessionClient
from tests.support.processes import eventually, free_port


class StuckPage:
    """A page whose event loop does not run until it is let, or only at first."""

    id = "page"

    def __init__(self, begins: bool) -> None:
        self.begins = begins
        self.reason: str | None = None
        self.done: Callable[[str | None], None] | None = None

    def end(
        self, reason: str | None, done: Callable[[str | None], None], began: Callable[[], None]
    ) -> None:
        self.reason, self.done = reason, done
        if self.begins:
            began()


class DeafHub:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.ends: list[tuple[str, str | None]] = []

    def failed(self, _source: Any, error: str) -> None:
        self.failures.append(error)

    def end(self, _source: Any, reason: str, error: str | None = None) -> None:
        self.ends.append((reason, error))


def told_to_end(page: StuckPage, monkeypatch: pytest.MonkeyPatch) -> tuple[DeafHub, list[str]]:
    """The hub of a session of this page that has been killed, and the callbacks that ran."""
    monkeypatch.setattr(process, "_state", process.ProcessState())
    hub, ran = DeafHub(), list[str]()
    client = SessionClient.__new__(SessionClient)
    client._set_up(Settings.check("app", None, None, 30.0), cast(Page, page))
    client._hub = cast(Hub, hub)
    client.on_kill(lambda: ran.append("callback"))
    client.on_command("c1", "too old")
    return hub, ran


@pytest.mark.parametrize("begins", [False, True])
def test_a_page_whose_loop_is_blocked_is_told_as_alive_and_later_as_ended(
    monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    monkeypatch.setattr(tracker, "PAGE_END_TIMEOUT", 0.1)
    monkeypatch.setattr(panel_hooks, "END_TIME", 0.1)
    page = StuckPage(begins)
    hub, ran = told_to_end(page, monkeypatch)
    eventually(lambda: hub.failures, "the operator is told")
    assert hub.failures == [
        "callbacks have run, but the app's event loop did not for 0.1 s,"
        " so the page is still open; it ends when the loop is free"
    ]
    assert (ran, page.reason, hub.ends) == (["callback"], "too old", [])
    assert page.done is not None
    page.done(None)  # the loop is free
    assert hub.ends == [("killed", None)]


def test_a_page_whose_browser_is_slow_to_answer_is_not_taken_for_a_blocked_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracker, "PAGE_END_TIMEOUT", 0.01)
    page = StuckPage(begins=True)
    hub, _ = told_to_end(page, monkeypatch)
    eventually(lambda: page.done, "the page begins to end")
    assert page.done is not None
    answer = threading.Timer(0.3, page.done, [None])  # much later than a loop may be blocked
    answer.start()
    eventually(lambda: hub.ends, "it has ended")
    answer.join()
    assert (hub.failures, hub.ends) == ([], [("killed", None)])


def test_an_operator_made_before_a_fork_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with Operator(f"tcp://127.0.0.1:{free_port()}", timeout=0.1) as operator:
        parent = operator._connection._io.pid
        with monkeypatch.context() as child:
            child.setattr("os.getpid", lambda: parent + 1)
            for ask in (operator.stats, operator.watch):
                with pytest.raises(Misuse, match="made before a fork; make a new one in the child"):
                    ask()
