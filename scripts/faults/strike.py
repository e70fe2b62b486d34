"""Everything a run can strike, and how each fault is done and undone."""

from __future__ import annotations

import heapq
import itertools
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from scripts.faults.attach import Link, Span
from scripts.faults.plan import Fault
from scripts.faults.processes import App, Broker, page_status
from scripts.faults.proxy import Proxy

Undo = Callable[[], None]
Name = tuple[str, int]  # a part and which of them

CLEANUP_AFTER: Final = 8.0  # seconds; the broker's, so that the dead leave the list in good time
LOOK_EVERY: Final = 0.25  # seconds between two looks at a web page
CHILD_TIMEOUT: Final = 5.0  # seconds the broker's children have to follow it
PAGES: Final = {"gateway": "/readyz", "monitor": "/"}
MODULES: Final = {"gateway": "broker.gateway", "monitor": "monitor"}
ANSWER_TIMEOUT: Final = 1.0  # seconds; the operators ask several times in each
SLOW: Final = 0.1  # seconds each piece of data waits in a slow network


class Target:
    """The broker with its children, the apps, and the proxies some of them go through."""

    def __init__(
        self,
        directory: Path,
        await_kill: Callable[[float], None],
        *,
        apps: int,
        sessions: int,
        monitor: bool,
    ) -> None:
        """``await_kill`` returns when a kill is accepted, or after so many seconds."""
        self.broker = Broker(directory, cleanup_after=CLEANUP_AFTER, monitor=monitor)
        # one for every second app, and the last one for operators
        self.proxies = [Proxy(self.broker.bus_port) for _ in range(apps // 2 + 1)]
        self.apps = [App(f"app{n}", self._way(n), sessions, directory) for n in range(apps)]
        self.injected: Counter[str] = Counter()
        self.noted: list[str] = []
        self._await_kill = await_kill
        self._journal = directory / "faults.jsonl"  # for those who look for a cause
        self._outages: list[float] = []  # when each began
        self._troubled: dict[Name, list[Span]] = {}  # by faults that ended no process
        self._undo: list[tuple[float, int, Fault, float, Undo]] = []
        self._order = itertools.count()
        self._looked_at = dict.fromkeys(PAGES, 0.0)
        self._kinds: dict[str, Callable[[Fault], Undo]] = {
            "broker kill -9": self._kill_broker,
            "broker kill -9 at an answer": self._kill_broker_at_an_answer,
            "broker restart": self._restart_broker,
            "broker frozen": lambda _: self._freeze(psutil.Process(self.broker.pid)),
            "app kill -9": lambda f: self._end_app(f.target, "killed", signal.SIGKILL),
            "app exit": lambda f: self._end_app(f.target, "exited", signal.SIGTERM),
            "app frozen": lambda f: self._freeze(psutil.Process(self._app_pid(f.target))),
            "gateway kill -9": self._kill_child,
            "gateway frozen": self._freeze_child,
            "monitor kill -9": self._kill_child,
            "monitor frozen": self._freeze_child,
            "network slow": lambda f: self._network(f.target, lambda p: p.slow(SLOW)),
            "network stalled": lambda f: self._network(f.target, Proxy.stall),
            "network swallows": lambda f: self._network(f.target, Proxy.swallow),
            "network cut": lambda f: self._network(f.target, Proxy.cut),
            "half-closed at the broker": lambda f: self._network(
                f.target, lambda p: p.halve("server")
            ),
            "half-closed at the client": lambda f: self._network(
                f.target, lambda p: p.halve("client")
            ),
        }

    def _way(self, app: int) -> str:
        """The address an app has of the broker: every second one goes through a proxy."""
        return f"tcp://127.0.0.1:{self.proxies[app // 2].port}" if app % 2 else self.broker.bus

    @property
    def parts(self) -> dict[str, int]:
        """How many there are of each part."""
        monitors = 0 if self.broker.monitor_port is None else 1
        return {
            "broker": 1,
            "gateway": 1,
            "monitor": monitors,
            "app": len(self.apps),
            "proxy": len(self.proxies),
        }

    # --- running -----------------------------------------------------------------------------

    def start(self) -> None:
        self.broker.start()
        for app in self.apps:
            app.start()

    def tend(self) -> None:
        """Undo what is due, and see to those that have ended or have to come back."""
        now = time.monotonic()
        while self._undo and self._undo[0][0] <= now:
            self._undo_next(now)
        times = len(self.broker.came_back)
        self.broker.tend(now)
        if len(self.broker.came_back) > times:
            self._tell("broker listens", now)
        for app in self.apps:
            app.tend()

    def _undo_next(self, now: float) -> None:
        _, _, fault, began, undo = heapq.heappop(self._undo)
        undo()
        self._tell(f"undone: {fault.kind}", now, fault.target)
        if not fault.ends:
            name = (fault.part, fault.target)
            self._troubled.setdefault(name, []).append(Span(began, now))

    def calm(self) -> None:
        """Undo everything now."""
        while self._undo:
            self._undo_next(time.monotonic())

    def well(self, part: str, target: int) -> bool:
        """Whether this one is there and in good health, so that it may be struck (again)."""
        if any((f.part, f.target) == (part, target) for _, _, f, _, _ in self._undo):
            return False
        if part == "broker":
            return self.broker.running and not self.broker.starting
        if part == "app":
            life = self.apps[target].life
            return life.fate == "alive" and life.started
        return part == "proxy" or self._answers(part)

    def _answers(self, part: str) -> bool:
        """Whether a child of the broker serves its page."""
        port = self.broker.http_port if part == "gateway" else self.broker.monitor_port
        now = time.monotonic()
        if port is None or now < self._looked_at[part] + LOOK_EVERY or not self.well("broker", 0):
            return False
        self._looked_at[part] = now
        return (
            self.broker.child(MODULES[part]) is not None and page_status(port, PAGES[part]) == 200
        )

    def strike(self, fault: Fault) -> None:
        now = time.monotonic()
        self._tell(fault.kind, now, fault.target)
        undo = self._kinds[fault.kind](fault)
        self.injected[fault.kind] += 1
        heapq.heappush(self._undo, (now + fault.seconds, next(self._order), fault, now, undo))

    def _tell(self, what: str, at: float, target: int = 0) -> None:
        with self._journal.open("a") as file:
            file.write(json.dumps({"at": at, "what": what, "target": target}) + "\n")

    # --- faults ------------------------------------------------------------------------------

    def _kill_broker(self, _fault: Fault) -> Undo:
        self._outages.append(time.monotonic())
        self.broker.kill()
        return self.broker.start

    def _kill_broker_at_an_answer(self, fault: Fault) -> Undo:
        self._await_kill(ANSWER_TIMEOUT)
        return self._kill_broker(fault)

    def _restart_broker(self, _fault: Fault) -> Undo:
        self._outages.append(time.monotonic())
        self.broker.stop()
        return self.broker.start

    def _app_pid(self, target: int) -> int:
        return self.apps[target].life.process.pid

    def _end_app(self, target: int, fate: str, number: signal.Signals) -> Undo:
        app = self.apps[target]
        wrong = app.life.end(fate, number)
        if wrong is not None:
            self.noted.append(wrong)
        return app.start

    def _freeze(self, process: psutil.Process) -> Undo:
        process.suspend()

        def resume() -> None:
            with suppress(psutil.NoSuchProcess):  # killed with its broker meanwhile
                process.resume()

        return resume

    def _child(self, fault: Fault) -> psutil.Process | None:
        return self.broker.child(MODULES[fault.part])

    def _kill_child(self, fault: Fault) -> Undo:
        child = self._child(fault)
        if child is not None:  # else it went by itself, and that it comes back is seen to
            child.kill()
        return lambda: None

    def _freeze_child(self, fault: Fault) -> Undo:
        child = self._child(fault)
        return (lambda: None) if child is None else self._freeze(child)

    def _network(self, target: int, harm: Callable[[Proxy], None]) -> Undo:
        proxy = self.proxies[target]
        harm(proxy)
        return proxy.mend

    # --- afterwards --------------------------------------------------------------------------

    def violations(self) -> list[str]:
        """What went wrong that nobody had asked for."""
        by_itself = [text for app in self.apps for text in app.ended]
        return [*self.noted, *self.broker.ended, *by_itself]

    def outages(self) -> list[Span]:
        """When the broker was away on purpose; its first start is none."""
        return [
            Span(*times) for times in zip(self._outages, self.broker.came_back[1:], strict=False)
        ]

    def links(self) -> list[Link]:
        """What each life of each app saw of the broker."""
        frozen = self._troubled.get(("broker", 0), [])
        found = []
        for number, app in enumerate(self.apps):
            mine = [*frozen, *self._troubled.get(("app", number), [])]
            if number % 2:
                mine += self._troubled.get(("proxy", number // 2), [])
            for life in app.lives:
                times = {
                    event: [entry["at"] for entry in life.found(event)]
                    for event in ("started", "down", "up")
                }
                if times["started"]:
                    born = times["started"][0]
                    found.append(Link(born, times["down"], times["up"], mine))
        return found

    def end(self) -> None:
        """End every process that was started, and whatever those have started."""
        self.calm()
        children = [child for name in MODULES.values() if (child := self.broker.child(name))]
        if self.broker.starting:
            self.broker.kill()
        self.broker.stop()
        for app in self.apps:
            for life in app.lives:
                if life.fate == "alive":
                    life.end("exited", signal.SIGKILL)
        for proxy in self.proxies:
            proxy.close()
        _, left = psutil.wait_procs(children, CHILD_TIMEOUT)
        for child in left:
            with suppress(psutil.NoSuchProcess):
                child.kill()
