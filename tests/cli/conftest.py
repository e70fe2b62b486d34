"""A real broker for the commands, and sessions of this process at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from sessionclient import SessionClient
from sessionclient.cli import main
from tests.support.processes import BrokerProcess, eventually, running_broker


@pytest.fixture(scope="package")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path_factory.mktemp("cli")) as broker:
        yield broker


@pytest.fixture
def run(broker: BrokerProcess) -> Callable[..., Result]:
    """Run ``panelbus`` with these words, at the test's broker."""

    def run(*words: str, input: str | None = None) -> Result:
        env = {"PANELBUS_URL": broker.bus, "COLUMNS": "160"}
        return CliRunner().invoke(main, list(words), input=input, env=env)

    return run


Open = Callable[..., SessionClient]


@pytest.fixture
def opened(broker: BrokerProcess) -> Iterator[Open]:
    """Open sessions that the broker knows when the call returns."""
    trackers = []

    def open_one(app: str, user: str | None = None) -> SessionClient:
        tracker = SessionClient(app, user, broker.bus, heartbeat_interval=1.0)
        trackers.append(tracker)
        eventually(lambda: tracker.online, "the session is registered")
        return tracker

    yield open_one
    for tracker in trackers:
        tracker.stop()
