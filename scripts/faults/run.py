"""One run: load and faults for a while, then quiet, then the verdict."""

from __future__ import annotations

import http.client
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from scripts.faults.attach import reattach_times
from scripts.faults.check import Callback, Evidence, Row, Told, Verdict, compare, judge, unheard
from scripts.faults.follow import Follower, plain, rest_rows, stored
from scripts.faults.killers import Killer, Notes, over_bus, over_rest
from scripts.faults.plan import Fault, plan
from scripts.faults.processes import START_TIMEOUT, Life
from scripts.faults.strike import Target
from sessionclient import Operator, PanelbusError

PACE: Final = 0.25  # seconds from one kill of an operator to its next
TURN: Final = 0.01  # seconds between two looks at everything
OPERATOR_TIMEOUT: Final = 5.0  # seconds
CHECK_EVERY: Final = 15  # faults; then all must become true, before what is wrong is forgotten
SETTLE_TIMEOUT: Final = 120.0  # seconds from the last fault until all must be true again
REPORT_TIMEOUT: Final = 20.0  # seconds an app has to tell what it holds
PAUSE: Final = 0.3  # seconds between two looks whether all is true again


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    faults: int
    apps: int
    sessions: int  # of each app
    minutes: float  # after which no more faults begin
    monitor: bool
    directory: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    injected: dict[str, int]
    reattach: list[float]  # seconds, one for each app and outage
    settled: list[float]  # seconds from the last fault's end until all was true, at each check
    unanswered: int  # kills given up without an answer, of which nothing is promised


class NotSettled(Exception):
    """Something is not as it should be, yet."""


