"""A child process that holds a fleet, and does with it what it is told.

The orders are lines of JSON, see `Crowd`. Its own use of its core is told with what was done as
fast as it went, to show that it was not what held it up.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Final

import zmq

from scripts.measures import stage
from scripts.measures.echo import Load
from scripts.measures.fleet import INTERVAL, Fleet, Peer, pace, state
from sessionclient.wire import encode

SEED: Final = 1
TASK: Final = "Refresh forecast"
BURST: Final = 32  # changes of a process, then a heartbeat, whose answer tells that they are done
BURSTS: Final = 2  # of a process, without their answer
ASKED: Final = 20_000  # sessions that `get` asks for in turn: more than a processor's caches hold


class Changer:
    """Says that the sessions of one process change, each in its turn; neighbours are not near."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._order = list(range(len(peer.sessions)))
        Random(SEED).shuffle(self._order)
        self.answered = 0  # changes the broker has handled, as its answers to heartbeats tell
        self._at = 0
        self._running: set[str] = set()
        self._bursts: deque[tuple[int, int]] = deque()  # (the heartbeat's number, changes)

    def change(self) -> None:
        """The next session begins or ends its task: never the same as before."""
        session = self.peer.sessions[self._order[self._at % len(self._order)]]
        self._at += 1
        message = {"k": "status", "n": self.peer.next(), "s": session}
        if session in self._running:
            self._running.discard(session)
            message["status"] = "idle"
        else:
            self._running.add(session)
            message |= {"status": "running", "task": TASK, "task_age": 0.0}
        self.peer.socket.send(encode(message))

    def burst(self) -> int:
        """Some changes and a heartbeat; how many changes."""
        for _ in range(BURST):
            self.change()
        self.peer.say("heartbeat")
        self._bursts.append((self.peer.number, BURST))
        return BURST

    def read(self) -> int:
        """Read what has come, without waiting; how many bursts are answered now."""
        done = 0
        try:
            while True:
                done += self._read(self.peer.receive(zmq.NOBLOCK))
        except zmq.Again:
            return done

    def _read(self, message: dict[str, Any]) -> int:
        if message["k"] != "ack":
            raise RuntimeError(f"the broker said {message}")
        done = 0
        while self._bursts and self._bursts[0][0] <= message["n"]:
            self.answered += self._bursts.popleft()[1]
            done += 1
        return done


class Crowd:
    """Its methods are the orders it takes; what they return is the answer."""

    def __init__(self, bus: str, processes: int, sessions: int) -> None:
        self._bus = bus
        self._fleet = Fleet(bus, processes, sessions)
        self._changers = [Changer(peer) for peer in self._fleet.peers if peer.sessions]
        self._poller = zmq.Poller()
        self._by_socket = {changer.peer.socket: changer for changer in self._changers}
        for socket in self._by_socket:
            self._poller.register(socket, zmq.POLLIN)
        self._load: Load | None = None
        self._killed = 0
        self._chosen = self._fleet.peers[0]

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """What `stage.serve` is given."""
        name = order.pop("do")
        found: dict[str, Any] = getattr(self, name)(**order)
        return found

    def change(self, rate: float, seconds: float) -> dict[str, Any]:
        """So many changes of status a second, in turn by all processes."""
        changes = int(rate * seconds)
        for number in pace(rate):
            if number >= changes:
                break
            self._changers[number % len(self._changers)].change()
        return {"changes": changes}

    def flood(self, seconds: float) -> dict[str, Any]:
        """As many changes as the broker takes: a process goes on when it has been answered.

        Answers how many were handled within that time, and how many in all when it had ended.
        """
        cpu, began = time.process_time(), time.monotonic()
        before = self._answered()
        sent = sum(changer.burst() for changer in self._changers for _ in range(BURSTS))
        # at least one is answered, however short the time and busy the machine
        while time.monotonic() < began + seconds or self._answered() == before:
            for changer in self._ready():
                sent += sum(changer.burst() for _ in range(changer.read()))
        within, took = self._answered() - before, time.monotonic() - began
        load = (time.process_time() - cpu) / took
        while self._answered() - before < sent:
            for changer in self._ready():
                changer.read()
        return {"within": within, "took": took, "load": load, "changes": sent}

    def _answered(self) -> int:
        return sum(changer.answered for changer in self._changers)

    def _ready(self) -> list[Changer]:
        """Those that have been sent something; raises RuntimeError when nothing comes."""
        found = self._poller.poll(int(stage.TIMEOUT * 1000))
        if not found:
            raise RuntimeError("the broker does not answer")
        return [self._by_socket[socket] for socket, _ in found]

    def rest(self, seconds: float) -> dict[str, Any]:
        """Only the heartbeats that are due in that time, spread evenly over the processes."""
        peers = self._fleet.peers
        due = len(peers) / INTERVAL * seconds
        began = time.monotonic()
        for number in range(int(due)):
            _sleep_until(began + seconds * number / due)
            peers[number % len(peers)].say("heartbeat")
        _sleep_until(began + seconds)
        return {"heartbeats": int(due)}

    def greet(self) -> dict[str, Any]:
        """All processes state anew what they hold, at once, as they do when the broker is back."""
        began = time.monotonic()
        self._fleet.greet(len(self._fleet.peers))
        return {"seconds": time.monotonic() - began}

    def get(self, seconds: float) -> dict[str, Any]:
        """As many requests as the broker takes, each for one session of all."""
        if self._load is None:
            ids = [sid for peer in self._fleet.peers for sid in peer.sessions]
            step = max(1, len(ids) // ASKED)
            self._load = Load(self._bus, ids[::step])
        answered = self._load.run("get", seconds)
        return {"answered": answered}

    def choose(self, number: int) -> dict[str, Any]:
        """A session of another process and at another place for each number."""
        self._chosen = self._changers[number % len(self._changers)].peer
        return {"session": self._chosen.sessions[number % len(self._chosen.sessions)]}

    def die(self, session: str) -> dict[str, Any]:
        """Wait until the chosen session is killed, and end it; another takes its place.

        Answers when its process had the command (monotonic seconds).
        """
        peer = self._chosen
        command = peer.receive_kind("command")
        at = time.monotonic()
        if command["s"] != [session]:
            raise RuntimeError(f"{command['s']} was killed, not {session}")
        peer.say("delivered", c=command["c"])
        peer.say("end", s=session, reason="killed")
        self._killed += 1
        new = state(f"k{self._killed}")
        peer.say("register", **new)
        peer.sessions[peer.sessions.index(session)] = new["s"]
        peer.await_ack()
        return {"at": at}


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


@contextmanager
def crowd(bus: str, processes: int, sessions: int) -> Iterator[stage.Running]:
    """A child with so many processes and sessions, all of them on the broker's disk."""
    with stage.process(__name__, bus, processes, sessions, name="the crowd") as running:
        running.hear()
        yield running


if __name__ == "__main__":
    made = Crowd(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print("{}", flush=True)
    stage.serve(made.obey)
