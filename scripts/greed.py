"""What greedy peers cost the others: memory of the broker, and how long a kill takes meanwhile.

Starts a broker, attacks it in one way after the other, and meanwhile kills sessions of an honest
app. Prints a table. Everything talks over this machine's loopback and ends by itself.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import zmq

from scripts.ports import free_address
from sessionclient import Operator, SessionClient
from sessionclient.wire import PROTOCOL_VERSION, encode

TIMEOUT: Final = 60.0  # seconds for whatever should have happened long before
GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32)
_TYPE: Final = b"\x05READY\x0bSocket-Type"
STATES: Final = 2_000  # sessions in one message, the most there may be

Attack = Callable[["Attacker"], None]


class Attacker:
    """One attack, in a process of its own, until stdin ends."""

    def __init__(self, bus: str, feed: str) -> None:
        self.bus, self.feed = bus, feed
        self._context = zmq.Context()
        self._held: list[Any] = []
        self.number = 0

    def port(self, address: str) -> int:
        return int(address.rpartition(":")[2])

    def peer(self, kind: int = zmq.DEALER, address: str | None = None) -> zmq.Socket[bytes]:
        """A socket that takes next to nothing unread."""
        sock = self._context.socket(kind)
        sock.set(zmq.LINGER, 0)
        sock.set(zmq.RCVHWM, 1)
        sock.set(zmq.SNDTIMEO, int(TIMEOUT * 1000))
        sock.connect(address or self.bus)
        self._held.append(sock)
        return sock

    def hello(self, sock: zmq.Socket[bytes], role: str, instance: str, **more: Any) -> None:
        self.number += 1
        fields = {"v": PROTOCOL_VERSION, "role": role, "instance": instance, "secret": bytes(16)}
        fields |= {"host": "greedy", "pid": 1, "interval": 30.0, "n": self.number}
        sock.send(
            encode({"k": "hello", **fields, "ended": [], "last": True, "sessions": []} | more)
        )

    def connect(self, port: int, hello: bytes = b"") -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._held.append(sock)
        sock.sendall(hello)
        return sock


def shake(kind: bytes) -> bytes:
    ready = _TYPE + len(kind).to_bytes(4, "big") + kind
    return GREETING + b"\x04" + bytes([len(ready)]) + ready


def states(status: str = "idle", prefix: str = "g") -> list[dict[str, Any]]:
    return [
        {"s": f"{prefix}{n}", "app": "greedy", "age": 0.0, "status": status} for n in range(STATES)
    ]


# --- attacks -------------------------------------------------------------------------------------


def idle(attacker: Attacker) -> None:
    _raise_limit()
    for number in range(10_000):
        sock = attacker.connect(attacker.port(attacker.bus), shake(b"DEALER"))
        if number % 500 == 0:
            sock.recv(1)  # or the kernel's queue would overflow


def silent(attacker: Attacker) -> None:
    _raise_limit()
    for number in range(10_000):
        sock = attacker.connect(attacker.port(attacker.bus))
        if number % 500 == 0:
            sock.recv(1)


def statuses(attacker: Attacker) -> None:
    sock = attacker.peer()
    attacker.hello(sock, "app", "flood", sessions=states())
    while True:
        attacker.number += 1
        status = "idle" if attacker.number % 2 else "running"
        fields = {"n": attacker.number, "s": f"g{attacker.number % STATES}", "status": status}
        sock.send(encode({"k": "status", **fields}))


def greetings(attacker: Attacker) -> None:
    sock = attacker.peer()
    while True:
        status = "idle" if attacker.number % 2 else "running"
        attacker.hello(sock, "app", "flood", sessions=states(status))


def registrations(attacker: Attacker) -> None:
    sock = attacker.peer()
    attacker.hello(sock, "app", "many")
    for number in range(100_000):
        attacker.number += 1
        state = {"s": f"g{number}", "app": "greedy", "age": 0.0, "status": "idle"}
        sock.send(encode({"k": "register", "n": attacker.number, **state}))


def instances(attacker: Attacker) -> None:
    sock = attacker.peer()
    for number in range(20_000):
        attacker.hello(sock, "app", f"instance{number}")


def lists(attacker: Attacker) -> None:
    holder, sock = attacker.peer(), attacker.peer()
    attacker.hello(holder, "app", "holder", sessions=states())
    attacker.hello(sock, "viewer", "reader")
    for number in range(1 << 30):
        sock.send(encode({"k": "list", "r": number}))


def unread_feed(attacker: Attacker) -> None:
    sock = attacker.peer(zmq.SUB, attacker.feed)
    sock.set(zmq.SUBSCRIBE, b"")
    statuses(attacker)


def frames(attacker: Attacker) -> None:
    sock = attacker.peer()
    sock.send_multipart([bytes(1_000)] * 100_000)


def giant(attacker: Attacker) -> None:
    sock = attacker.connect(attacker.port(attacker.bus), shake(b"DEALER"))
    with suppress(OSError):
        sock.sendall(b"\x02" + (100 << 20).to_bytes(8, "big") + bytes(100 << 20))


def garbage(attacker: Attacker) -> None:
    sock = attacker.peer()
    while True:
        sock.send(b"\x91" * 500)


@dataclass(frozen=True)
class Kind:
    attack: Attack
    size: str
    bound: str  # what bounds it, by its name


ATTACKS: Final[dict[str, Kind]] = {
    "idle connections": Kind(idle, "10,000", "NOFILE, MAX_SOCKETS; TCP_KEEPALIVE"),
    "silent connections": Kind(silent, "10,000", "HANDSHAKE_MS"),
    "statuses of one peer": Kind(statuses, "endless", "DRAIN_LIMIT, ROUTER_QUEUE"),
    "greetings of 2,000 sessions": Kind(greetings, "endless", "DRAIN_SECONDS, FEED_BACKLOG"),
    "registrations of one peer": Kind(registrations, "100,000", "max_sessions_per_process"),
    "instances on one connection": Kind(instances, "20,000", "one instance a connection"),
    "lists that nobody reads": Kind(lists, "endless", "MAX_UNREAD_PEER, DRAIN_SECONDS"),
    "a feed that nobody reads": Kind(unread_feed, "endless", "FEED_QUEUE, FEED_BUDGET"),
    "frames in one message": Kind(frames, "100,000 of 1 kB", "one frame a message; Memory"),
    "a giant frame": Kind(giant, "100 MB", "MAX_FRAME_BYTES"),
    "garbage": Kind(garbage, "endless", "DRAIN_LIMIT, ROUTER_QUEUE"),
}


def _raise_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- measuring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    attack: str
    size: str
    before_mb: int
    during_mb: int  # the most that was seen
    after_mb: int
    before_p50_ms: float
    before_p99_ms: float
    during_p50_ms: float
    during_p99_ms: float
    bound: str


class Honest:
    """An app and its operator: how long does a kill take, from the call to the callback?"""

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self._operator = Operator(bus, timeout=TIMEOUT)

    def kills(self, seconds: float, memory: Callable[[], int]) -> tuple[list[float], int]:
        """Seconds each kill took, and the most memory (bytes) that was seen."""
        taken: list[float] = []
        most, end = 0, time.monotonic() + seconds
        while time.monotonic() < end or len(taken) < 5:
            taken.append(self._kill())
            most = max(most, memory())
        return taken, most

    def _kill(self) -> float:
        started = threading.Event()
        tracker = SessionClient("honest", server_url=self._bus)
        tracker.on_kill(started.set)
        deadline = time.monotonic() + TIMEOUT
        while not tracker.online:
            if time.monotonic() > deadline:
                raise click.ClickException("an honest session was not registered")
            time.sleep(0.002)
        called = time.monotonic()
        self._operator.request_kill(tracker.session_id)
        if not started.wait(TIMEOUT):
            raise click.ClickException("an honest session's kill did not arrive")
        taken = time.monotonic() - called
        tracker.stop()
        return taken

    def close(self) -> None:
        self._operator.close()


def measure(name: str, seconds: float) -> Result:
    kind = ATTACKS[name]
    with tempfile.TemporaryDirectory() as directory, broker(Path(directory)) as (pid, bus, feed):
        honest = Honest(bus)
        before, _ = honest.kills(seconds, lambda: resident(pid))
        least = resident(pid)
        with attacker(name, bus, feed):
            during, most = honest.kills(seconds, lambda: resident(pid))
        honest.kills(seconds + 6.0, lambda: resident(pid))  # memory is looked at every 5 s
        after = resident(pid)
        honest.close()
    before_p50, before_p99 = quantiles(before)
    during_p50, during_p99 = quantiles(during)
    return Result(
        attack=name,
        size=kind.size,
        before_mb=least >> 20,
        during_mb=most >> 20,
        after_mb=after >> 20,
        before_p50_ms=before_p50,
        before_p99_ms=before_p99,
        during_p50_ms=during_p50,
        during_p99_ms=during_p99,
        bound=kind.bound,
    )


def quantiles(taken: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile in ms."""
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return round(cuts[49] * 1000, 1), round(cuts[98] * 1000, 1)


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def broker(directory: Path) -> Iterator[tuple[int, str, str]]:
    """A broker with its defaults, gateway aside; its process and addresses."""
    bus, feed = free_address(), free_address()
    command = [sys.executable, "-m", "broker", "--bus", bus, "--feed", feed, "--no-gateway"]
    command += ["--db", str(directory / "sessions.db"), "--log-level", "error"]
    process = subprocess.Popen(command)
    try:
        yield process.pid, bus, feed
    finally:
        process.terminate()
        process.wait()


