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
                471,
                "storm",
                (
                    Step(0.1, "open", (0, "sales")),
                    Step(0.2, "open", (1, "stock")),
                    Step(0.3, "open", (2, "sales")),
                    Step(1.0, "kill", (11, 85, "wait")),
                    Step(2.2509, "change", (6, 37)),
                    Step(2.3812, "open", (11, "stock")),
                    Step(2.7145, "flood", (6,)),
                    Step(6.5414, "crash", ("committed",)),
                    Step(8.1211, "kill", (0, 33, "no key")),
                    Step(8.7049, "freeze", (10, 8.388)),
                    Step(9.0526, "change", (11, 84)),
                    Step(10.3488, "open", (5, "stock")),
                    Step(10.8924, "open", (9, "stock")),
                    Step(12.032, "disk", ("busy", 1.374)),
                    Step(12.2579, "create", (0, "stock")),
                    Step(12.9618, "create", (4, "stock")),
                    Step(13.9323, "kill", (11, 73, "no key")),
                    Step(14.7672, "freeze_broker", (2.609,)),
                    Step(14.9553, "open", (6, "stock")),
                    Step(16.3992, "kill_all", (10, "stock")),
                    Step(16.4689, "crash", ("committed",)),
                    Step(16.702, "cut", (3, 7.034)),
                    Step(16.9204, "close", (5, 52)),
                    Step(17.0649, "open", (7, "sales")),
                    Step(17.9608, "open", (11, "sales")),
                    Step(20.197, "create", (5, "sales")),
                    Step(20.4307, "kill", (6, 48, "no key")),
                    Step(21.001, "open", (8, "stock")),
                    Step(22.8423, "change", (11, 97)),
                    Step(28.3233, "crash", ("answered",)),
                    Step(32.2613, "crash", ("sent",)),
                    Step(34.6704, "kill", (8, 91, "twice")),
                    Step(35.0487, "change", (7, 0)),
                    Step(35.4654, "exit", (1,)),
                    Step(35.599, "kill", (6, 30, "reuse")),
                ),
                sqlite=False,
            ),
            (
                "delay >p1 1",
                "lose o0> 2",
                "lose p0> 9",
                "delay >p0 3",
                "lose >o0 5",
                "lose feed>o0 20",
                "commit-kept 35",
                "lose o0> 33",
                "lose o0> 42",
                "delay o0> 46",
                "lose o0> 52",
                "lose >o0 47",
                "repeat o0> 60",
                "lose feed>o0 67",
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
