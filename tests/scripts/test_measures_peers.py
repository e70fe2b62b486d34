"""scripts/measures/peers.py and ancestor.py: each measure once, as small as can be."""

from __future__ import annotations

import importlib.util
import math
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from scripts.measures import peers
from scripts.measures.figures import QUICK, Measure, Round, Setting
from tests.support.processes import eventually

TINY = replace(QUICK, seconds=0.2, kills=3, sessions=20, many=40)


@contextmanager
def started(measure: Measure, directory: Path) -> Iterator[Round]:
    before = psutil.Process().children(recursive=True)
    with measure.start(Setting(TINY, directory)) as one_round:
        yield one_round
    assert psutil.Process().children(recursive=True) == before


def check(measure: Measure, one_round: Round) -> None:
    found = one_round()
    assert sorted(found) == sorted(figure.key for figure in measure.figures)
    assert all(math.isfinite(value) and value > 0 for value in found.values()), found


def number(database: Path, statement: str) -> float:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return float(connection.execute(statement).fetchone()[0])


@pytest.mark.process
@pytest.mark.skipif(peers.why_no_redis() is not None, reason=str(peers.why_no_redis()))
def test_redis_passes_messages_on(tmp_path: Path) -> None:
    with started(peers.REDIS, tmp_path / "own") as one_round:
        check(peers.REDIS, one_round)
        check(peers.REDIS, one_round)


def test_what_redis_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert peers.REDIS.available() == "redis-server is not installed"
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert "pip install redis" in str(peers.REDIS.available())
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: "something")
    assert peers.REDIS.available() is None


@pytest.mark.process
def test_http_heartbeats_are_on_the_disk_when_they_are_answered(tmp_path: Path) -> None:
    with started(peers.ANCESTOR, tmp_path) as one_round:
        began = time.time()
        check(peers.ANCESTOR, one_round)
        statement = "SELECT max(last_heartbeat) FROM sessions"
        assert number(tmp_path / "ancestor.db", statement) > began
        assert (tmp_path / "ancestor.db-wal").exists()


@pytest.mark.process
def test_heartbeats_of_each_round_are_on_the_disk(tmp_path: Path) -> None:
    with started(peers.ALIVE, tmp_path) as one_round:
        for _ in range(2):
            began = time.time()
            check(peers.ALIVE, one_round)
            eventually(partial(all_heard_since, began, tmp_path), "all processes are stored")


def all_heard_since(began: float, directory: Path) -> bool:
    """Whether the broker has stored of each process that it was heard of after ``began``."""
    statement = "SELECT min(heard_at) FROM processes"
    return number(directory / "sessions.db", statement) > began
