"""Probes and metrics, with the broker up, degraded, slow and down."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.gateway import health
from broker.gateway.metrics import MAX_SERIES, OTHER, exposition
from sessionclient.errors import LinkDown
from tests.gateway.asking import ask, check_problem
from tests.support.fake_operator import FakeOperator

STATS: dict[str, Any] = {
    "version": "1.2.3",
    "epoch": "e1",
    "started_at": 1767323045.0,
    "uptime": 12.5,
    "health": {"status": "degraded", "cause": "disk_full", "message": "no space left"},
    "sessions": [["sales", "idle", 3], ['a"b\\c\nd', "running", 1]],
    "stale": 1,
    "processes": 2,
    "peers": 4,
    "messages": {"hello": 7, "status": 70},
    "rejected": {"malformed": 5},
    "kills": {"requested": 3, "completed": 2},
    "kill_latency": {"buckets": [[0.001, 1], [1, 2], [10.0, 3]], "sum": 1.75, "count": 3},
    "commit": {"buckets": [[0.005, 9], [float("inf"), 10]], "sum": 0.5, "count": 10},
    "queues": {"writer": 6},
    "feed_number": 99,
}
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples_of(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_healthz_needs_no_broker(operator: FakeOperator) -> None:
    operator.fails_with = LinkDown("gone")
    response = ask(operator, "GET", "/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert operator.calls == []


def test_readyz(operator: FakeOperator) -> None:
    response = ask(operator, "GET", "/readyz")
    assert (response.status_code, response.json()) == (
        200,
        {
            "status": "ready",
            "health": {"status": "ok", "cause": None, "message": None},
            "version": "1.0.0",
            "tokens": None,
        },
    )


def test_readyz_of_a_degraded_broker(operator: FakeOperator) -> None:
    operator.stats_answer = STATS
    response = ask(operator, "GET", "/readyz")
    assert response.status_code == 200
    assert response.json()["health"] == STATS["health"]


def test_readyz_without_a_broker(operator: FakeOperator) -> None:
    operator.fails_with = LinkDown("cannot reach the broker")
    response = ask(operator, "GET", "/readyz")
    detail = "cannot reach the broker. Try again."
    check_problem(response, 503, "Service Unavailable", "link_down", detail, "/readyz")


def test_probes_do_not_wait_for_a_silent_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.PROBE_SECONDS == 2.0
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.1)
    ready, scraped = FakeOperator(), FakeOperator()
    ready.hangs = scraped.hangs = True
    response = ask(ready, "GET", "/readyz")  # it fails after `ASK_SECONDS` if the probe waits
    detail = "the broker did not answer in 0.1 s. Try again."
    check_problem(response, 503, "Service Unavailable", "timeout", detail, "/readyz")
    metrics = ask(scraped, "GET", "/metrics")
    assert metrics.status_code == 200
    assert samples_of(metrics.text) == {("panelbus_up", ()): 0.0}


def test_metrics(operator: FakeOperator) -> None:
    operator.stats_answer = STATS
    response = ask(operator, "GET", "/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert samples_of(response.text) == {
        ("panelbus_up", ()): 1,
        ("panelbus_degraded", ()): 1,
        ("panelbus_sessions", (("app", "sales"), ("status", "idle"))): 3,
        ("panelbus_sessions", (("app", 'a"b\\c\nd'), ("status", "running"))): 1,
        ("panelbus_stale_sessions", ()): 1,
        ("panelbus_processes", ()): 2,
        ("panelbus_peers", ()): 4,
        ("panelbus_feed_number", ()): 99,
        ("panelbus_uptime_seconds", ()): 12.5,
        ("panelbus_messages_total", (("kind", "hello"),)): 7,
        ("panelbus_messages_total", (("kind", "status"),)): 70,
        ("panelbus_rejected_total", (("cause", "malformed"),)): 5,
        ("panelbus_kills_total", (("stage", "requested"),)): 3,
        ("panelbus_kills_total", (("stage", "completed"),)): 2,
        ("panelbus_queue_depth", (("queue", "writer"),)): 6,
        ("panelbus_kill_latency_seconds_bucket", (("le", "0.001"),)): 1,
        ("panelbus_kill_latency_seconds_bucket", (("le", "1.0"),)): 2,
        ("panelbus_kill_latency_seconds_bucket", (("le", "10.0"),)): 3,
        ("panelbus_kill_latency_seconds_bucket", (("le", "+Inf"),)): 3,
        ("panelbus_kill_latency_seconds_count", ()): 3,
        ("panelbus_kill_latency_seconds_sum", ()): 1.75,
        ("panelbus_commit_seconds_bucket", (("le", "0.005"),)): 9,
        ("panelbus_commit_seconds_bucket", (("le", "+Inf"),)): 10,
        ("panelbus_commit_seconds_count", ()): 10,
        ("panelbus_commit_seconds_sum", ()): 0.5,
    }


def test_metrics_of_a_broker_that_tells_less(operator: FakeOperator) -> None:
    operator.stats_answer = {}
    response = ask(operator, "GET", "/metrics")
    assert response.status_code == 200
    assert samples_of(response.text) == {("panelbus_up", ()): 1, ("panelbus_degraded", ()): 0}


def test_series_are_bounded() -> None:
    stats = {
        "sessions": [["app", f"status {number}", 2] for number in range(MAX_SERIES + 5)],
        "messages": {f"kind {number}": 3 for number in range(MAX_SERIES + 5)},
    }
    samples = samples_of(exposition(stats).decode())
    assert len(samples) == 2 * (MAX_SERIES + 1) + 2
    assert samples["panelbus_sessions", (("app", OTHER), ("status", OTHER))] == 10
    assert samples["panelbus_messages_total", (("kind", OTHER),)] == 15
