"""How long apps need to be back at a broker that is back: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """A fault, from its beginning to its end (monotonic seconds)."""

    begin: float
    end: float


class Link(NamedTuple):
    """What one life of an app saw of the broker: when it lost it, and when it had all again.

    ``troubled`` are the faults that struck this app or its way to the broker.
    """

    born: float
    downs: Sequence[float]
    ups: Sequence[float]
    troubled: Sequence[Span]


def reattach_times(outages: Sequence[Span], links: Iterable[Link]) -> list[float]:
    """Seconds from the end of each outage of the broker until each app had all its sessions there
    again. Only where nothing else went wrong meanwhile: a fault of the app's own is another story.
    """
    found = []
    ends = [*(outage.begin for outage in outages[1:]), float("inf")]  # each at the next one's begin
    for link in links:
        for outage, until in zip(outages, ends, strict=False):
            back = _back(link, outage, until)
            if back is not None:
                found.append(back - outage.end)
    return found


def _back(link: Link, outage: Span, until: float) -> float | None:
    """When the app was back, if this outage alone had taken it away."""
    if link.born > outage.begin:
        return None
    back = next((at for at in link.ups if at >= outage.end), None)
    if back is None or back >= until:
        return None
    if not any(outage.begin <= at <= back for at in link.downs):
        return None  # it had not come back from an earlier one
    if any(span.begin <= back and span.end >= outage.begin for span in link.troubled):
        return None
    return back