@contextmanager
def attacker(name: str, bus: str, feed: str) -> Iterator[None]:
    command = [sys.executable, __file__, "--attack", name, "--at", bus, "--feed", feed]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if process.stdout is not None:
            process.stdout.readline()  # it begins now
        yield
    finally:
        process.kill()
        process.communicate()


def be_the_attacker(name: str, bus: str, feed: str) -> None:
    greedy = Attacker(bus, feed)
    click.echo("begins")
    ATTACKS[name].attack(greedy)
    sys.stdin.read()  # what it holds stays held


# --- command -------------------------------------------------------------------------------------


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(list(ATTACKS)), help="These attacks only.")
@click.option(
    "--seconds", default=5.0, show_default=True, type=click.FloatRange(1.0, 60.0),
    help="How long kills are measured before and during each attack.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
@click.option("--attack", hidden=True, help="Be the attacker.")
@click.option("--at", hidden=True)
@click.option("--feed", hidden=True)
def main(
    only: tuple[str, ...], seconds: float, as_json: bool, attack: str | None, at: str, feed: str
) -> None:
    if sys.platform != "linux":
        raise click.ClickException("memory is read from /proc, so this needs Linux")
    if attack is not None:
        signal.alarm(int(3 * TIMEOUT + seconds))  # whatever happens to whoever started it
        be_the_attacker(attack, at, feed)
        return
    if not as_json:
        click.echo(
            "| attack | size | broker before / during / after (MB) | kill p50 / p99 before (ms) "
            "| kill p50 / p99 during (ms) | bounded by |\n|---|---|---|---|---|---|"
        )
    for name in only or ATTACKS:
        show(measure(name, seconds), as_json)


def show(found: Result, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    click.echo(
        f"| {found.attack} | {found.size} "
        f"| {found.before_mb} / {found.during_mb} / {found.after_mb} "
        f"| {found.before_p50_ms} / {found.before_p99_ms} "
        f"| {found.during_p50_ms} / {found.during_p99_ms} | {found.bound} |"
    )


if __name__ == "__main__":
    main()
