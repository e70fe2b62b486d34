"""Everything the benchmark measures, in the order it does."""

from __future__ import annotations

from typing import Final

from scripts.measures import browser, changes, client, echo, growth, kills, many, peers
from scripts.measures.figures import Group
from scripts.measures.run import Grow

# What is held against each other stands in one group, so that its rounds take turns.
GROUPS: Final = (
    Group("requests", (echo.ECHO, echo.REQUESTS)),
    Group("changes", (changes.CHANGES, changes.FEED, changes.RAW_PUB)),
    Group(
        "kills",
        (kills.CEILINGS, peers.REDIS, kills.KILL, kills.KILL_ALL),
    ),
    Group("under load", (kills.UNDER,), rounds=1),
    Group("heartbeats", (peers.ANCESTOR, peers.ALIVE)),
    Group("many", (many.MANY,), rounds=1),
    Group("client", (client.CLIENT,)),
    Group("browser", (browser.VISIBLE,)),
)

# how the broker's cost grows with its sessions; None: not measured
GROW: Grow | None = growth.grow
GROWTH: Final = "growth"  # its name beside those of the groups


def names() -> list[str]:
    """What can be chosen."""
    return [group.name for group in GROUPS] + ([GROWTH] if GROW is not None else [])
