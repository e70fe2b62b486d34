"""Shrunk failures, each kept with what it found and the guard without which it fails again.

A new one is printed by a failing run. It is a plan of its own, so that it keeps its meaning when
the plans of the seeds change.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.simulation.plan import Plan, Step
from tests.simulation.shrink import Case


class Found(NamedTuple):
    """A case, and the name of the guard in `tests.simulation.guards` that mended it."""

    guard: str
    case: Case


CASES: Final = (
    # "failed" was lost on its way, and no hello states it: the kill stayed "delivered" for ever.
    Found(
        "failure told again",
        Case(
            Plan(
                381,
                "greedy",
                (
                    Step(17.2836, "flood", (6,)),
                    Step(33.5717, "kill", (7, 36, "no key")),
                    Step(34.6114, "kill_all", (8, "sales")),
                ),
            ),
            ("delay p0> 20",),
        ),
    ),
    # A session whose kill had failed fell silent and was cleaned up. Its process came back, could
    # not end it a second time either, and it lived on: invisible, and out of reach of any kill.
    Found(
        "back after a failed kill",
        Case(
            Plan(
                492,
                "clocks",
                (
                    Step(14.8506, "open", (0, "sales")),
                    Step(16.4976, "kill", (7, 32, "reuse")),
                    Step(17.9145, "freeze", (0, 28.509)),
                ),
            ),
            (),
        ),
    ),
    # Tasks that finished before their session was known to the broker were dropped, and yet
    # acknowledged: the hello's tasks were looked at before its sessions.
    Found(
        "tasks of sessions new to the broker",
        Case(
            Plan(
                41,
                "lossy",
                (
                    Step(15.2026, "exit", (0,)),
                    Step(27.9511, "fork", (2,)),
                    Step(28.7972, "change", (3, 8)),
                ),
            ),
            (),
        ),
    ),
    # A process whose messages came with a gap was counted as silent, though it spoke.
    Found(
        "whoever speaks is not silent",
        Case(
            Plan(
                102,
                "hostile",
                (
                    Step(1.3956, "open", (8, "sales")),
                    Step(2.7827, "replay", (9,)),
                    Step(9.0381, "viewer", (10,)),
                    Step(9.6325, "junk", (11, 4)),
                    Step(9.9186, "viewer", (11,)),
                    Step(12.5657, "squatter", (3, 19)),
                ),
            ),
            ("delay x5> 1", "delay x5> 3"),
        ),
    ),
    # A snapshot failed on a gap in the updates meanwhile; what those had changed was told all the
    # same, among it the end of a session nobody had been shown, and what was told before was lost.
    Found(
        "a failed snapshot is not told",
        Case(
            Plan(
                49,
                "lossy",
                (
                    Step(0.1, "open", (0, "sales")),
                    Step(0.2, "open", (1, "stock")),
                    Step(0.3, "open", (2, "sales")),
                    Step(2.419, "change", (6, 57)),
                    Step(3.1032, "resync", (4,)),
                    Step(3.3945, "resync", (11,)),
                    Step(4.1849, "resync", (4,)),
                    Step(5.7276, "change", (7, 43)),
                    Step(7.6483, "close", (3, 18)),
                    Step(7.6558, "resync", (1,)),
                    Step(9.291, "open", (6, "sales")),
                    Step(9.7367, "change", (2, 10)),
                    Step(9.7468, "open", (8, "stock")),
                    Step(11.4324, "close", (1, 48)),
                    Step(11.9593, "kill", (8, 88, "twice")),
                    Step(13.8674, "resync", (4,)),
                    Step(14.0077, "fork", (2,)),
                    Step(16.8442, "resync", (0,)),
                    Step(22.1014, "exit", (8,)),
                    Step(22.4474, "resync", (2,)),
                ),
            ),
            (
                "lose p1> 1",
                "delay p1> 3",
                "lose p2> 4",
                "delay >p1 3",
                "lose p1> 13",
                "repeat p1> 15",
                "lose feed>o1 25",
                "lose >p2 14",
                "lose feed>o1 38",
                "delay feed>o1 48",
                "lose >o1 18",
                "delay >o1 22",
                "lose feed>o1 60",
            ),
        ),
    ),
    # A kill waited for a slow disk while its target was cleaned up for silence. It was accepted, no
    # target lived, so it was done; then the process came back, and its session lived on.
    Found(
        "told to end when back",
        Case(
            Plan(
                2879,
                "storm",
                (
                    Step(0.1, "open", (0, "sales")),
                    Step(2.3945, "kill", (0, 93, "no key")),
                    Step(10.0869, "open", (5, "stock")),
                    Step(13.2531, "create", (3, "sales")),
                    Step(14.1519, "open", (5, "stock")),
                    Step(17.1169, "kill", (5, 25, "twice")),
                    Step(17.5444, "open", (1, "stock")),
                    Step(19.1374, "die", (9,)),
                    Step(19.1978, "open", (3, "sales")),
                    Step(25.7871, "freeze", (5, 29.395)),
                    Step(33.0965, "kill", (1, 40, "key")),
                    Step(33.5157, "create", (11, "stock")),
                    Step(33.6932, "kill", (3, 22, "reuse")),
                    Step(35.4842, "kill", (11, 43, "key")),
                    Step(35.5054, "cleanup", (5, 8.0)),
                ),
            ),
            ("slow-commit 12", "slow-commit 31"),
        ),
    ),
)
