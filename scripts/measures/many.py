"""100,000 sessions: the broker's memory and rest, its restart, and pages of their list in REST."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import zmq

from scripts.measures import stage
from scripts.measures.crowd import crowd
from scripts.measures.figures import Figure, Measure, Round, Sample, Setting
from scripts.measures.fleet import Peer
from scripts.measures.pages import p99, pages
from scripts.ports import listens

PER_PROCESS: Final = 100  # sessions of one app process
SETTLE: Final = 6.0  # seconds until the broker has given back what it needed for a while only
QUICK_SETTLE: Final = 1.0
REST: Final = 5.0  # seconds of rest that are measured
QUICK_REST: Final = 1.0
REQUESTS: Final = 200  # for each of the two pages
QUICK_REQUESTS: Final = 20


def settle(setting: Setting) -> None:
    """Let the broker come to rest after much has happened."""
    time.sleep(QUICK_SETTLE if setting.scale.quick else SETTLE)


def restarted(
    brokers: ExitStack, directory: Path, bus: str, sessions: int
) -> tuple[stage.Broker, float]:
    """End the broker that ``brokers`` holds, in order, and start another on the same database and
    address; it, and how long it took to serve (seconds).

    It serves when it answers what is live, which is to be ``sessions``, as a client that connects
    as soon as it can is told. The time is that of the start alone, Python's own included.
    """
    brokers.close()
    began = time.monotonic()
    broker = brokers.enter_context(stage.broker(directory, bus=bus, wait=False))
    port = int(bus.rpartition(":")[2])
    ended = broker.running.popen.poll
    stage.wait_for(lambda: ended() is not None or listens(port), "the broker listens")
    if ended() is None and (total := _total(bus)) != sessions:
        raise RuntimeError(f"{total} of {sessions} sessions came back")
    took = time.monotonic() - began
    stage.await_broker(broker)
    return broker, took


def _total(bus: str) -> int:
    """How many sessions are live, as soon as the broker answers."""
    context: zmq.Context[Any] = zmq.Context()
    try:
        peer = Peer(context, bus, "operator")
        peer.hello([])
        peer.receive_kind("welcome")
        peer.say("list", r=1, limit=1)
        return int(peer.receive_kind("reply")["result"]["total"])
    finally:
        context.destroy(linger=0)


class _Many:
    """A broker that holds many sessions, and the child that is their processes."""

    def __init__(
        self, setting: Setting, brokers: ExitStack, broker: stage.Broker, crowd: stage.Running
    ) -> None:
        self._setting, self._brokers, self._broker = setting, brokers, broker
        self._crowd = crowd

        settle(setting)
        self._memory = broker.running.memory()

    def round(self, empty: int) -> Sample:
        """``empty`` are the bytes of the broker when it had no sessions."""
        many = self._setting.scale.many
        sample = {"many.memory": (self._memory - empty) / many, **self._rest(), **self._pages()}
        self._broker, took = restarted(
            self._brokers, self._setting.directory, self._broker.bus, many
        )
        sample["many.restart"] = took
        sample["many.back"] = self._crowd.ask(do="greet")["seconds"]
        settle(self._setting)
        sample["many.restarted_memory"] = (self._broker.running.memory() - empty) / many
        return sample

    def _rest(self) -> dict[str, float]:
        running = self._broker.running
        used, began = running.cpu(), time.monotonic()
        self._crowd.ask(do="rest", seconds=QUICK_REST if self._setting.scale.quick else REST)
        used, took = running.cpu() - used, time.monotonic() - began
        return {"many.rest": 100.0 * used / took}

    def _pages(self) -> dict[str, float]:
        requests = QUICK_REQUESTS if self._setting.scale.quick else REQUESTS
        with pages(self._broker.http) as client:
            client.times(requests // 10)
            first, deep = client.times(requests), client.times(requests, client.middle())
        return {
            "many.page_p50": 1e3 * statistics.median(first),
            "many.page_p99": 1e3 * p99(first),
            "many.page_deep_p50": 1e3 * statistics.median(deep),
        }


@contextmanager
def start_many(setting: Setting) -> Iterator[Round]:
    many = setting.scale.many
    with ExitStack() as brokers:
        broker = brokers.enter_context(stage.broker(setting.directory))
        empty = broker.running.memory()
        with crowd(broker.bus, max(1, many // PER_PROCESS), many) as held:
            yield partial(_Many(setting, brokers, broker, held).round, empty)


MANY: Final = Measure(
    "many sessions",
    (
        Figure("many.memory", "many sessions: memory of the broker for each", "B"),
        Figure("many.rest", "many sessions at rest: of a core of the broker", "%"),
        Figure("many.restart", "many sessions: restart of the broker until it serves", "s"),
        Figure("many.back", "many sessions: their processes greet it again, all at once", "s"),
        Figure("many.restarted_memory", "many sessions: memory for each after that", "B"),
        Figure("many.page_p50", "many sessions: first page over REST, median", "ms"),
        Figure("many.page_p99", "many sessions: first page over REST, p99", "ms"),
        Figure("many.page_deep_p50", "many sessions: page in the middle, median", "ms"),
    ),
    start_many,
)
