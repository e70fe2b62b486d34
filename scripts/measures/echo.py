"""Requests the broker serves, against a raw ROUTER that echoes with two plain receives.

The load comes from one process with several DEALERs that keep so many requests in flight; frames
are encoded before. It is not the bottleneck as long as its own use of its core stays below that of
the side it loads, which is why both are told.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import zmq

from scripts.measures import stage
from scripts.measures.figures import Figure, Measure, Round, Sample, Setting
from scripts.measures.fleet import Fleet, Peer
from scripts.ports import free_address
from sessionclient.wire import encode

DEALERS: Final = 8
IN_FLIGHT: Final = 64  # requests of one DEALER without their answer
DRAIN: Final = 256  # messages the echo reads before it polls again
KINDS: Final = ("touch", "get")
PROCESSES: Final = 10  # that hold the sessions which are there, too
DIFFERENT: Final = 256  # requests that take turns


def be_the_echo(address: str) -> None:
    """What Python can do at best: poll, then drain with two plain receives, and send back."""
    context: zmq.Context[Any] = zmq.Context()
    router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    router.set(zmq.RCVHWM, 0)
    router.set(zmq.SNDHWM, 0)
    router.set(zmq.LINGER, 0)
    router.bind(address)
    print("{}", flush=True)
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    while dict(poller.poll()).get(sys.stdin.fileno()) is None:
        try:
            for _ in range(DRAIN):
                route = router.recv(zmq.NOBLOCK)
                payload = router.recv(zmq.NOBLOCK)
                router.send(route, zmq.SNDMORE)
                router.send(payload)
        except zmq.Again:
            continue
    context.destroy(linger=0)


class Load:
    """DEALERs with requests in flight.

    Of a broker two kinds are asked: a heartbeat over REST (``touch``), which is looked up, noted
    and answered with next to nothing, and the whole row of a session (``get``). ``sessions`` are
    those it is asked about; without any they are made. A session made by a process has no
    heartbeat of its own, only its row.
    """

    def __init__(self, address: str, sessions: Sequence[str] = (), *, broker: bool = True) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._peers = [Peer(self._context, address, "operator") for _ in range(DEALERS)]
        self._poller = zmq.Poller()
        for peer in self._peers:
            if broker:
                peer.hello([])
                peer.receive_kind("welcome")
            self._poller.register(peer.socket, zmq.POLLIN)
        asked = list(sessions) or ["b" * 32]
        if broker and not sessions:
            asked = _made(self._peers[0], DIFFERENT)
        self._frames = {
            kind: [
                encode({"k": kind, "r": number, "s": asked[number % len(asked)]})
                for number in range(max(DIFFERENT, len(asked)))
            ]
            for kind in KINDS
        }

    def run(self, kind: str, seconds: float) -> int:
        """How many answers came in that time; whatever is in flight afterwards is awaited."""
        frames, sent, answered = self._frames[kind], 0, 0
        different = len(frames)
        for peer in self._peers:
            for _ in range(IN_FLIGHT):
                peer.socket.send(frames[sent % different])
                sent += 1
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for socket, _ in self._poller.poll(1000):
                count = _drain(socket)
                answered += count
                for at in range(sent, sent + count):
                    socket.send(frames[at % different])
                sent += count
        within = answered
        while answered < sent:
            ready = self._poller.poll(int(stage.TIMEOUT * 1000))
            if not ready:
                raise RuntimeError(f"{sent - answered} requests have no answer")
            answered += sum(_drain(socket) for socket, _ in ready)
        return within


def _made(peer: Peer, count: int) -> list[str]:
    """Sessions that live on REST, as a gateway makes them."""
    for number in range(count):
        request = {"k": "create", "r": number, "app": "bench", "user": f"user-{number}"}
        peer.socket.send(encode(request))
    return [peer.receive_kind("reply")["result"]["session_id"] for _ in range(count)]


def _drain(socket: Any) -> int:
    count = 0
    try:
        while count < IN_FLIGHT:
            socket.recv(zmq.NOBLOCK)
            count += 1
    except zmq.Again:
        pass
    return count


def be_the_load(address: str, sessions: int) -> None:
    """Serve one order after the other: what to ask how long, answered with what came of it."""
    fleet = Fleet(address, PROCESSES, sessions) if sessions else None
    load = Load(address, broker=fleet is not None)

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        cpu, began = time.process_time(), time.monotonic()
        answered = load.run(order["kind"], order["seconds"])
        took = time.monotonic() - began
        return {"rate": answered / order["seconds"], "load": (time.process_time() - cpu) / took}

    print("{}", flush=True)
    stage.serve(answer)


def _sample(
    side: stage.Running, load: stage.Running, seconds: float, name: str, kind: str = "touch"
) -> Sample:
    cpu, began = side.cpu(), time.monotonic()
    found = load.ask(kind=kind, seconds=seconds)
    took = time.monotonic() - began
    used = side.cpu() - cpu
    return {
        f"{name}.rate": found["rate"],
        f"{name}.cpu": used / (found["rate"] * seconds) * 1e6,
        f"{name}.busy": 100.0 * used / took,
        f"{name}.load": 100.0 * found["load"],
    }


@contextmanager
def start_echo(setting: Setting) -> Iterator[Round]:
    address = free_address()
    with (
        stage.process(__name__, "echo", address, name="the raw echo") as echo,
        stage.process(__name__, "load", address, 0, name="the load") as load,
    ):
        echo.hear()
        load.hear()
        yield partial(_sample, echo, load, setting.scale.seconds, "echo")


@contextmanager
def start_requests(setting: Setting) -> Iterator[Round]:
    with (
        stage.broker(setting.directory) as broker,
        stage.process(
            __name__, "load", broker.bus, setting.scale.sessions, name="the load"
        ) as load,
    ):
        load.hear()
        ask = partial(_sample, broker.running, load, setting.scale.seconds)
        yield lambda: {**ask("requests"), **ask("reads", "get")}


def _figures(name: str, what: str) -> tuple[Figure, ...]:
    return (
        Figure(f"{name}.rate", what, "/s", "more"),
        Figure(f"{name}.cpu", f"{what}: CPU of one", "µs"),
        Figure(f"{name}.busy", f"{what}: of the core of the side that answers", "%"),
        Figure(f"{name}.load", f"{what}: of the core of the side that asks", "%"),
    )


ECHO: Final = Measure(
    "raw ROUTER echo", _figures("echo", "raw ROUTER echo, two plain receives"), start_echo
)
REQUESTS: Final = Measure(
    "requests",
    _figures("requests", "requests served by the broker")
    + _figures("reads", "sessions read from the broker"),
    start_requests,
)

if __name__ == "__main__":
    if sys.argv[1] == "echo":
        be_the_echo(sys.argv[2])
    else:
        be_the_load(sys.argv[2], int(sys.argv[3]))
