"""How what the broker does grows with the sessions it holds.

At each size a broker of its own, with the sessions spread over a hundred processes. What a message
costs and how long a kill takes should not grow at all; memory and a restart as the sessions do.
Below 10,000 sessions a change costs less, because each session changes several times between two
writes to the disk, and is written once.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from scripts.measures import stage
from scripts.measures.changes import Meter, paced
from scripts.measures.crowd import crowd
from scripts.measures.figures import Figure, Setting
from scripts.measures.many import restarted, settle
from scripts.measures.pages import pages
from scripts.measures.results import Point
from sessionclient import Operator

PROCESSES: Final = 100  # the most sessions there may be are the most each of these may have
REQUESTS: Final = 100  # for a page
QUICK_REQUESTS: Final = 20
IDLE: Final = 1.0  # seconds the broker is seen idle
LOAD: Final = 1.0  # seconds of requests, at most
KILL_PAUSE: Final = 0.01  # seconds, so that each kill is measured alone
FITTED: Final = 3  # sizes, the largest

FIGURES: Final = (
    Figure("growth.change", "CPU of one change of status", "µs"),
    Figure("growth.get", "CPU of one request", "µs"),
    Figure("growth.kill", "kill, until its process has it, median", "ms"),
    Figure("growth.page", "page of 100 over REST, median", "ms"),
    Figure("growth.memory", "memory for all sessions", "B"),
    Figure("growth.restart", "restart until it serves", "s"),
)


def exponent(points: Sequence[Point], key: str) -> float:
    """How a figure grows: as the sessions to this power; 0 not at all, 1 as they do.

    It is the slope of a straight line through the logarithms of the figure over those of the
    sessions, by least squares, over the three largest sizes (or all, when they are fewer): with
    few sessions what is always there hides what grows. What is not above zero is left out.

    Raises:
        ValueError: there are fewer than two different sizes.
    """
    return _fit(_usable(points, key), key)[0]


def fitted(points: Sequence[Point], key: str) -> list[tuple[int, float]]:
    """That line: (sessions, value of the figure) at the sizes it was drawn through."""
    usable = _usable(points, key)
    slope, intercept = _fit(usable, key)
    sizes = [point.sessions for point in usable]
    return [(size, math.exp(intercept + slope * math.log(size))) for size in sizes]


def _usable(points: Sequence[Point], key: str) -> list[Point]:
    largest = sorted(points, key=lambda point: point.sessions)[-FITTED:]
    return [point for point in largest if point.figures[key] > 0]


def _fit(usable: Sequence[Point], key: str) -> tuple[float, float]:
    """Slope and intercept between the logarithms."""
    sizes = [math.log(point.sessions) for point in usable]
    if len(set(sizes)) < 2:
        raise ValueError(f"{key}: two sizes or more are needed to see growth")
    line = statistics.linear_regression(sizes, [math.log(point.figures[key]) for point in usable])
    return line.slope, line.intercept


def grow(setting: Setting, tell: Callable[[str], None]) -> list[Point]:
    """Measure at each of the scale's sizes; ``tell`` is told what is being done."""
    points = []
    for sessions in setting.scale.growth:
        own = replace(setting, directory=setting.directory / str(sessions))
        points.append(Point(sessions, _at(own, sessions, tell)))
    return points


def _at(setting: Setting, sessions: int, tell: Callable[[str], None]) -> dict[str, float]:
    def step(what: str) -> None:
        tell(f"{sessions:,} sessions: {what}")

    with ExitStack() as brokers:
        step("they greet the broker")
        broker = brokers.enter_context(stage.broker(setting.directory))
        empty = broker.running.memory()
        with crowd(broker.bus, min(PROCESSES, sessions), sessions) as held:
            settle(setting)
            values = {"growth.memory": float(broker.running.memory() - empty)}
            step("changes and requests")
            values |= _costs(setting, broker, held)
            step("kills")
            values["growth.kill"] = 1e3 * statistics.median(_kills(setting, broker.bus, held))
            step("pages")
            values["growth.page"] = 1e3 * statistics.median(_pages(setting, broker.http))
        step("the broker starts again")
        values["growth.restart"] = _restart(brokers, setting.directory, broker.bus, sessions)
    return values


def _restart(brokers: ExitStack, directory: Path, bus: str, sessions: int) -> float:
    return restarted(brokers, directory, bus, sessions)[1]


def _costs(setting: Setting, broker: stage.Broker, held: stage.Running) -> dict[str, float]:
    """CPU of one change of status, and of one `get` as fast as they go (µs)."""
    used, found = Meter(broker, IDLE).used(partial(paced, held, setting))
    before = broker.running.cpu()
    answered = held.ask(do="get", seconds=min(LOAD, setting.scale.seconds))["answered"]
    return {
        "growth.change": 1e6 * used / found["changes"],
        "growth.get": 1e6 * (broker.running.cpu() - before) / answered,
    }


def _kills(setting: Setting, bus: str, held: stage.Running) -> list[float]:
    """Seconds from an operator's call until the session's process has the command, of each kill.

    Both clocks are this machine's monotonic one.
    """
    taken = []
    with Operator(bus, timeout=stage.TIMEOUT) as operator:
        operator.stats()
        for number in range(setting.scale.kills):
            session = held.ask(do="choose", number=number)["session"]
            held.tell(do="die", session=session)
            time.sleep(KILL_PAUSE)
            called = time.monotonic()
            operator.request_kill(session)
            taken.append(held.hear()["at"] - called)
    return taken


def _pages(setting: Setting, http: str) -> list[float]:
    requests = QUICK_REQUESTS if setting.scale.quick else REQUESTS
    with pages(http) as client:
        client.times(requests // 10)
        return client.times(requests)
