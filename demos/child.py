"""How a process that the demos start begins its life, so that it always ends with its parent.

Kept light: a started (not forked) process loads this and nothing of Panel.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import stat
import threading
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final

PARENT_CHECK: Final = 1.0  # seconds between two looks at who our parent is
ORPHANED: Final = 70  # exit status of a process whose parent is gone
FD_FOLDERS: Final = ("/proc/self/fd", "/dev/fd")  # Linux, macOS


def begin(leftovers: str | None = None) -> None:
    """Be a good child: end with the parent, leave its signals and its sockets alone.

    Args:
        leftovers: a folder that is removed if the parent dies without doing it itself.
    """
    # Ctrl-C reaches the whole group, and the parent ends us in order. A forked process also has
    # its parent's handler of SIGTERM, with which it could not be terminated.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    release_sockets()
    watch_parent(leftovers)


def watch_parent(leftovers: str | None = None) -> None:
    """End this process as soon as the one that started it has gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    first = os.getppid()

    def watch() -> None:
        # The sentinel is a pipe whose other end our parent holds (a handle on Windows): it tells
        # at once. A process forked after us holds that end, too; should one of those stay, then
        # the look at the parent's pid tells.
        while not wait([parent.sentinel], PARENT_CHECK) and os.getppid() == first:
            pass
        if leftovers is not None:
            shutil.rmtree(leftovers, ignore_errors=True)
        os._exit(ORPHANED)  # from a thread, and with nobody left to tidy up for

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def release_sockets() -> None:
    """Let go of the network sockets that a fork has copied.

    Else the port of a killed server stays taken, and the connection to a browser stays open after
    the server closed it. Their numbers are kept, on the null device, because objects that belong
    to the parent would later close whatever else had got them.
    """
    folder = next((Path(name) for name in FD_FOLDERS if os.path.isdir(name)), None)
    if folder is None:  # Windows, where nothing is inherited
        return
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for fd in [int(entry.name) for entry in folder.iterdir()]:
            if is_network_socket(fd):
                os.dup2(null, fd, inheritable=False)
    finally:
        os.close(null)


def is_network_socket(fd: int) -> bool:
    """Whether this open file is an IPv4 or IPv6 socket; False if it is closed."""
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
        with socket.socket(fileno=os.dup(fd)) as copy:
            return copy.family in (socket.AF_INET, socket.AF_INET6)
    except OSError:
        return False
