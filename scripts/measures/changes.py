"""Changes of status: what one costs the broker, how many it takes, how many its feed carries.

The changes come from bare app processes in one child, and are real ones: each session's differs
from its last. A subscriber in another child counts what the feed brings and notices gaps. Beside
it the ceiling: what PUB and SUB carry from one Python process to another.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import zmq

from scripts.measures import stage
from scripts.measures.crowd import crowd
from scripts.measures.figures import Figure, Measure, Round, Sample, Setting
from scripts.measures.subscriber import RAW_BYTES, RAW_EVENTS, RAW_NUMBER, subscriber
from scripts.ports import free_address

PROCESSES: Final = 100  # that the sessions are spread over
CALM: Final = 0.25  # of the pace of a broker that has much to do; then each change wakes it
LEAST_SECONDS: Final = 1.2  # of changes
FLUSHED: Final = 1.5  # seconds without a write, when there is a flush a second: nothing waits
RAW_QUEUE: Final = 500  # messages that wait for a subscriber, as the broker has it


class Meter:
    """The CPU a broker uses for something, until what is to be on the disk is there."""

    def __init__(self, broker: stage.Broker, seconds: float) -> None:
        """See first what it uses when nothing is asked of it, for so many ``seconds``."""
        self._broker = broker
        self._idle = 0.0  # seconds of CPU in each second
        self._await_flushed()
        self._begin()
        time.sleep(seconds)
        self._idle = self._end() / seconds

    def used(self, do: Callable[[], dict[str, Any]]) -> tuple[float, dict[str, Any]]:
        """Seconds of CPU for what ``do`` does, over those it would have used anyway; and what that
        returned."""
        self._begin()
        found = do()
        self._await_flushed()
        return self._end(), found

    def _begin(self) -> None:
        self._cpu, self._began = self._broker.running.cpu(), time.monotonic()

    def _end(self) -> float:
        took = time.monotonic() - self._began
        return max(0.0, self._broker.running.cpu() - self._cpu - self._idle * took)

    def _await_flushed(self) -> None:
        """The broker could tell, but to count what it holds would cost it more than is measured."""
        log = self._broker.database.with_name(self._broker.database.name + "-wal")
        asked = time.time()
        stage.wait_for(
            lambda: time.time() - max(asked, log.stat().st_mtime) > FLUSHED,
            "everything is on the disk",
        )


def paced(crowd: stage.Running, setting: Setting, share: float = CALM) -> dict[str, Any]:
    """Changes at an even pace, which is a ``share`` of the busy one, and for so long that the disk
    is written to beside them."""
    seconds = max(LEAST_SECONDS, setting.scale.seconds)
    return crowd.ask(do="change", rate=share * setting.scale.busy, seconds=seconds)


def _changes(meter: Meter, crowd: stage.Running, setting: Setting) -> Sample:
    used, found = meter.used(partial(paced, crowd, setting, 1.0))
    calm_used, calm = meter.used(partial(paced, crowd, setting))
    seconds = setting.scale.seconds
    flood_used, flood = meter.used(partial(crowd.ask, do="flood", seconds=seconds))
    return {
        "changes.cpu": 1e6 * used / found["changes"],
        "changes.calm_cpu": 1e6 * calm_used / calm["changes"],
        "changes.rate": flood["within"] / flood["took"],
        "changes.flood_cpu": 1e6 * flood_used / flood["changes"],
        "changes.load": 100.0 * flood["load"],
    }


@contextmanager
def start_changes(setting: Setting) -> Iterator[Round]:
    with (
        stage.broker(setting.directory) as broker,
        crowd(broker.bus, PROCESSES, setting.scale.sessions) as sender,
        subscriber(broker.feed),
    ):
        meter = Meter(broker, max(LEAST_SECONDS, setting.scale.seconds) + FLUSHED)
        yield partial(_changes, meter, sender, setting)


def _feed(sender: stage.Running, receiver: stage.Running, seconds: float, name: str) -> Sample:
    receiver.ask(do="begin")
    flood = sender.ask(do="flood", seconds=seconds)
    got = receiver.ask(do="end", changes=flood["changes"])
    rate = got["changes"] / got["seconds"] if got["seconds"] else 0.0
    return {f"{name}.rate": rate, f"{name}.gaps": float(got["gaps"])}


@contextmanager
def start_feed(setting: Setting) -> Iterator[Round]:
    with (
        stage.broker(setting.directory) as broker,
        crowd(broker.bus, PROCESSES, setting.scale.sessions) as sender,
        subscriber(broker.feed) as receiver,
    ):
        yield partial(_feed, sender, receiver, setting.scale.seconds, "feed")


def be_the_publisher(address: str) -> None:
    """Publish messages as fast as the subscriber takes them: none is dropped."""
    context: zmq.Context[Any] = zmq.Context()
    socket: zmq.Socket[bytes] = context.socket(zmq.XPUB)  # it can tell who subscribes
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.SNDHWM, RAW_QUEUE)
    socket.set(zmq.XPUB_NODROP, 1)
    socket.set(zmq.RCVTIMEO, int(stage.TIMEOUT * 1000))
    socket.bind(address)
    print("{}", flush=True)
    socket.recv()  # the subscription
    number, body = 0, bytes(RAW_EVENTS * RAW_BYTES)
    socket.send(number.to_bytes(RAW_NUMBER))

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        nonlocal number
        before, until = number, time.monotonic() + order["seconds"]
        # two at least, or there is no time between the first and the last
        while time.monotonic() < until or number < before + 2:
            number += 1
            socket.send(number.to_bytes(RAW_NUMBER) + body)
        return {"changes": (number - before) * RAW_EVENTS}

    stage.serve(answer)
    context.destroy(linger=0)


@contextmanager
def start_raw_pub(setting: Setting) -> Iterator[Round]:
    address = free_address()
    with stage.process(__name__, address, name="the raw publisher") as publisher:
        publisher.hear()
        with subscriber(address, raw=True) as receiver:
            yield partial(_feed, publisher, receiver, setting.scale.seconds, "raw_pub")


CHANGES: Final = Measure(
    "changes of status",
    (
        Figure("changes.cpu", "change of status, persisted and published: CPU of the broker", "µs"),
        Figure(
            "changes.calm_cpu", "change of status of a quarter as many: CPU of the broker", "µs"
        ),
        Figure("changes.rate", "changes of status the broker takes", "/s", "more"),
        Figure("changes.flood_cpu", "change of status among as many as it takes: its CPU", "µs"),
        Figure("changes.load", "changes of status: of the core of the side that sends", "%"),
    ),
    start_changes,
)
FEED: Final = Measure(
    "the feed",
    (
        Figure("feed.rate", "changes the feed brings to a subscriber", "/s", "more"),
        Figure("feed.gaps", "gaps in the feed", ""),
    ),
    start_feed,
)
RAW_PUB: Final = Measure(
    "raw PUB",
    (
        Figure("raw_pub.rate", "raw PUB to SUB, 100 events of 200 bytes a message", "/s", "more"),
        Figure("raw_pub.gaps", "gaps in it", ""),
    ),
    start_raw_pub,
)

if __name__ == "__main__":
    be_the_publisher(sys.argv[1])
