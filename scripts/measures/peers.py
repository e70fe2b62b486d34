"""What others cost on the same machine: Redis pub/sub and an HTTP registry; and what a heartbeat
costs here, which is held against the latter.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from scripts.measures import beside, stage
from scripts.measures.ancestor import ANCESTOR
from scripts.measures.figures import Figure, Measure, Round, Sample, Setting
from scripts.measures.fleet import Fleet
from scripts.measures.spread import PAUSE, spread, spread_figures
from scripts.ports import free_port, listens

__all__ = ["ALIVE", "ANCESTOR", "REDIS"]

CHANNEL: Final = "kills"
MORE: Final = 2  # messages for each kill: they are cheap
CONNECTIONS: Final = 100  # of the crowd at Redis
RECORDS: Final = 10_000  # sessions that Redis keeps
MESSAGE_BYTES: Final = 130  # as long as the command of a kill

SESSIONS_A_PROCESS: Final = 100
FLUSH: Final = 1.2  # seconds until a heartbeat is on the disk, which takes up to 1 s
# In seconds. The broker stores when a process was heard of at most every 10 s, or every quarter of
# this: short, so that the heartbeats of each round are stored, as real ones are, 30 s apart.
STALE_AFTER: Final = 4.0


# --- Redis ---------------------------------------------------------------------------------------


def why_no_redis() -> str | None:
    """Why it can't be measured here, None if it can."""
    if shutil.which("redis-server") is None:
        return "redis-server is not installed"
    if importlib.util.find_spec("redis") is None:
        return "the Python package redis is not installed: pip install redis"
    return None


def _client(port: int) -> Any:
    # loaded here and by name, as nothing else needs it and most have not installed it
    return importlib.import_module("redis").Redis("127.0.0.1", port)


def be_the_subscriber(port: int) -> None:
    """Serve orders to await a message, answered with when it came."""
    subscription = _client(port).pubsub()
    subscription.subscribe(CHANNEL)
    subscription.get_message(timeout=stage.TIMEOUT)  # that it is subscribed

    def answer(_order: dict[str, Any]) -> dict[str, Any]:
        if subscription.get_message(timeout=stage.TIMEOUT) is None:
            raise RuntimeError("a message was lost")
        return {"at": time.monotonic()}

    print("{}", flush=True)
    stage.serve(answer)


def be_the_crowd(port: int, rate: float) -> None:
    """``rate`` changes of a session's status a second, in turn over as many connections as the
    crowd at the broker has; each waits for its answer before it says the next one."""
    pool = _client(port).connection_pool
    ends = [pool.make_connection() for _ in range(CONNECTIONS)]
    change = ("status", "running", "task", "Refresh forecast")
    changes = [ends[0].pack_command("HSET", f"session:{at}", *change) for at in range(RECORDS)]
    for end in ends:
        end.connect()
        end.send_packed_command(changes[0])

    def say(number: int) -> None:
        end = ends[number % CONNECTIONS]
        end.read_response()
        end.send_packed_command(changes[number % RECORDS])

    beside.take_turns(beside.paced(rate, say))
    for end in ends:
        end.disconnect()


@contextmanager
def redis_server(directory: Path) -> Iterator[int]:
    """A Redis that keeps nothing, of its own; gives its port."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--appendonly", "no", "--dir", str(directory)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    ) as popen:
        try:
            stage.wait_for(lambda: popen.poll() is not None or listens(port), "Redis listens")
            yield port
        finally:
            popen.terminate()
            stage.end(popen)


def _publish(client: Any, subscriber: stage.Running, count: int) -> list[float]:
    """How long each took, in seconds."""
    taken = []
    for _ in range(count):
        subscriber.tell()
        time.sleep(PAUSE)
        called = time.monotonic()
        client.publish(CHANNEL, b"\0" * MESSAGE_BYTES)
        taken.append(subscriber.hear()["at"] - called)
    return taken


def _measure(publish: Callable[[], list[float]], crowd: stage.Running) -> Sample:
    found = spread("redis", publish())
    with beside.going(crowd) as sent:
        found |= spread("redis_busy", publish())
    found["redis_busy.beside"] = beside.said(sent)
    return found


@contextmanager
def start_redis(setting: Setting) -> Iterator[Round]:
    with (
        redis_server(setting.directory) as port,
        stage.process(__name__, "subscriber", port, name="the subscriber") as subscriber,
        stage.process(__name__, "crowd", port, setting.scale.busy, name="its crowd") as crowd,
        _client(port) as client,
    ):
        subscriber.hear()
        crowd.hear()
        publish = partial(_publish, client, subscriber, MORE * setting.scale.kills)
        yield partial(_measure, publish, crowd)


# --- heartbeats ----------------------------------------------------------------------------------


def be_the_fleet(bus: str, processes: int, sessions: int) -> None:
    """Serve orders for one heartbeat of each process, answered when the broker has answered all."""
    fleet = Fleet(bus, processes, sessions)

    def answer(_order: dict[str, Any]) -> dict[str, Any]:
        fleet.keep_alive()
        return {}

    print("{}", flush=True)
    stage.serve(answer)
    fleet.close()


def _keep_alive(broker: stage.Broker, fleet: stage.Running, sessions: int) -> Sample:
    time.sleep(FLUSH)  # what came before is not part of it, and is long enough ago
    cpu = broker.running.cpu()
    fleet.ask()
    time.sleep(FLUSH)
    used = broker.running.cpu() - cpu
    return {"alive.cpu": used / sessions * 1e6}


@contextmanager
def start_alive(setting: Setting) -> Iterator[Round]:
    sessions = setting.scale.many
    processes = max(10, sessions // SESSIONS_A_PROCESS)
    with (
        stage.broker(setting.directory, "--stale-after", str(STALE_AFTER)) as broker,
        stage.process(
            __name__, "fleet", broker.bus, processes, sessions, name="the fleet"
        ) as fleet,
    ):
        fleet.hear()
        yield partial(_keep_alive, broker, fleet, sessions)


REDIS: Final = Measure(
    "Redis",
    (
        *spread_figures("redis", "Redis pub/sub, not durable, call to receive"),
        *spread_figures("redis_busy", "Redis pub/sub beside many changes of status"),
        Figure("redis_busy.beside", "changes of status beside the messages of Redis", "/s", "more"),
    ),
    start_redis,
    why_no_redis,
)
ALIVE: Final = Measure(
    "heartbeats",
    (Figure("alive.cpu", "CPU of the broker for a session kept alive, a heartbeat", "µs"),),
    start_alive,
)

if __name__ == "__main__":
    if sys.argv[1] == "subscriber":
        be_the_subscriber(int(sys.argv[2]))
    elif sys.argv[1] == "crowd":
        be_the_crowd(int(sys.argv[2]), float(sys.argv[3]))
    else:
        be_the_fleet(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
