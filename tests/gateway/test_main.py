"""The gateway as a real process, with no broker behind it: flags, refusals, stopping."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from broker.gateway.__main__ import DEFAULT_TIMEOUT
from broker.gateway.token_file import change

# the mark of tests that start real processes
pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20
STOP_SECONDS = 10  # on a busy machine; a second will do


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PANELBUS_")}
    return {**kept, **more}


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "broker.gateway", *flags]


def refused(*flags: str, **env: str) -> str:
    """What stands on stderr of a start that is refused: one line, and maybe commands."""
    done = subprocess.run(
        command(*flags),
        cwd=ROOT,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    line, end, rest = done.stderr.partition("\n")
    assert end
    # what follows are commands to copy
    assert all(more.startswith(("  python -m ", "  panelbus ")) for more in rest.splitlines())
    assert line.startswith("gateway: ")
    return done.stderr.removeprefix("gateway: ").removesuffix("\n")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(
    *flags: str, http: str = "127.0.0.1:0", **env: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway whose broker is not there, and its URL."""
    server = f"tcp://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        command("--server", server, "--http", http, *flags),
        cwd=ROOT,
        env=environment(**env),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        if "is open to everybody" in line:
            line = process.stderr.readline()
        match = re.fullmatch(r".* INFO +gateway listening on (https?://\S+)\n", line)
        assert match, line
        yield process, match.group(1)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--wrong"], "No such option"),
        (["extra"], "Got unexpected extra argument (extra)"),
        (["--http", "8000"], "'8000' is not HOST:PORT, such as 127.0.0.1:8000"),
        (["--http", ":8000"], "':8000' is not HOST:PORT, such as 127.0.0.1:8000"),
        (["--http", "h:65536"], "'h:65536' is not HOST:PORT, such as 127.0.0.1:8000"),
        (["--http", "::1:8000"], "'::1:8000' is not HOST:PORT, such as 127.0.0.1:8000"),
        (["--server", "http://x:1"], "'http://x:1' is the REST gateway's kind"),
        (["--server", "tcp://x"], "'tcp://x' is not a broker's address; give tcp://HOST:PORT"),
        (["--server", "tcp://x:99999"], "'tcp://x:99999' is not a broker's address; give"),
        (["--timeout", "0"], "0.0 is not in the range 0.1<=x<=3600"),
        (["--timeout", "nan"], "'nan' is not a number"),
        (["--log-level", "loud"], "'loud' is not one of 'debug', 'info', 'warning', 'error'"),
        (["--tokens", "/no/tokens.json"], "/no/tokens.json can't be read: No such file"),
        (["--allow-origin", "*"], "'*' is not an origin; give each as a browser writes it"),
        (["--allow-origin", "apps.example"], "'apps.example' is not an origin"),
        (["--allow-origin", "https://apps.example/"], "'https://apps.example/' is not an origin"),
        (["--rate", "0"], "0.0 is not in the range"),
        (["--burst", "nan"], "'nan' is not a number"),
        (["--allow-host", "a:80"], "'a:80' is not a host name; give it without port"),
    ],
)
def test_bad_flags(flags: list[str], line: str) -> None:
    assert line in refused(*flags)


def test_bad_value_in_the_environment() -> None:
    assert "'nowhere' is not HOST:PORT" in refused(PANELBUS_HTTP="nowhere")
    assert "'x' is not a broker's address" in refused(PANELBUS_URL="x")
    assert "'y' is not a broker's address" in refused(PANELBUS_SERVER="y", PANELBUS_URL="x")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_beyond_loopback_is_refused(host: str) -> None:
    http = f"{host}:8000"
    lines = refused("--http", http).splitlines()
    assert "is not a loopback address, so anybody who reaches it could end sessions" in lines[0]
    assert "or listen on 127.0.0.1, or give --insecure if the network is trusted:" in lines[0]
    start = f"  python -m broker.gateway --http '{http}' --tokens tokens.json"
    start = start if "[" in host else start.replace("'", "")
    assert lines[1:] == [
        "  panelbus token create NAME --role operator --tokens tokens.json",
        f"{start} --tls-cert cert.pem --tls-key key.pem",
        f"{start} --behind-proxy   # if a proxy in front of it speaks TLS",
    ]


