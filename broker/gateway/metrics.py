"""The broker's figures in Prometheus' text format.

They are fetched at each scrape and put into a registry of that scrape's own: the gateway counts
nothing itself, so several of them tell the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES: Final = 1000  # of one metric: status and app are the clients' own words
OTHER: Final = "(other)"  # label of what is beyond

_GAUGES: Final = (
    # name, key in the stats, help
    ("panelbus_stale_sessions", "stale", "Live sessions not heard of for the stale time"),
    ("panelbus_processes", "processes", "App processes linked to the broker"),
    ("panelbus_peers", "peers", "Connections of any role"),
    ("panelbus_feed_number", "feed_number", "Number of the newest feed message"),
    ("panelbus_uptime_seconds", "uptime", "Seconds since the broker started"),
)
_COUNTERS: Final = (
    # name, key in the stats, label, help
    ("panelbus_messages", "messages", "kind", "Messages taken in"),
    ("panelbus_rejected", "rejected", "cause", "Messages refused"),
    ("panelbus_kills", "kills", "stage", "Kills that reached a stage"),
)
_HISTOGRAMS: Final = (
    # name, key in the stats, help
    (
        "panelbus_kill_latency_seconds",
        "kill_latency",
        "From a kill's request to the acknowledgement of its delivery",
    ),
    ("panelbus_commit_seconds", "commit", "Duration of a commit"),
)


class StatsCollector(Collector):
    """One answer of the broker's `stats` as metrics; None when it gave none."""

    def __init__(self, stats: Mapping[str, Any] | None) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Every metric of this answer; what the broker does not tell is left out."""
        stats = self._stats
        yield GaugeMetricFamily(
            "panelbus_up", "1 when the broker answers", value=0 if stats is None else 1
        )
        if stats is None:
            return
        health = stats.get("health") or {}
        yield GaugeMetricFamily(
            "panelbus_degraded",
            "1 when the broker can't keep everything, usually for its disk",
            value=int(health.get("status") == "degraded"),
        )
        yield _sessions(stats.get("sessions") or ())
        for name, key, text in _GAUGES:
            if key in stats:
                yield GaugeMetricFamily(name, text, value=stats[key])
        for name, key, label, text in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=[label])
            for word, count in _bounded((stats.get(key) or {}).items()):
                counter.add_metric([word], count)
            yield counter
        queues = GaugeMetricFamily("panelbus_queue_depth", "Items waiting", labels=["queue"])
        for word, depth in _bounded((stats.get("queues") or {}).items()):
            queues.add_metric([word], depth)
        yield queues
        for name, key, text in _HISTOGRAMS:
            if key in stats:
                yield _histogram(name, text, stats[key])


def _sessions(rows: Iterable[Any]) -> Metric:
    gauge = GaugeMetricFamily("panelbus_sessions", "Live sessions", labels=["app", "status"])
    counts = [((str(app), str(status)), count) for app, status, count in rows]
    for labels, count in counts[:MAX_SERIES]:
        gauge.add_metric(labels, count)
    if len(counts) > MAX_SERIES:
        gauge.add_metric([OTHER, OTHER], sum(count for _, count in counts[MAX_SERIES:]))
    return gauge


def _bounded(items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    pairs = list(items)
    yield from ((str(word), count) for word, count in pairs[:MAX_SERIES])
    if len(pairs) > MAX_SERIES:
        yield OTHER, sum(count for _, count in pairs[MAX_SERIES:])


def _histogram(name: str, text: str, figures: Mapping[str, Any]) -> Metric:
    count = figures["count"]
    buckets = [
        (repr(float(upper)), cumulative)
        for upper, cumulative in figures.get("buckets") or ()
        if not math.isinf(upper)
    ]
    family = HistogramMetricFamily(name, text)
    family.add_metric([], [*buckets, ("+Inf", count)], figures["sum"])
    return family


def exposition(stats: Mapping[str, Any] | None) -> bytes:
    """The text of one scrape; None for a broker that does not answer."""
    registry = CollectorRegistry()
    registry.register(StatsCollector(stats))
    return generate_latest(registry)
