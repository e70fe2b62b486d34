"""Samples of a soak, and results of a benchmark, that never were."""

from __future__ import annotations

from scripts.levels import DATABASE, DESCRIPTORS, MEMORY, SESSIONS, THREADS
from scripts.measures.figures import Figure
from scripts.measures.results import Results
from scripts.soak_samples import Samples


def made_up(leak: float = 0.0) -> Samples:
    """Half an hour of two apps and a broker; the second app grows by ``leak`` MB in that time."""
    samples = Samples({"sessions": 1_000, "apps": 2, "seed": 1})
    for number in range(31):
        samples.at.append(number * 60.0)
        samples.add("broker", MEMORY, 50.0)
        samples.add("broker", THREADS, 4.0)
        samples.add("broker", DESCRIPTORS, 20.0)
        samples.add("app 1", MEMORY, 30.0, "apps")
        samples.add("app 2", MEMORY, 30.0 + leak * number / 30, "apps")
        samples.add("sessions.db", DATABASE, 5.0)
        samples.add("broker", SESSIONS, 1_000)
        samples.spent("broker", number * 6.0)
        samples.spent("app 1", number * 3.0)
        samples.spent("app 2", number * 3.0)
    samples.count({"register": 9_000, "end": 8_000, "status": 20_000}, {"completed": 7})
    return samples


def bench_results(quick: bool = False, **values: list[float]) -> Results:
    """With these values of each figure, a round each."""
    results = Results(quick, {"processor": "made up", "load average": "0.1 before it began"})
    for key, found in values.items():
        results.figures[key] = Figure(key, f"the figure {key}", "ms")
        results.values[key] = found
    return results