class Run:
    """Use it as a context manager: whatever happens, what it has started ends with it."""

    def __init__(self, options: Options, tell: Callable[[str, int], None]) -> None:
        """``tell`` is told what is under way, and how many faults there were so far."""
        self._options, self._tell = options, tell
        self._notes = Notes()
        self._target = Target(
            options.directory,
            self._notes.await_accepted,
            apps=options.apps,
            sessions=options.sessions,
            monitor=options.monitor,
        )
        broker, troubled = self._target.broker, self._target.proxies[-1]
        self._operator = Operator(broker.bus, timeout=OPERATOR_TIMEOUT)
        self._far = Operator(f"tcp://127.0.0.1:{troubled.port}", timeout=OPERATOR_TIMEOUT)
        self._followers = {
            "a mirror": Follower(self._operator),
            "a mirror behind a proxy": Follower(self._far),
        }
        self._killers: list[Killer] = []
        self._settled: list[float] = []
        self._reports = itertools.count(1)
        self._lists: dict[str, list[Row]] = {}
        self._online: dict[str, frozenset[str]] = {}  # by app, as last reported

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for killer in self._killers:
            killer.abandon()
        self._target.end()
        self._operator.close()
        self._far.close()

    def play(self) -> Outcome:
        """All of it; returns what came of it."""
        self._tell("starting", 0)
        self._target.start()
        self._turn_until(self._all_well, START_TIMEOUT, "all parts are up")
        send = (("bus", over_bus(self._far)), ("REST", over_rest(self._target.broker.http_port)))
        self._killers = [Killer(via, way, self._choose, self._notes, PACE) for via, way in send]
        if self._strike():
            self._settle()
        self._target.broker.stop()
        return self._outcome()

    # --- faults ------------------------------------------------------------------------------

    def _strike(self) -> bool:
        """False when a check on the way failed, so that there is nothing left to wait for."""
        options, target = self._options, self._target
        last = time.monotonic()
        end = last + options.minutes * 60
        faults = itertools.islice(plan(options.seed, target.parts), options.faults)
        for number, fault in enumerate(faults):
            if number and number % CHECK_EVERY == 0:
                if not self._settle():
                    return False
                self._go_on()
                last = time.monotonic()
            self._tell(fault.kind, number)
            due = last + fault.after
            ready = self._ready(fault, due)
            if not self._turn_until(ready, fault.after + START_TIMEOUT, f"{fault.part} is back"):
                break
            if time.monotonic() > end:
                break
            target.strike(fault)
            last = time.monotonic()
        return True

    def _ready(self, fault: Fault, due: float) -> Callable[[], bool]:
        return lambda: time.monotonic() >= due and self._target.well(fault.part, fault.target)

    def _turn_until(self, condition: Callable[[], bool], timeout: float, what: str) -> bool:
        """Look after everything until the condition is true; False, and noted, when it never is."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                self._target.noted.append(f"not within {timeout:.0f} s: {what}")
                return False
            self._target.tend()
            time.sleep(TURN)
        return True

    def _all_well(self) -> bool:
        parts = self._target.parts.items()
        return all(self._target.well(part, n) for part, count in parts for n in range(count))

    def _choose(self) -> tuple[str, str] | None:
        """A session to kill: some listed one, also one whose process may be gone."""
        rows = self._followers["a mirror"].rows()
        row = random.choice(rows) if rows else None
        return None if row is None else (row.session_id, row.app_name)

    # --- quiet -------------------------------------------------------------------------------

    def _settle(self) -> bool:
        """End all faults and wait until all is true; False, and noted, when it never is."""
        self._tell("settling", self._target.injected.total())
        self._target.calm()
        began = time.monotonic()
        for killer in self._killers:
            killer.pause()
        if not self._turn_until(self._all_well, SETTLE_TIMEOUT, "all parts are back"):
            return False
        if not self._turn_until(self._all_answered, SETTLE_TIMEOUT, "operators are answered"):
            return False
        while True:
            try:
                self._look()
            except (NotSettled, PanelbusError, OSError, http.client.HTTPException) as error:
                if time.monotonic() > began + SETTLE_TIMEOUT:
                    text = f"not within {SETTLE_TIMEOUT:.0f} s: all is true: {error}"
                    self._target.noted.append(text)
                    return False
                self._target.tend()
                time.sleep(PAUSE)
            else:
                self._settled.append(time.monotonic() - began)
                return True

    def _all_answered(self) -> bool:
        return all(killer.idle for killer in self._killers)

    def _go_on(self) -> None:
        """After a check: everybody is at work again."""
        for app in self._target.apps:
            app.life.say("go on")
        for killer in self._killers:
            killer.go_on()

    def _look(self) -> None:
        """Take all lists as they are now. Raises NotSettled when they are not all true."""
        self._online = {app.name: self._report(app.life) for app in self._target.apps}
        sessions = self._operator.get_all_sessions()
        self._lists = {
            "the bus list": [plain(session) for session in sessions],
            "the REST list": rest_rows(self._target.broker.http_port),
            **{name: follower.rows() for name, follower in self._followers.items()},
        }
        told = self._told()
        wrong = [text for rule in compare(told, self._lists) for text in rule]
        wrong += unheard(self._notes.accepted, told)
        wrong += [f"{s['session_id']} is being killed" for s in sessions if s["kill_requested"]]
        wrong += [f"{n} is {f.state}" for n, f in self._followers.items() if f.state != "live"]
        if wrong:
            raise NotSettled(f"{wrong[0]} (and {len(wrong) - 1} more)")

    def _report(self, life: Life) -> frozenset[str]:
        """What this app sees as online, now that it is quiet."""
        number = next(self._reports)
        life.say(f"quiet\nreport {number}")
        deadline = time.monotonic() + REPORT_TIMEOUT
        while time.monotonic() < deadline:
            life.read()
            for entry in life.found("report"):
                if entry["number"] == number:
                    return frozenset(entry["online"])
            time.sleep(TURN)
        raise NotSettled(f"{life.app} does not tell what it holds")

    # --- the verdict -------------------------------------------------------------------------

    def _told(self) -> tuple[Told, ...]:
        return tuple(self._told_by(life) for app in self._target.apps for life in app.lives)

    def _told_by(self, life: Life) -> Told:
        life.read()
        return Told(
            app=life.app,
            life=life.number,
            fate=life.fate,
            opened=frozenset(entry["session"] for entry in life.found("opened")),
            callbacks=tuple(
                Callback(entry["session"], entry["killed"], entry["at"])
                for entry in life.found("callback")
            ),
            online=self._online.get(life.app, frozenset()),
        )

    def _outcome(self) -> Outcome:
        """Judge; the broker has stopped in order."""
        rows, commands, owners = stored(self._target.broker.database)
        evidence = Evidence(
            accepted=tuple(self._notes.accepted),
            told=self._told(),
            lists={**self._lists, "the database": rows},
            commands=commands,
            owners=owners,
            noted=(*self._target.violations(), *self._notes.wrong),
        )
        return Outcome(
            verdict=judge(evidence),
            injected=dict(self._target.injected),
            reattach=reattach_times(self._target.outages(), self._target.links()),
            settled=self._settled,
            unanswered=self._notes.unanswered,
        )
