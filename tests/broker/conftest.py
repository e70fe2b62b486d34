"""A running bus, and an operator's connection to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker.raw import RawPeer
from tests.broker.running import RunningBus


@pytest.fixture
def running() -> Iterator[RunningBus]:
    with RunningBus() as bus:
        yield bus


@pytest.fixture
def operator(running: RunningBus) -> Iterator[RawPeer]:
    with RawPeer(running.address) as peer:
        peer.greet("op", role="operator")
        yield peer
