"""What a guard is to the mutation run."""

from __future__ import annotations

from typing import NamedTuple


class Guard(NamedTuple):
    """A line or a few whose absence some test must notice.

    name: what it keeps true.
    faults: numbers of the faults and invariants in docs/RELIABILITY.md; "security" for those of
        docs/SECURITY.md.
    file: where it stands, from the repository's root.
    text: the guard, exactly once in the file.
    without: what stands there when it is gone.
    tests: where its test is: arguments of pytest, separated by blanks.
    hangs: whether its test may also notice by never coming to its end.
    """

    name: str
    faults: str
    file: str
    text: str
    without: str
    tests: str
    hangs: bool = False
