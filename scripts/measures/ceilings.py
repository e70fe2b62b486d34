"""What a kill is held against: a push through a bare ROUTER, and one write to the disk.

The push takes the way a kill takes, from the asker's process over the one in the middle to the one
of the receivers it is for, and nothing is decoded, looked up, kept or answered on it. Receivers
wait for it in a plain receive, which wakes sooner than a poll of all of them would.

Both are measured at rest and beside as many messages as a kill is: from a process of their own, and
read by the ROUTER, but no more.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import zmq

from scripts.measures import beside, stage
from scripts.measures.figures import Figure, Measure, Round, Sample, Setting
from scripts.measures.spread import PAUSE, spread, spread_figures
from scripts.ports import free_address

RECEIVERS: Final = 100
MORE: Final = 2  # pushes for each kill: they are cheap
NUMBER_BYTES: Final = 2  # at the start of a message: which receiver it is from or for
NOBODY: Final = b"\xff\xff"  # the number of a message that goes no further
PUSH_BYTES: Final = 130  # as long as the command of a kill, and no longer than a status
WRITE_BYTES: Final = 4096


# --- the push ----------------------------------------------------------------------------------


def be_the_router(address: str) -> None:
    """Learn the receivers by what each says first, then pass on what others say, until stdin
    ends."""
    context: zmq.Context[Any] = zmq.Context()
    router = _socket(context, zmq.ROUTER)
    router.bind(address)
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    routes: dict[bytes, bytes] = {}
    print("{}", flush=True)
    while sys.stdin.fileno() not in dict(poller.poll()):
        sender = router.recv()
        payload = router.recv()
        number = payload[:NUMBER_BYTES]
        if number == NOBODY:
            continue
        if len(payload) == NUMBER_BYTES:
            routes[number] = sender
        router.send(routes[number], zmq.SNDMORE)
        router.send(payload)
    context.destroy(linger=0)


def be_the_receivers(address: str) -> None:
    """Be known to the router, then serve orders to await a push, answered with when it came."""
    context: zmq.Context[Any] = zmq.Context()
    sockets = [_socket(context, zmq.DEALER) for _ in range(RECEIVERS)]
    for number, socket in enumerate(sockets):
        socket.connect(address)
        socket.send(number.to_bytes(NUMBER_BYTES, "big"))
    for socket in sockets:
        socket.recv()

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        sockets[order["number"]].recv()
        return {"at": time.monotonic()}

    print("{}", flush=True)
    stage.serve(answer)
    context.destroy(linger=0)


def be_the_crowd(address: str, rate: float) -> None:
    """``rate`` messages a second for nobody, from as many connections as there are receivers."""
    context: zmq.Context[Any] = zmq.Context()
    sockets = [_socket(context, zmq.DEALER) for _ in range(RECEIVERS)]
    for socket in sockets:
        socket.connect(address)
    message = NOBODY.ljust(PUSH_BYTES, b"\0")

    def say(number: int) -> None:
        sockets[number % RECEIVERS].send(message)

    beside.take_turns(beside.paced(rate, say))
    context.destroy(linger=0)


def _socket(context: zmq.Context[Any], kind: int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.RCVTIMEO, int(stage.TIMEOUT * 1000))
    return socket


def _push(receivers: stage.Running, asker: zmq.Socket[bytes], count: int) -> list[float]:
    """How long each took, in seconds."""
    taken = []
    for at in range(count):
        number = at % RECEIVERS
        receivers.tell(number=number)
        time.sleep(PAUSE)
        message = number.to_bytes(NUMBER_BYTES, "big").ljust(PUSH_BYTES, b"\0")
        called = time.monotonic()
        asker.send(message)
        taken.append(receivers.hear()["at"] - called)
    return taken


# --- the disk ----------------------------------------------------------------------------------


def _write(file: int, count: int) -> float:
    """How long it takes, in seconds: the median."""
    block, taken = b"\0" * WRITE_BYTES, []
    for _ in range(count):
        time.sleep(PAUSE)
        began = time.monotonic()
        os.write(file, block)
        _sync(file)
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def _sync(file: int) -> None:
    if sys.platform == "darwin":
        os.fsync(file)  # has no other
    else:
        os.fdatasync(file)


# --- both --------------------------------------------------------------------------------------


def _measure(
    push: Callable[[], list[float]], write: Callable[[], float], crowd: stage.Running
) -> Sample:
    found = {**spread("push", push()), "fdatasync.p50": 1000.0 * write()}
    with beside.going(crowd) as sent:
        found |= spread("push_busy", push())
        found["fdatasync_busy.p50"] = 1000.0 * write()
    found["push_busy.beside"] = beside.said(sent)
    return found


@contextmanager
def start(setting: Setting) -> Iterator[Round]:
    address, scale = free_address(), setting.scale
    with (
        _file(setting.directory) as file,
        stage.process(__name__, "router", address, name="the raw router") as router,
        stage.process(__name__, "receivers", address, name="the receivers") as receivers,
        stage.process(__name__, "crowd", address, scale.busy, name="the crowd") as crowd,
        zmq.Context() as context,
        _socket(context, zmq.DEALER) as asker,
    ):
        for part in (router, receivers, crowd):
            part.hear()
        asker.connect(address)
        push = partial(_push, receivers, asker, MORE * scale.kills)
        yield partial(_measure, push, partial(_write, file, scale.kills), crowd)


@contextmanager
def _file(directory: Path) -> Iterator[int]:
    directory.mkdir(parents=True, exist_ok=True)
    file = os.open(directory / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield file
    finally:
        os.close(file)


CEILINGS: Final = Measure(
    "raw push and fdatasync",
    (
        *spread_figures("push", "raw push through a ROUTER to one of 100"),
        Figure("fdatasync.p50", "append of 4 KiB and fdatasync: median", "ms"),
        *spread_figures("push_busy", "raw push beside many messages"),
        Figure("fdatasync_busy.p50", "append and fdatasync beside many messages: median", "ms"),
        Figure("push_busy.beside", "messages beside the raw pushes", "/s", "more"),
    ),
    start,
)

if __name__ == "__main__":
    if sys.argv[1] == "router":
        be_the_router(sys.argv[2])
    elif sys.argv[1] == "receivers":
        be_the_receivers(sys.argv[2])
    else:
        be_the_crowd(sys.argv[2], float(sys.argv[3]))
