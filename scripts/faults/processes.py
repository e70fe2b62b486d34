"""The processes a run starts: the broker with its children, and apps. Each is ended by its pid."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import psutil

from scripts.ports import free_port, listens

ROOT: Final = Path(__file__).resolve().parents[2]
START_TIMEOUT: Final = 60.0  # seconds a part has to come (back); a busy machine takes its time
STOP_TIMEOUT: Final = 20.0  # seconds a part has to end in order
START_AGAIN: Final = 0.2  # seconds after a start that failed
HTTP_TIMEOUT: Final = 2.0  # seconds for a sign of life
USAGE_STATUS: Final = 2  # of a broker whose port is still held by a child of the one before


def page_status(port: int, path: str) -> int | None:
    """The status of a page of 127.0.0.1; None when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def start(arguments: list[str], log: Path, stdin: int, **more: str) -> subprocess.Popen[bytes]:
    """A Python process of ours, deaf to Ctrl-C and to what is set for other brokers."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PANELBUS_")}
    # what is tried is the checkout this file is in
    path = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**env, "PYTHONPATH": path, **more},
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class Broker:
    """``python -m broker`` on ports of its own, kept running as a supervisor would."""

    def __init__(self, directory: Path, *, cleanup_after: float, monitor: bool) -> None:
        self.bus_port, self.feed_port, self.http_port = free_port(), free_port(), free_port()
        self.monitor_port = free_port() if monitor else None
        self.bus = f"tcp://127.0.0.1:{self.bus_port}"
        self.database = directory / "sessions.db"
        self.starting = False
        self.came_back: list[float] = []  # when it listened again
        self.ended: list[str] = []  # unasked for
        self._directory = directory
        self._cleanup_after = cleanup_after
        self._start_at: float | None = None  # when the next attempt is due
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the broker was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, without waiting for it; `tend` sees to it that it comes."""
        self.starting, self._start_at = True, None
        arguments = ["broker", "--bus", self.bus, "--feed", f"tcp://127.0.0.1:{self.feed_port}"]
        arguments += ["--http", f"127.0.0.1:{self.http_port}", "--db", str(self.database)]
        arguments += ["--cleanup-after", str(self._cleanup_after)]
        arguments += ["--stale-after", str(self._cleanup_after / 2)]
        more = {}
        if self.monitor_port is not None:
            arguments.append("--monitor")
            more["PANELBUS_PORT"] = str(self.monitor_port)
        log = self._directory / "broker.log"
        self._process = start(arguments, log, subprocess.DEVNULL, **more)

    def tend(self, now: float) -> None:
        """Notice that it has come, or has to be started again."""
        if self._process is None:
            return
        status = self._process.poll()
        if status is None:
            if self.starting and listens(self.bus_port):
                self.starting = False
                self.came_back.append(now)
            return
        if not self.starting or status != USAGE_STATUS:
            self.ended.append(f"the broker ended by itself with status {status}")
            self.starting = True
        if self._start_at is None:
            self._start_at = now + START_AGAIN
        elif now >= self._start_at:
            self.start()

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """In order; by force, and noted, when it does not manage that."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            status = self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.ended.append(f"the broker did not end within {STOP_TIMEOUT:g} s of SIGTERM")
            self.kill()
            return
        if status not in (0, -signal.SIGTERM):  # the latter when it was not yet past its start
            self.ended.append(f"the broker ended with status {status} at SIGTERM")
        self._process = None

    def child(self, module: str) -> psutil.Process | None:
        """The broker's child that runs this module."""
        if not self.running:
            return None
        try:
            children = psutil.Process(self.pid).children()
            return next((c for c in children if module in c.cmdline()), None)
        except psutil.Error:  # gone at this very moment
            return None


class App:
    """``python -m scripts.faults.app``: one life of an app after the other."""

    def __init__(self, name: str, server: str, sessions: int, directory: Path) -> None:
        self.name = name
        self.heartbeat = 1.0  # seconds
        self.lives: list[Life] = []
        self.ended: list[str] = []  # unasked for
        self._server, self._sessions, self._directory = server, sessions, directory

    @property
    def life(self) -> Life:
        """The present or the last one."""
        return self.lives[-1]

    def start(self) -> None:
        number = str(len(self.lives) + 1)
        record = self._directory / f"{self.name}-{number}.jsonl"
        arguments = ["scripts.faults.app", "--server", self._server, "--app", self.name]
        arguments += ["--life", number, "--sessions", str(self._sessions)]
        arguments += ["--heartbeat", str(self.heartbeat), "--record", str(record)]
        process = start(arguments, self._directory / f"{self.name}.log", subprocess.PIPE)
        self.lives.append(Life(self.name, number, process, record))

    def tend(self) -> None:
        """Notice a life that ended unasked for, and begin another."""
        if self.lives and self.life.fate == "alive":
            status = self.life.process.poll()
            if status is not None:
                self.life.over("crashed")
                self.ended.append(f"{self.name} ended by itself with status {status}")
                self.start()


class Life:
    """One process of an app, and what it has written down so far."""

    def __init__(
        self, app: str, number: str, process: subprocess.Popen[bytes], record: Path
    ) -> None:
        self.app, self.number, self.process = app, number, process
        self.fate = "alive"  # then killed, exited or crashed
        self.events: list[dict[str, Any]] = []
        self._record = record
        self._reader: IO[bytes] | None = None
        self._rest = b""
        self._closed = False

    def read(self) -> None:
        """Take up what it has written since the last time."""
        if self._closed or (self._reader is None and not self._record.exists()):
            return
        if self._reader is None:
            self._reader = self._record.open("rb")
        *lines, self._rest = (self._rest + self._reader.read()).split(b"\n")
        self.events += map(json.loads, lines)

    def found(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]

    @property
    def started(self) -> bool:
        self.read()
        return any(entry["event"] == "started" for entry in self.events)

    def say(self, line: str) -> None:
        """Raises BrokenPipeError when it is gone."""
        if self.process.stdin is None:
            raise RuntimeError("an app is told by its stdin")
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def over(self, fate: str) -> None:
        """It has ended: it was "killed", it "exited" when asked to, or it "crashed"."""
        self.fate = fate

    def end(self, fate: str, number: signal.Signals) -> str | None:
        """End it by this signal and wait for that; what was wrong with its end, if anything."""
        self.process.send_signal(number)
        wrong = None
        try:
            status = self.process.wait(STOP_TIMEOUT)
            if status != -signal.SIGKILL and status != 0:
                wrong = f"{self.app} ended with status {status} at {number.name}"
        except subprocess.TimeoutExpired:
            wrong = f"{self.app} did not end within {STOP_TIMEOUT:g} s of {number.name}"
            self.process.kill()
            self.process.wait()
            fate = "killed"
        self.over(fate)
        self.close()
        return wrong

    def close(self) -> None:
        """Let go of its pipe and its record, which is read to the end."""
        self.read()
        self._closed = True
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        if self._reader is not None:
            self._reader.close()
