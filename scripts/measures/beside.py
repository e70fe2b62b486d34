"""What goes on beside a kill: each a process that does one thing over and over while it is told to.

It prints a line when it is ready. A line to it starts it, the next one stops it, and both are
answered: see `going` for the other side.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

import msgpack
import zmq

from scripts.measures import stage
from scripts.measures.fleet import Fleet, Peer, pace
from scripts.measures.victims import Victims
from sessionclient import Operator

DOOMED: Final = "doomed"  # the app that is killed as a whole
HEARTBEAT_EVERY: Final = (
    21  # messages: no divisor of the processes' number, so that each has its turn
)
LOOK_EVERY: Final = 64  # messages between two looks at whether to go on

Steps = Callable[[], Iterator[object]]


@contextmanager
def going(running: stage.Running) -> Iterator[dict[str, Any]]:
    """It goes on inside of this; afterwards the map has how many ``steps`` it made in how many
    ``seconds``, at least one."""
    found: dict[str, Any] = {}
    running.ask(go=True)
    yield found
    found |= running.ask(go=False)


def take_turns(steps: Steps) -> None:
    """The other side: run ``steps`` anew each time, until stdin ends."""
    print("{}", flush=True)
    while sys.stdin.readline():
        print("{}", flush=True)
        began, done = time.monotonic(), 0
        for _ in steps():
            done += 1
            if select.select([sys.stdin], [], [], 0)[0]:
                break
        if sys.stdin.readline():
            found = {"steps": done, "seconds": time.monotonic() - began}
            print(json.dumps(found), flush=True)


def paced(rate: float, say: Callable[[int], object]) -> Steps:
    """Steps that ``say`` number 0, 1, 2 ... at ``rate`` a second, `LOOK_EVERY` in each."""

    def steps() -> Iterator[object]:
        for number in pace(rate):
            say(number)
            if number % LOOK_EVERY == 0:
                yield number

    return steps


def said(done: dict[str, Any]) -> float:
    """How many a second, by what `going` found of steps that are `paced`."""
    return float(done["steps"] * LOOK_EVERY / done["seconds"])


# --- status changes and heartbeats ---------------------------------------------------------------


def be_the_crowd(bus: str, processes: int, sessions: int, rate: float) -> None:
    """``rate`` messages a second from all sessions in turn; each changes a session's status, but
    some are heartbeats."""
    fleet = Fleet(bus, processes, sessions)
    peers, everybody = fleet.peers, count()

    def say(number: int) -> None:
        at, peer = next(everybody), peers[number % processes]
        if number % HEARTBEAT_EVERY == 0:
            peer.say("heartbeat")
            _read_acks(peer)
        else:
            turn, share = divmod(at // processes, len(peer.sessions))
            _change(peer, peer.sessions[share], busy=turn % 2 == 0)

    take_turns(paced(rate, say))
    fleet.close()


def _change(peer: Peer, session: str, *, busy: bool) -> None:
    if busy:
        peer.say("status", s=session, status="running", task="Refresh forecast", task_age=0.0)
    else:
        peer.say("status", s=session, status="idle")


def _read_acks(peer: Peer) -> None:
    """What came since the last time; anything else would mean that what is said has no effect."""
    try:
        while (message := msgpack.unpackb(peer.socket.recv(zmq.NOBLOCK)))["k"] == "ack":
            pass
    except zmq.Again:
        return
    raise RuntimeError(f"the broker said {message}")


# --- the others ----------------------------------------------------------------------------------


def be_the_snapshots(bus: str, processes: int, sessions: int) -> None:
    """An operator that lists all sessions, which a fleet here holds."""
    fleet = Fleet(bus, processes, sessions)
    with Operator(bus, timeout=stage.TIMEOUT) as operator:

        def steps() -> Iterator[object]:
            fleet.keep_alive()  # or it is cleaned up for silence, if much else is measured between
            while True:
                found = len(operator.get_all_sessions())
                if found < sessions:
                    raise RuntimeError(f"a snapshot has {found} of {sessions} sessions")
                yield found

        take_turns(steps)
    fleet.close()


def be_the_kill_alls(bus: str, processes: int, sessions: int) -> None:
    """An app that greets, is killed as a whole, and greets again with other sessions."""
    with Operator(bus, timeout=stage.TIMEOUT) as operator:
        prefixes = (f"x{number}x" for number in count())

        def steps() -> Iterator[object]:
            while True:
                victims = Victims(bus, processes, sessions, next(prefixes), DOOMED)
                operator.request_kill_by_app(DOOMED)
                victims.await_commands()
                yield victims.obey()

        take_turns(steps)


def be_the_greetings(bus: str, processes: int, sessions: int) -> None:
    """All processes of an app greet at once with all they hold, as to a broker that is back."""
    fleet = Fleet(bus, processes, sessions, "g")

    def steps() -> Iterator[object]:
        while True:
            fleet.greet(processes)
            yield None

    take_turns(steps)
    fleet.close()


PARTS: Final[dict[str, Callable[..., None]]] = {
    "snapshot": be_the_snapshots,
    "kill_all": be_the_kill_alls,
    "greeting": be_the_greetings,
}

if __name__ == "__main__":
    part, to, *numbers = sys.argv[1:]
    if part == "crowd":
        be_the_crowd(to, int(numbers[0]), int(numbers[1]), float(numbers[2]))
    else:
        PARTS[part](to, int(numbers[0]), int(numbers[1]))
