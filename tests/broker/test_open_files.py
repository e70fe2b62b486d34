"""The limit of open files: raised, and told before it is met."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from broker import open_files
from broker.open_files import CHECK_EVERY, OpenFiles, in_use

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")

IN_A_PROCESS = """
import os, resource
from broker.open_files import in_use, raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
print(raise_limit(100), raise_limit(1000), raise_limit(50))
taken = []
while in_use() is not None:
    taken.append(os.open(os.devnull, os.O_RDONLY))
print(len(taken) < 128)
"""


def test_the_limit_is_raised_as_far_as_is_allowed_and_never_lowered() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["100 128 128", "True"]


def test_what_is_in_use_is_about_the_lowest_free_number() -> None:
    before = in_use()
    assert before is not None
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
    after = in_use()
    for number in taken:
        os.close(number)
    assert after is not None
    assert after > before


def test_a_near_limit_is_told_once_until_it_is_far_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    files = OpenFiles(1000)
    for used in (799, 800, 900, 750, 999):
        files.judge(used)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("about 800 of 1000 files are open")
    assert "LimitNOFILE" in caplog.messages[0]
    files.judge(699)
    assert caplog.messages[1:] == ["enough files can be opened again"]
    files.judge(None)
    assert caplog.messages[2].startswith("all of 1000 files are open")


def test_it_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def look() -> int:
        looks.append(1)
        return 1

    monkeypatch.setattr(open_files, "in_use", look)
    files = OpenFiles(1000)
    for now in (100.0, 101.0, 100.0 + CHECK_EVERY, 101.0 + CHECK_EVERY):
        files.watch(now)
    assert len(looks) == 2
    OpenFiles(None).watch(100.0)
    OpenFiles(None).judge(5)
    assert len(looks) == 2