def test_beyond_loopback_with_tokens_it_wants_tls_or_a_proxy(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    change(path, lambda tokens: tokens, create=True)
    lines = refused("--http", "0.0.0.0:8000", "--tokens", str(path)).splitlines()
    assert "so tokens would cross the network readable. Encrypt it, or listen on" in lines[0]
    start = f"  python -m broker.gateway --http 0.0.0.0:8000 --tokens {path}"
    assert lines[1].startswith(f"{start} --tls-cert ")
    assert lines[2].startswith(f"{start} --behind-proxy ")
    with running("--tokens", str(path), "--behind-proxy", http="0.0.0.0:0") as (_, url):
        port = url.rpartition(":")[2]
        here = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{here}/healthz", trust_env=False).status_code == 200
        assert httpx.get(f"{here}/sessions", trust_env=False).status_code == 401
    with running("--insecure", http="0.0.0.0:0", PANELBUS_TOKENS=str(path)) as (_, url):
        port = url.rpartition(":")[2]
        assert httpx.get(f"http://127.0.0.1:{port}/audit", trust_env=False).status_code == 401


def test_the_rate_is_what_was_asked_for() -> None:
    with running("--rate", "0.1", "--burst", "2", "--timeout", "0.1") as (_, url):
        answers = [httpx.get(f"{url}/sessions/x", trust_env=False) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503, 503, 429]
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200


def test_unknown_host() -> None:
    assert refused("--http", "no-such-host.invalid:0").startswith("unknown host ")


@pytest.mark.parametrize("listening", [True, False])
def test_taken_port(listening: bool) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        if listening:
            sock.listen()
        port = sock.getsockname()[1]
        line = refused("--http", f"127.0.0.1:{port}")
    assert line == f"can't listen on 127.0.0.1:{port}: Address already in use"


def test_help_tells_units_variables_and_defaults() -> None:
    done = subprocess.run(
        command("--help"), cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    text = " ".join(done.stdout.split())
    for words in (
        "--server ADDR",
        "PANELBUS_SERVER, PANELBUS_URL; default: tcp://127.0.0.1:5760",
        "PANELBUS_HTTP; default: 127.0.0.1:8000",
        "in seconds. [env var: PANELBUS_TIMEOUT; default: 10.0",
        "PANELBUS_ALLOW_HOST",
        "PANELBUS_INSECURE",
        "--tokens FILE",
        "PANELBUS_TLS_KEY_PASSWORD",
        "PANELBUS_RATE; default: 200",
        "PANELBUS_BURST; default: 400",
        "PANELBUS_CORS_ORIGIN",
        "PANELBUS_LOG_LEVEL; default: info",
    ):
        assert words in text
    assert "parent" not in text


# --- serving ----------------------------------------------------------------------------------


def test_it_serves_and_bounds_bodies_over_the_wire() -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1000

    with running() as (_, url), httpx.Client(base_url=url, trust_env=False) as client:
        answer = client.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert "server" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
        large = client.post("/sessions", content=chunks())
        assert (large.status_code, large.json()["code"]) == (413, "too_large")
        head = client.get("/healthz", headers={"x": "y" * 20_000})
        assert (head.status_code, head.json()["code"]) == (431, "too_large")
        foreign = client.get("/healthz", headers={"host": "evil.example"})
        assert (foreign.status_code, foreign.json()["code"]) == (421, "foreign_host")
        up = client.get("/metrics")
        assert (up.status_code, up.text.splitlines()[-1]) == (200, "panelbus_up 0.0")


def test_a_broker_that_is_not_there_is_503() -> None:
    with running("--timeout", "0.5") as (_, url):
        # this fails where the flag is not heeded: the default is longer
        answer = httpx.get(f"{url}/sessions", trust_env=False, timeout=DEFAULT_TIMEOUT - 1)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["code"] in ("link_down", "timeout")
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 503


def test_insecure_listens_everywhere_under_any_name() -> None:
    with running("--insecure", http="0.0.0.0:0") as (_, url):
        port = url.rpartition(":")[2]
        answer = httpx.get(
            f"http://127.0.0.1:{port}/healthz", headers={"host": "any.name"}, trust_env=False
        )
        assert answer.status_code == 200


# --- stopping ---------------------------------------------------------------------------------

on_posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@on_posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_tidily(number: signal.Signals) -> None:
    with running() as (process, url), httpx.Client(base_url=url, trust_env=False) as client:
        client.get("/healthz")  # leaves an idle connection open
        process.send_signal(number)
        assert process.wait(STOP_SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@on_posix
def test_what_waits_for_the_broker_is_answered_when_it_stops() -> None:
    got: list[httpx.Response] = []
    with running("--timeout", "60") as (process, url):

        def ask() -> None:
            got.append(httpx.get(f"{url}/sessions", trust_env=False, timeout=30))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)  # it waits for a broker that is not there
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
        asking.join(STOP_SECONDS)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert [(answer.status_code, answer.json()["code"]) for answer in got] == [(503, "link_down")]


PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([*sys.argv[1:], "--parent-pid", str(os.getpid())])
print(child.pid, flush=True)
time.sleep(600)
"""


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@on_posix
def test_it_ends_with_its_parent() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/healthz"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *command("--http", f"127.0.0.1:{port}")],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stderr is not None
    gateway = int(parent.stdout.readline())
    try:
        assert "gateway listening on" in parent.stderr.readline()
        time.sleep(1.5)  # longer than it takes to look for the parent: it must not stop by itself
        assert answers(url)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + STOP_SECONDS
        while answers(url):
            assert time.monotonic() < deadline, "it outlives its parent"
            time.sleep(0.1)
        # the end of stderr: the gateway, which has inherited it, is gone
        assert "the broker that started this gateway is gone" in parent.stderr.read()
    finally:
        parent.kill()
        parent.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(gateway, signal.SIGKILL)
        parent.stdout.close()
        parent.stderr.close()
