"""Kills: of one session beside much else, of a whole app, and while the broker is busy with that
which takes it longest.

Brokers have their defaults, so a kill is on the disk, with synchronous=FULL, before it is answered
or pushed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from scripts.measures import beside, stage, targets, victims
from scripts.measures.ceilings import CEILINGS
from scripts.measures.figures import Figure, Measure, Round, Sample, Setting
from scripts.measures.spread import spread, spread_figures
from sessionclient import Operator

__all__ = ["CEILINGS", "KILL", "KILL_ALL", "UNDER"]

SETTLE: Final = 1.2  # seconds until what goes on beside has reached the disk for the first time
PAUSE: Final = 0.05  # seconds after which a process that was told to wait does so
FULL_APP: Final = "whole"  # the app that is killed as a whole
# what goes on beside a kill in UNDER, as parts of beside.py, and how it is told
BUSY: Final = {
    "snapshot": "while an operator lists all sessions",
    "kill_all": "while another app greets, is killed as a whole, and ends",
    "greeting": "while another app's processes greet all at once",
}


def processes_for(sessions: int) -> int:
    """How many processes hold them."""
    return max(10, sessions // 100)


# --- one session ---------------------------------------------------------------------------------


def _kill(
    broker: stage.Broker, crowd: stage.Running, app: targets.Targets, setting: Setting
) -> Sample:
    sessions = app.make(setting.scale.kills)
    with beside.going(crowd):
        time.sleep(SETTLE)
        heard, cpu, began = _heard(app.operator), broker.running.cpu(), time.monotonic()
        taken = app.kill(sessions)
        seconds, used = time.monotonic() - began, broker.running.cpu() - cpu
        heard = _heard(app.operator) - heard
    return {
        **spread("kill", taken),
        "kill.beside": heard / seconds,
        "kill.busy": 100.0 * used / seconds,
    }


def _heard(operator: Operator) -> int:
    """Messages of the crowd that the broker has handled; what it was sent may be more."""
    messages = operator.stats()["messages"]
    return int(messages.get("status", 0) + messages.get("heartbeat", 0))


@contextmanager
def start_kill(setting: Setting) -> Iterator[Round]:
    sessions = setting.scale.sessions
    with (
        stage.broker(setting.directory) as broker,
        stage.process(
            beside.__name__,
            "crowd",
            broker.bus,
            processes_for(sessions),
            sessions,
            setting.scale.busy,
            name="the crowd",
        ) as crowd,
        targets.targets(broker.bus) as app,
    ):
        crowd.hear()
        yield partial(_kill, broker, crowd, app, setting)


# --- a whole app ---------------------------------------------------------------------------------


def _kill_all(
    broker: stage.Broker, app: stage.Running, operator: Operator, sessions: int
) -> Sample:
    app.ask(do="greet")
    app.tell(do="await")
    time.sleep(PAUSE)
    cpu, called = broker.running.cpu(), time.monotonic()
    killed = operator.request_kill_by_app(FULL_APP, "measured")
    last = app.hear()["at"]
    used = broker.running.cpu() - cpu
    gone = app.ask(do="obey")["at"]
    used_in_all = broker.running.cpu() - cpu
    if killed != sessions:
        raise RuntimeError(f"{killed} of {sessions} sessions were killed")
    return {
        "kill_all.last": 1000.0 * (last - called),
        "kill_all.cpu": 1000.0 * used,
        "kill_all.gone": 1000.0 * (gone - called),
        "kill_all.gone_cpu": 1000.0 * used_in_all,
    }


@contextmanager
def start_kill_all(setting: Setting) -> Iterator[Round]:
    sessions = setting.scale.sessions
    with (
        stage.broker(setting.directory) as broker,
        stage.process(
            victims.__name__,
            broker.bus,
            processes_for(sessions),
            sessions,
            FULL_APP,
            name="the app",
        ) as app,
        Operator(broker.bus, timeout=stage.TIMEOUT) as operator,
    ):
        yield partial(_kill_all, broker, app, operator, sessions)


# --- beside that which takes the broker longest --------------------------------------------------


def _under(parts: dict[str, stage.Running], app: targets.Targets, kills: int) -> Sample:
    found: dict[str, float] = {}
    for name, part in parts.items():
        sessions = app.make(kills)
        with beside.going(part) as done:
            time.sleep(PAUSE)
            taken = app.kill(sessions)
        found |= spread(f"under_{name}", taken)
        found[f"under_{name}.beside"] = done["steps"] / done["seconds"]
    return found


@contextmanager
def start_under(setting: Setting) -> Iterator[Round]:
    scale = setting.scale
    with ExitStack() as stack:
        broker = stack.enter_context(stage.broker(setting.directory))
        parts = {}
        for name in BUSY:
            sessions = scale.many if name == "snapshot" else scale.sessions
            numbers = (processes_for(sessions), sessions)
            part = stage.process(beside.__name__, name, broker.bus, *numbers, name=name)
            parts[name] = stack.enter_context(part)
            parts[name].hear()
        app = stack.enter_context(targets.targets(broker.bus))
        yield partial(_under, parts, app, scale.kills)


KILL: Final = Measure(
    "kill",
    (
        *spread_figures("kill", "kill of one session, operator's call to callback"),
        Figure("kill.beside", "messages served beside the kills", "/s", "more"),
        Figure("kill.busy", "of the broker's core, kills and messages", "%"),
    ),
    start_kill,
)
KILL_ALL: Final = Measure(
    "kill-all",
    (
        Figure("kill_all.last", "kill of a whole app, until its last process has it", "ms"),
        Figure("kill_all.cpu", "CPU of the broker until then", "ms"),
        Figure("kill_all.gone", "kill of a whole app, until all ends are on the disk", "ms"),
        Figure("kill_all.gone_cpu", "CPU of the broker until then", "ms"),
    ),
    start_kill_all,
)
UNDER: Final = Measure(
    "kills beside the longest work",
    tuple(
        figure
        for name, what in BUSY.items()
        for figure in (
            *spread_figures(f"under_{name}", f"kill {what}"),
            Figure(f"under_{name}.beside", f"how often that was done: kill {what}", "/s", "more"),
        )
    ),
    start_under,
)
