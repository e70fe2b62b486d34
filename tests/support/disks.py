"""Small disks for tests: file systems in memory that can be full or read-only, mounted by root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLING = "filling"  # name of the file that takes what space there is


def _mount(*words: str) -> bool:
    done = subprocess.run(["mount", *words], capture_output=True, check=False)
    return done.returncode == 0


def _may_mount(directory: Path) -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    if not _mount("-t", "tmpfs", "-o", "size=64k", "panelbus-test", str(directory)):
        return False
    _unmount(directory)
    return True


def _unmount(directory: Path) -> None:
    # lazily, since a process that is ending may still hold a file
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


class Disk:
    """A mounted file system of a few megabytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def fill(self, *, leave: int = 0) -> None:
        """Take all space but so many bytes."""
        found = os.statvfs(self.directory)
        size = found.f_bavail * found.f_frsize - leave
        with (self.directory / FILLING).open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), max(1, size))

    def empty(self) -> None:
        """Give the space back."""
        (self.directory / FILLING).unlink()

    def make_read_only(self) -> None:
        """Only while nobody has a file open for writing there."""
        assert _mount("-o", "remount,ro", str(self.directory))


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Disk]:
    """A disk of this size, as mount has it; skips the test where mounting is not allowed."""
    directory.mkdir()
    if not _may_mount(directory):
        pytest.skip("SKIPPED LOUDLY: only root on Linux may mount the small disk this test needs")
    assert _mount("-t", "tmpfs", "-o", f"size={size},mode=0755", "panelbus-test", str(directory))
    try:
        yield Disk(directory)
    finally:
        _unmount(directory)
