"""One guard taken out of a private copy of the tree, its tests run, and what that shows.

Only a test that fails has noticed. What can't even be collected, a fixture that breaks, or a run
that does not end (unless its guard is one against hanging) proves nothing.
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from scripts.mutation.guard import Guard

LEFT_OUT: Final = (
    ".*",
    "__pycache__",
    "*.egg-info",
    "build",
    "dist",
    "htmlcov",
    "node_modules",
    "*.db",
    "*.db-*",
)
FAILED: Final = 1  # pytest's exit status when all was collected, and a test did not pass
PATIENCE: Final = (10.0, 5.0)  # seconds a run has to end after SIGINT, then after SIGTERM
HANG_SECONDS: Final = 45.0  # many times what the tests of guards against hanging take
MARK: Final = "PANELBUS_TRIAL"  # variable of all that a trial starts; holds its copy's path
POLL: Final = 0.05  # seconds between looks at it
SHOWN_CHARS: Final = 2_000  # of what a run printed last


class Judgement(Enum):
    """What a trial has shown."""

    CAUGHT = "caught"
    HUNG = "caught: it hangs"
    MISSED = "not caught"
    BROKEN = "the tests could not run"
    TIMEOUT = "not ended in time"

    @property
    def good(self) -> bool:
        return self in (Judgement.CAUGHT, Judgement.HUNG)


class Result(NamedTuple):
    """How the trial of one guard went."""

    guard: Guard
    judgement: Judgement
    test: str | None  # the first that failed
    seconds: float
    output: str  # the last of it, where something is to be explained


class Ran(NamedTuple):
    """One run of pytest."""

    status: int | None  # None: it was ended, for time
    failed: tuple[str, ...]  # ids of tests whose own body failed
    broken: tuple[str, ...]  # ids of those that could not begin or end
    output: str


class Mistaken(Exception):
    """A guard does not fit its file; the message says which and how."""


def mutated(guard: Guard, source: str) -> str:
    """The source without the guard.

    Raises:
        Mistaken: the text is not there exactly once, or what remains is no Python.
    """
    found = source.count(guard.text)
    if found != 1:
        raise Mistaken(f"{guard.name!r}: its text stands {found} times in {guard.file}, not once")
    changed = source.replace(guard.text, guard.without)
    try:
        ast.parse(changed)
    except SyntaxError as error:
        raise Mistaken(f"{guard.name!r}: without it {guard.file} is no Python: {error}") from error
    return changed


def copy_tree(root: Path, target: Path) -> None:
    """All that the tests need, and nothing that was built."""
    shutil.copytree(root, target, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)


def try_out(guard: Guard, tree: Path, timeout: float, stopping: threading.Event) -> Result:
    """Take one guard out of a copy, run its tests for at most ``timeout`` seconds, put it back.

    ``stopping`` ends it early; what it tells then is of no worth.

    Raises:
        Mistaken: the guard does not fit its file.
    """
    path = tree / guard.file
    source = path.read_text(encoding="utf-8")
    changed = mutated(guard, source)
    times = path.stat()
    began = time.monotonic()
    path.write_text(changed, encoding="utf-8")
    # Python tells by whole seconds and the size whether compiled code is that of a file
    os.utime(path, (times.st_atime, times.st_mtime + 2))
    try:
        limit = min(timeout, HANG_SECONDS) if guard.hangs else timeout
        ran = run_tests(tree, guard.tests.split(), limit, stopping)
    finally:
        path.write_text(source, encoding="utf-8")
        os.utime(path, (times.st_atime, times.st_mtime))
        _forget_compiled(path)
    judgement = judge(ran, hangs=guard.hangs)
    # slow is not hanging: with the guard the same tests must end in the same time
    if judgement is Judgement.HUNG and not stopping.is_set():
        with_it = run_tests(tree, guard.tests.split(), limit, stopping)
        judgement = Judgement.HUNG if with_it.status == 0 else Judgement.TIMEOUT
    test = ran.failed[0] if ran.failed else None
    output = "" if judgement.good else f"{ran.output}\npytest's exit status: {ran.status}"
    return Result(guard, judgement, test, time.monotonic() - began, output)


def _forget_compiled(path: Path) -> None:
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink(missing_ok=True)


def judge(ran: Ran, *, hangs: bool) -> Judgement:
    """What a run without the guard says."""
    if ran.status is None:
        return Judgement.HUNG if hangs else Judgement.TIMEOUT
    if ran.status == 0:
        return Judgement.MISSED
    if ran.status == FAILED and ran.failed:
        return Judgement.CAUGHT
    return Judgement.BROKEN


# --- running -------------------------------------------------------------------------------------


def run_tests(tree: Path, tests: Iterable[str], timeout: float, stopping: threading.Event) -> Ran:
    """Run tests of a copy up to the first failure, for at most ``timeout`` seconds."""
    report, log = tree / "report.xml", tree / "report.log"
    report.unlink(missing_ok=True)
    # only the plugin whose option stands below: to load all takes longer than most trials
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "pytest_timeout"]
    # one limit, the one given here: a test's own would look like its failure
    command += ["-o", "timeout=0", "-o", "junit_family=xunit1", f"--junit-xml={report}"]
    environment = {**os.environ, "PYTHONPATH": str(tree), "CI": "1", MARK: str(tree)}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *tests],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    try:
        status = _wait(process, timeout, stopping)
    finally:
        _end_strays(tree)
    said = log.read_text(encoding="utf-8", errors="replace")[-SHOWN_CHARS:]
    failed, broken = _read(report)
    return Ran(status, failed, broken, said)


def _wait(
    process: subprocess.Popen[bytes], timeout: float, stopping: threading.Event
) -> int | None:
    """Its exit status; None when its time was up, and it was ended."""
    deadline = time.monotonic() + timeout
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if stopping.wait(POLL):
                break
        return process.poll()
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """By the gentlest means that helps: pytest's fixtures end what they have started."""
    for number, seconds in zip((signal.SIGINT, signal.SIGTERM), PATIENCE, strict=True):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:
        process.kill()
        process.wait()


def _end_strays(tree: Path) -> None:
    """Whatever the tests of this copy started and left, which its environment tells."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(tree):
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has gone, or is somebody else's


def _read(report: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the tests that failed, and of those that were broken, in order."""
    try:
        cases = ET.parse(report).getroot().iter("testcase")
    except (OSError, ET.ParseError):  # it was cut short, or never began
        return (), ()
    failed, broken = [], []
    for case in cases:
        name = f"{case.get('file')}::{case.get('name')}"
        if case.find("failure") is not None:
            failed.append(name)
        if case.find("error") is not None:
            broken.append(name)
    return tuple(failed), tuple(broken)
