"""Real brokers and real app processes, ended with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sessionclient import Operator, SessionClient
from tests.support.processes import BrokerProcess, Process, running, running_broker

StartBroker = Callable[..., BrokerProcess]
StartApp = Callable[..., Process]
Connect = Callable[[BrokerProcess], Operator]
Track = Callable[..., SessionClient]


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Start a broker with these flags and wait until it serves."""
    with ExitStack() as stack:
        yield lambda *flags: stack.enter_context(running_broker(tmp_path, *flags))


@pytest.fixture
def start_app(tmp_path: Path) -> Iterator[StartApp]:
    """Start tests/support/app_process.py at a broker, with these flags."""
    with ExitStack() as stack:
        numbers = iter(range(100))

        def start(bus: str, *flags: str) -> Process:
            words = ["-m", "tests.support.app_process", "--server", bus, *flags]
            return stack.enter_context(running(words, tmp_path / f"app{next(numbers)}.log"))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """An operator of a broker; patient, because brokers restart in these tests."""
    with ExitStack() as stack:
        yield lambda broker: stack.enter_context(Operator(broker.bus, timeout=20))


@pytest.fixture
def track() -> Iterator[Track]:
    """A session of this process, beating often."""
    trackers: list[SessionClient] = []

    def start(bus: str, app: str = "sales", user: str | None = None) -> SessionClient:
        trackers.append(SessionClient(app, user, bus, heartbeat_interval=0.5))
        return trackers[-1]

    yield start
    for tracker in trackers:
        tracker.stop()
