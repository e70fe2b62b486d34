"""The scripts that attack: one attack for real, and what is said when a fuzzer is missing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scripts import fuzz_wire
from sessionclient.wire import WireError
from tests.support.processes import ROOT

pytestmark = pytest.mark.process


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_an_attack_is_measured() -> None:
    name = "instances on one connection"
    done = run("-m", "scripts.greed", "--only", name, "--seconds", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["attack"] == name
    assert 10 < found["before_mb"] <= found["during_mb"] < found["before_mb"] + 60
    assert found["during_p99_ms"] >= found["during_p50_ms"] > 0


def test_without_the_fuzzer_it_is_told_how_to_get_it() -> None:
    hide = "import sys; sys.modules['atheris'] = None; from scripts.fuzz_wire import main; main()"
    done = run("-c", hide, "--seconds", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: atheris is not installed: pip install atheris")


def test_what_the_fuzzer_begins_with_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = fuzz_wire.seeds()
    assert len(seeds) == sum(map(len, fuzz_wire.TABLES))
    for seed in seeds:
        fuzz_wire.try_out(seed)

    def other(payload: bytes, _table: object) -> object:
        if payload != b"x":
            raise WireError("malformed", "it is another one")
        return {"k": "ack"}

    monkeypatch.setattr("sessionclient.wire.decode", other)
    with pytest.raises(WireError, match="it is another one"):
        fuzz_wire.try_out(b"x")
