"""A real broker under crowds, giants and used-up files: it serves the others, and gets over it."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sessionclient import Operator, SessionClient
from sessionclient.wire import MAX_FRAME_BYTES
from tests.broker.raw import RawPeer
from tests.support.bench import session
from tests.support.crowd import GREETING, READY, connect
from tests.support.processes import (
    BrokerProcess,
    Process,
    eventually,
    free_port,
    listening,
    running,
    running_broker,
)

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name != "posix", reason="limits of POSIX"),
]

CROWD = 10_000
CONNECTION_BYTES = 64 * 1024  # more than one costs the broker
MB = 1 << 20

StartCrowd = Callable[..., Process]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path) as started:
        yield started
        assert "Traceback" not in started.log()


@pytest.fixture
def start_crowd(tmp_path: Path) -> Iterator[StartCrowd]:
    started: list[Process] = []

    def start(port: int, *flags: str) -> Process:
        words = ["-m", "tests.support.crowd", "--port", str(port), *flags]
        started.append(Process(words, tmp_path / f"crowd{len(started)}.log"))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def resident(process: Process) -> int:
    """Bytes of memory."""
    return int(psutil.Process(process.pid).memory_info().rss)


def kill_arrives(bus: str) -> None:
    """A new app and a new operator find the broker, and the one's kill reaches the other."""
    killed = threading.Event()
    tracker = SessionClient("honest", server_url=bus)
    tracker.on_kill(killed.set)
    try:
        with Operator(bus, timeout=20) as operator:
            eventually(lambda: tracker.online, "the session is registered")
            done = operator.request_kill(tracker.session_id, wait=20)
            assert (done["stage"], killed.is_set()) == ("completed", True)
    finally:
        tracker.stop()


def opened(crowd: Process, wanted: int) -> int:
    (event,) = crowd.wait_for("open")
    count = int(event["count"])
    if count < wanted:
        print(f"ONLY {count} of {wanted} connections: {crowd.log()}", file=sys.stderr)
    assert count >= min(wanted, 400)
    return count


def test_thousands_of_idle_connections_cost_a_bounded_memory_and_nobody_time(
    broker: BrokerProcess, start_crowd: StartCrowd
) -> None:
    before = resident(broker)
    crowd = start_crowd(broker.bus_port, "--count", str(CROWD))
    count = opened(crowd, CROWD)
    broker_itself = psutil.Process(broker.pid)
    eventually(lambda: broker_itself.num_fds() >= count, "the broker has them all", 60.0)
    kill_arrives(broker.bus)
    assert resident(broker) - before < count * CONNECTION_BYTES
    assert crowd.events("left") == []
    with Operator(broker.bus, timeout=20) as operator:
        assert operator.stats()["peers"] <= 2  # who has said nothing is known to nobody
    crowd.kill()
    eventually(lambda: broker_itself.num_fds() < 100, "they are gone", 60.0)


def test_thousands_of_silent_connections_are_closed_in_time(
    broker: BrokerProcess, start_crowd: StartCrowd
) -> None:
    crowd = start_crowd(broker.bus_port, "--count", str(CROWD), "--silent")
    opened(crowd, CROWD)
    kill_arrives(broker.bus)
    assert crowd.wait(90.0) == 0  # it ends when the broker has closed the last
    assert crowd.events("left")[-1]["count"] == 0
    eventually(lambda: psutil.Process(broker.pid).num_fds() < 100, "nothing is left of them")


FEW_FILES = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
sys.argv[0] = "broker"
runpy.run_module("broker", run_name="__main__")
"""


def test_when_the_files_are_used_up_those_connected_are_served_and_it_is_told(
    tmp_path: Path, start_crowd: StartCrowd
) -> None:
    port, killed = free_port(), threading.Event()
    bus = f"tcp://127.0.0.1:{port}"
    flags = ["--no-gateway", "--bus", bus, "--feed", f"tcp://127.0.0.1:{free_port()}"]
    words = ["-c", FEW_FILES, *flags, "--db", str(tmp_path / "sessions.db")]
    with running(words, tmp_path / "broker.log") as broker:
        eventually(lambda: listening(port), f"it serves: {broker.log()}")
        tracker = SessionClient("early", server_url=bus)
        tracker.on_kill(killed.set)
        with Operator(bus, timeout=20) as operator:
            eventually(lambda: tracker.online, "the session is registered")
            crowd = start_crowd(port, "--count", "500")
            opened(crowd, 500)  # by the kernel: it queues what the broker does not accept
            eventually(lambda: " files are open" in broker.log(), "there is a word of it")
            warning = r"WARNING +(about \d+|all) of 200 files are open; further clients can't"
            assert re.search(warning, broker.log()), broker.log()
            done = operator.request_kill(tracker.session_id, wait=20)
            assert (done["stage"], killed.is_set()) == ("completed", True)
        tracker.stop()
        crowd.kill()
        eventually(lambda: "enough files can be opened again" in broker.log(), "it is over", 60.0)
        kill_arrives(bus)
        assert broker.stop() == 0


def test_a_frame_of_a_hundred_megabytes_costs_its_sender_the_connection_and_no_memory(
    broker: BrokerProcess,
) -> None:
    before = resident(broker)
    sock = connect(broker.bus_port, greet=True)
    assert sock is not None
    size, sent = 100 * MB, 0
    with sock:
        sock.settimeout(20.0)
        with pytest.raises(ConnectionError):  # noqa: PT012
            sock.sendall(b"\x02" + size.to_bytes(8, "big"))
            while sent < size:
                sent += sock.send(bytes(MB))
            while sock.recv(4096):
                pass
            raise ConnectionResetError
    assert sent < size
    assert resident(broker) - before < 20 * MB
    kill_arrives(broker.bus)


def test_a_message_of_a_hundred_thousand_frames_is_refused_and_its_memory_returns(
    broker: BrokerProcess,
) -> None:
    frames, size = 100_000, 1_000
    with RawPeer(broker.bus) as peer, Operator(broker.bus, timeout=20) as operator:
        peer.greet("many", session("s1"))
        assert peer.answer()["k"] == "ack"
        before = resident(broker)
        peer.send(*[bytes(size)] * frames)
        refused = {"k": "error", "code": "bad_request", "message": "one frame a message"}
        assert peer.answer() == refused
        assert operator.stats()["rejected"] == {"extra_frames": 1}
        eventually(lambda: resident(broker) - before < frames * size / 4, "memory returns", 60.0)
        peer.tell("register", **session("s2"))  # nothing has shifted
        assert peer.answer() == {"k": "ack", "n": 2}
        assert {row["session_id"] for row in operator.get_all_sessions()} == {"s1", "s2"}


def test_the_longest_frame_there_may_be_is_what_a_peer_can_send() -> None:
    """The header of the giant above is refused for its length, not for its form."""
    assert len(GREETING) == 64
    assert READY[1] == len(READY) - 2
    assert MAX_FRAME_BYTES < 100 * MB
