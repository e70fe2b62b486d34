"""What a kill is held against: a push through a bare ROUTER, and one write to the disk.

The push takes the way a kill takes, from the asker's process over the one in the middle to the one
of the receivers it is for, and nothing is decoded, looked up, kept or answered on it. Receivers
wait for it in a plain receive, which wakes sooner than a poll of all of them would.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import zmq

from scripts.measures import stage
from scripts.measures.figures import Figure, Measure, Round, Sample, Setting
from scripts.measures.spread import spread, spread_figures
from scripts.ports import free_address

RECEIVERS: Final = 100
MORE: Final = 10  # pushes for each kill: they are cheap
PAUSE: Final = 0.005  # seconds between two pushes, so that each finds everybody at rest
NUMBER_BYTES: Final = 2  # at the start of a message: which receiver it is from or for
PUSH_BYTES: Final = 130  # as long as the command of a kill
WRITES: Final = 50
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


def _socket(context: zmq.Context[Any], kind: int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.RCVTIMEO, int(stage.TIMEOUT * 1000))
    return socket


def _push(receivers: stage.Running, asker: zmq.Socket[bytes], count: int) -> Sample:
    taken = []
    for at in range(count):
        number = at % RECEIVERS
        receivers.tell(number=number)
        time.sleep(PAUSE)
        message = number.to_bytes(NUMBER_BYTES, "big").ljust(PUSH_BYTES, b"\0")
        called = time.monotonic()
        asker.send(message)
        taken.append(receivers.hear()["at"] - called)
    return spread("push", taken)


@contextmanager
def start_push(setting: Setting) -> Iterator[Round]:
    address = free_address()
    with (
        stage.process(__name__, "router", address, name="the raw router") as router,
        stage.process(__name__, "receivers", address, name="the receivers") as receivers,
        zmq.Context() as context,
        _socket(context, zmq.DEALER) as asker,
    ):
        router.hear()
        receivers.hear()
        asker.connect(address)
        yield partial(_push, receivers, asker, MORE * setting.scale.kills)


# --- the disk ----------------------------------------------------------------------------------


def _write(file: int) -> Sample:
    block, taken = b"\0" * WRITE_BYTES, []
    for _ in range(WRITES):
        began = time.monotonic()
        os.write(file, block)
        _sync(file)
        taken.append(time.monotonic() - began)
    return {"fdatasync.p50": 1000.0 * statistics.median(taken)}


def _sync(file: int) -> None:
    if sys.platform == "darwin":
        os.fsync(file)  # has no other
    else:
        os.fdatasync(file)


@contextmanager
def start_fdatasync(setting: Setting) -> Iterator[Round]:
    setting.directory.mkdir(parents=True, exist_ok=True)
    file = os.open(setting.directory / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield partial(_write, file)
    finally:
        os.close(file)


PUSH: Final = Measure(
    "raw push", spread_figures("push", "raw push through a ROUTER to one of 100"), start_push
)
FDATASYNC: Final = Measure(
    "fdatasync",
    (Figure("fdatasync.p50", "append of 4 KiB and fdatasync: median", "ms"),),
    start_fdatasync,
)

if __name__ == "__main__":
    if sys.argv[1] == "router":
        be_the_router(sys.argv[2])
    else:
        be_the_receivers(sys.argv[2])
