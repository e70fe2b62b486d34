"""Live sessions in the order they were registered, and from any place in it at once.

A list of a hundred thousand is read in pages, each of which begins where the last one ended. To
walk there from the beginning would make the whole cost the square of its length.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from broker.registry.model import Session

LEAST_DEAD: Final = 64  # empty places that are always put up with


class InOrder:
    """Sessions by their ``seq``, which only rises; a removed one leaves an empty place for a while,
    of which there are never more than of others."""

    __slots__ = ("_dead", "_places", "_seqs")

    def __init__(self) -> None:
        self._seqs = array("Q")
        self._places: list[Session | None] = []
        self._dead = 0

    def __len__(self) -> int:
        return len(self._places) - self._dead

    def __iter__(self) -> Iterator[Session]:
        return self.after(0)

    def __contains__(self, session: Session) -> bool:
        place = self._place(session)
        return place < len(self._places) and self._places[place] is session

    def after(self, seq: int) -> Iterator[Session]:
        """Those registered after ``seq``; none may be added or removed meanwhile."""
        for place in range(bisect_right(self._seqs, seq), len(self._places)):
            session = self._places[place]
            if session is not None:
                yield session

    def everybody(self) -> list[Session]:
        """All of them, to be read at once and not kept."""
        return [session for session in self._places if session is not None]

    def append(self, session: Session) -> None:
        """Add the newest one."""
        self._seqs.append(session.seq)
        self._places.append(session)

    def remove(self, session: Session) -> None:
        """Take one out that is there."""
        self._places[self._place(session)] = None
        self._dead += 1
        if self._dead > max(LEAST_DEAD, len(self)):
            self._places = [session for session in self._places if session is not None]
            self._seqs = array("Q", [session.seq for session in self._places if session])
            self._dead = 0

    def _place(self, session: Session) -> int:
        return bisect_left(self._seqs, session.seq)
