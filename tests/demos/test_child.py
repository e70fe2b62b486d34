"""What a started process does with what it has from its parent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demos import child
from tests.support.processes import ROOT, eventually

RELEASE = """
import os, socket, sys
from demos.child import is_network_socket, release_sockets
listening = socket.create_server(("127.0.0.1", 0))
ours, theirs = socket.socketpair()
pid = os.fork()
if pid == 0:
    release_sockets()
    assert not is_network_socket(listening.fileno())
    ours.send(b"here")
    os.read(0, 1)
    os._exit(0)
address = listening.getsockname()
listening.close()
assert theirs.recv(10) == b"here"
with socket.create_server(address):  # free, although the child lives
    print("free", flush=True)
os._exit(0)
"""

ORPHAN = """
import multiprocessing, os, sys, time
from demos import child
def work(folder, pids):
    child.begin(folder)
    pids.send(os.getpid())
    time.sleep(60)
if __name__ == "__main__":
    ends, other = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    for _ in range(3):  # each has copies of the pipes of those before it
        context.Process(target=work, args=(sys.argv[1], other)).start()
    print(*(ends.recv() for _ in range(3)), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_network_socket_is_told_from_other_files(tmp_path: Path) -> None:
    with socket.socket() as network:
        number = network.fileno()
        assert child.is_network_socket(number)
    assert not child.is_network_socket(number)  # closed
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "file").open("w") as file:
        assert not child.is_network_socket(ours.fileno())
        assert not child.is_network_socket(file.fileno())


@pytest.mark.process
def test_a_forked_child_does_not_hold_its_parent_s_port() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RELEASE], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() == "free", done.stderr


@pytest.mark.process
def test_orphans_end_by_themselves_and_remove_what_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "left"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 3
        parent.wait(20)

    def alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    eventually(lambda: not any(map(alive, pids)), "they end", 10)
    eventually(lambda: not folder.exists(), "the folder is removed", 5)


def test_the_first_process_watches_nobody() -> None:
    child.watch_parent()
