"""Starting ``python -m broker`` for tests of how it is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.processes import ROOT, START_TIMEOUT, free_port


def run(*flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with no PANELBUS_ variables but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PANELBUS_")}
    return subprocess.run(
        [sys.executable, "-m", "broker", *flags],
        cwd=ROOT,
        env={**kept, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=False,
    )


def misused(*flags: str, **env: str) -> str:
    """What a start says that is refused for its command line; a reminder may stand above it."""
    done = run(*flags, **env)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    *above, line = done.stderr.splitlines()
    assert not any(text.startswith(("Error: ", "broker: ")) for text in above)
    assert line.startswith(("Error: ", "broker: "))
    return line


def refused(*flags: str, **env: str) -> str:
    """The one line of a start that is refused for what it meets."""
    done = run(*flags, **env)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    line, end, rest = done.stderr.partition("\n")
    assert (end, rest) == ("\n", "")
    assert line.startswith("broker: ")
    return line.removeprefix("broker: ")


def free_addresses() -> list[str]:
    """Flags for a bus and a feed nobody uses, and no gateway."""
    bus, feed = free_port(), free_port()
    return ["--no-gateway", "--bus", f"tcp://127.0.0.1:{bus}", "--feed", f"tcp://127.0.0.1:{feed}"]


@contextmanager
def taken_port() -> Iterator[int]:
    """A port somebody else listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield int(sock.getsockname()[1])
