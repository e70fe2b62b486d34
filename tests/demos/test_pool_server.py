"""The shared pool in a real server: who stops with whom, and that no process is left behind."""

from __future__ import annotations

import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from bokeh.client import ClientSession

from demos.shared_pool import POOL_PROCESSES, WORKERS_PER_RUN
from sessionclient import Operator
from tests.support.processes import (
    BrokerProcess,
    Process,
    eventually,
    free_port,
    listening,
    running,
    running_broker,
)

pytestmark = pytest.mark.process

CHILDREN = POOL_PROCESSES + 1  # and the manager
PATIENCE = 60.0  # seconds; six Python processes come and go on a machine that may be busy


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path_factory.mktemp("pool")) as broker:
        yield broker


@pytest.fixture(scope="module")
def operator(broker: BrokerProcess) -> Iterator[Operator]:
    with Operator(broker.bus) as operator:
        yield operator


class Server(Process):
    """The demos' server; its temporary files are in ``folder``."""

    def __init__(self, bus: str, directory: Path) -> None:
        self.port = free_port()
        # not pytest's own: the manager's socket is in it, whose path may have 107 bytes
        self._made = tempfile.TemporaryDirectory(prefix="pool-")
        self.folder = Path(self._made.name)
        self.app = f"pool-{self.port}"
        words = ["-m", "tests.demos.pool_server", bus, str(self.port), self.app]
        super().__init__(words, directory / "server.log", {"TMPDIR": str(self.folder)})

    def discard(self) -> None:
        """Remove the folder, whatever an end by force has left there."""
        self._made.cleanup()

    def children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.pid).children(recursive=True)
        return found

    def workers(self, what: str) -> list[str]:
        """Sessions of the workers that have logged this, sorted."""
        return sorted(re.findall(rf"for session (\w+): {what}", self.log()))

    def calm(self) -> bool:
        words = ("Traceback", "never awaited", "destroyed", "Error", "Warning")
        return not any(word in self.log() for word in words)


@pytest.fixture
def server(broker: BrokerProcess, tmp_path: Path) -> Iterator[Server]:
    server = Server(broker.bus, tmp_path)
    try:
        eventually(lambda: listening(server.port), "the server listens", PATIENCE)
        yield server
    finally:
        server.kill()
        server.discard()


@contextmanager
def page(server: Server, operator: Operator) -> Iterator[dict[str, Any]]:
    """A session whose two workers run; it is closed with the block."""
    before = {row["session_id"] for row in operator.get_all_sessions(server.app)}
    running = len(server.workers("line 1"))
    session = ClientSession(websocket_url=f"ws://127.0.0.1:{server.port}/app_pool/ws")
    session.connect()  # as a browser does, but it takes no notice of what is on the page
    try:
        eventually(
            lambda: len(server.workers("line 1")) == running + WORKERS_PER_RUN, "they run", PATIENCE
        )
        rows: list[dict[str, Any]] = []

        def registered() -> bool:
            listed = operator.get_all_sessions(server.app)
            rows[:] = [row for row in listed if row["session_id"] not in before]
            return len(rows) == 1

        eventually(registered, "the broker has it")
        yield rows[0]
    finally:
        session.close()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_a_kill_stops_the_workers_of_its_session_and_the_last_session_ends_the_pool(
    server: Server, operator: Operator
) -> None:
    with page(server, operator) as other:
        with page(server, operator) as killed:
            assert len(server.children()) == CHILDREN
            answer = operator.request_kill(killed["session_id"], "enough")
            short = killed["session_id"][:8]
            eventually(
                lambda: server.workers("stopped") == [short] * 2, "its two workers stop", PATIENCE
            )
        outcome = operator.get_command(answer["command_id"], wait=PATIENCE)
        assert outcome["stage"] == "completed"
        assert operator.get_session(other["session_id"])["status"] == "running"
        assert server.workers("stopped") == [short] * 2
        children = server.children()
        assert len(children) == CHILDREN
    eventually(lambda: gone(children), "the last session's end ends the pool", PATIENCE)
    expected = sorted([short, other["session_id"][:8]] * 2)
    assert server.workers("stopped") == expected
    eventually(lambda: not list(server.folder.iterdir()), "its folder is removed", PATIENCE)

    with page(server, operator):  # and there is a new one for whoever comes then
        assert len(server.children()) == CHILDREN
    eventually(lambda: server.children() == [], "it ends, too", PATIENCE)
    assert server.stop() == 0
    assert server.calm(), server.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_leaves_nothing(
    server: Server, operator: Operator, number: signal.Signals
) -> None:
    with page(server, operator) as row, page(server, operator):
        children = server.children()
        assert len(children) == CHILDREN
        for process in children:  # as Ctrl-C does, which reaches the whole group
            if number == signal.SIGINT:
                process.send_signal(number)
        server.signal(number)
        assert server.wait() == 0
        assert gone(children)
        assert len(server.workers("stopped")) == 2 * WORKERS_PER_RUN
        assert list(server.folder.iterdir()) == []
        assert server.calm(), server.log()
        with pytest.raises(LookupError, match="has ended"):
            operator.get_session(row["session_id"])


def test_a_server_that_is_killed_leaves_nothing(server: Server, operator: Operator) -> None:
    with page(server, operator):
        children = server.children()
        assert len(children) == CHILDREN
        server.kill()
        eventually(lambda: gone(children), "workers and manager notice", PATIENCE)
        eventually(
            lambda: not list(server.folder.iterdir()), "the manager's folder is removed", PATIENCE
        )
        assert not listening(server.port)


def test_a_worker_s_process_that_dies_is_replaced(server: Server, operator: Operator) -> None:
    with page(server, operator):
        busy = re.findall(r"pool process (\d+): worker", server.log())
        psutil.Process(int(busy[0])).kill()
        eventually(
            lambda: busy[0] not in [str(p.pid) for p in server.children()], "it is gone", PATIENCE
        )
        eventually(lambda: len(server.children()) == CHILDREN, "there is another", PATIENCE)
        assert len(operator.get_all_sessions(server.app)) == 1
    eventually(lambda: server.children() == [], "all end", PATIENCE)
    assert server.stop() == 0
    assert server.calm(), server.log()


def test_the_port_of_the_demos_may_be_taken(broker: BrokerProcess, tmp_path: Path) -> None:
    words = ["-m", "demos", "--server", broker.bus, "--port", str(broker.bus_port)]
    with running(words, tmp_path / "demos.log") as demos:
        assert demos.wait(60) == 2
        assert "choose another port with --port" in demos.log()
        assert "Traceback" not in demos.log()
