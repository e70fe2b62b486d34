"""A file that holds disk space for the day there is none: given up, it lets the store go on.

Without it a full disk takes everything at once: the log can't grow, and what is in it can't move
into the database. Having it back is also the proof that there is space again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from broker.files import PRIVATE

RESERVE_BYTES: Final = 4 << 20  # about as long as the write-ahead log gets
SPARE_BYTES: Final = 1 << 20  # free beside it before a disk that was full counts as well again


class Reserve:
    """``<database>.reserve``, which is there in full or not at all."""

    def __init__(self, database: Path, size: int) -> None:
        self.path = database.with_name(database.name + ".reserve")
        self._size = size

    def take(self, spare: int = 0) -> None:
        """Have the file and its space, on a disk that has ``spare`` bytes more.

        Raises:
            OSError: ENOSPC above all; then nothing is left of it.
        """
        if self._size == 0 or self._is_whole():
            return
        number = os.open(self.path, os.O_WRONLY | os.O_CREAT, PRIVATE)
        try:
            _allocate(number, self._size + spare)
            os.ftruncate(number, self._size)
        except OSError:
            self.give_up()
            raise
        finally:
            os.close(number)

    def give_up(self) -> bool:
        """Let others have the space; whether there was any."""
        try:
            self.path.unlink()
        except OSError:  # nothing to give, or the disk is beyond that: the store tells
            return False
        return True

    def _is_whole(self) -> bool:
        try:
            return self.path.stat().st_size == self._size
        except OSError:
            return False


def _allocate(number: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(number, 0, size)
        return
    block = bytes(1 << 16)  # a sparse file would hold no space
    for start in range(0, size, len(block)):
        os.write(number, block[: size - start])
