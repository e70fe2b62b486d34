"""The gateway as the broker's child: gone, back, and never in the way of the bus."""

from __future__ import annotations

import httpx
import psutil
import pytest

from tests.process.conftest import StartBroker, Track
from tests.support.processes import BrokerProcess, eventually, free_port, listening

pytestmark = pytest.mark.process


def gateway_of(broker: BrokerProcess) -> psutil.Process | None:
    children = psutil.Process(broker.pid).children()
    return next((c for c in children if "broker.gateway" in c.cmdline()), None)


def answers(broker: BrokerProcess, path: str = "/readyz") -> bool:
    try:
        return httpx.get(broker.http + path, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_gateway_that_dies_comes_back_and_the_bus_does_not_notice(
    start_broker: StartBroker, track: Track
) -> None:
    broker = start_broker("--gateway")
    tracker = track(broker.bus)
    eventually(lambda: answers(broker), "the gateway is ready")
    eventually(lambda: tracker.online, "the session is registered")
    gateway = gateway_of(broker)
    assert gateway is not None
    gateway.kill()
    eventually(lambda: not answers(broker), "it is gone")
    assert tracker.online
    eventually(lambda: answers(broker), "it is back")
    rows = httpx.get(f"{broker.http}/sessions", trust_env=False).json()
    assert [row["session_id"] for row in rows["sessions"]] == [tracker.session_id]
    assert broker.stop() == 0
    eventually(lambda: not answers(broker, "/healthz"), "it ends with the broker")


def test_a_broker_killed_hard_takes_its_gateway_along_and_returns_with_a_new_one(
    start_broker: StartBroker, track: Track
) -> None:
    broker = start_broker("--gateway")
    tracker = track(broker.bus)
    eventually(lambda: answers(broker), "the gateway is ready")
    gateway = gateway_of(broker)
    assert gateway is not None
    broker.kill()
    eventually(lambda: not gateway.is_running(), "the orphan ends by itself")
    broker.start()
    broker.wait_until_serving()
    eventually(lambda: answers(broker), "REST is back")
    eventually(lambda: tracker.online, "the session is back")


def test_a_kill_over_rest_waits_for_its_outcome(start_broker: StartBroker, track: Track) -> None:
    broker = start_broker("--gateway")
    tracker = track(broker.bus)
    eventually(lambda: answers(broker) and tracker.online, "all is up")
    url = f"{broker.http}/sessions/{tracker.session_id}/kill?wait=10"
    first = httpx.post(
        url, json={"reason": "too big"}, headers={"Idempotency-Key": "k1"}, trust_env=False
    )
    assert (first.status_code, first.json()["stage"]) == (202, "completed")
    assert tracker.kill_reason == "too big"
    again = httpx.post(
        url, json={"reason": "too big"}, headers={"Idempotency-Key": "k1"}, trust_env=False
    )
    assert again.json() == first.json()
    other = httpx.post(
        url, json={"reason": "another"}, headers={"Idempotency-Key": "k1"}, trust_env=False
    )
    assert other.status_code == 422


def test_a_monitor_beside_the_broker_ends_with_it_however_that_ends(
    start_broker: StartBroker,
) -> None:
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PANELBUS_PORT", str(port))
        broker = start_broker("--no-gateway", "--monitor")
    eventually(lambda: listening(port), "the monitor serves", 60)
    broker.kill()
    eventually(lambda: not listening(port), "the orphan ends by itself")
