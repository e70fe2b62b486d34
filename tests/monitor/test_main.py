"""``python -m monitor`` as a process: its options, its refusals, what it serves, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sessionclient import __version__
from sessionclient.address import DEFAULT_URL
from tests.support.monitor_site import Visitor, serving_site, write_users
from tests.support.processes import ROOT, Process, eventually, free_port, running
from tests.support.tls import write_certificate

pytestmark = pytest.mark.process

OAUTH = (
    *("--oauth-provider", "github", "--oauth-key", "id", "--oauth-secret-file", __file__),
    *("--oauth-redirect-uri", "https://monitor.example/login"),
)
NOWHERE = "tcp://127.0.0.1:1"  # where no broker is
END_TIMEOUT = 15.0  # seconds; generous, for a busy machine


def environment(**more: str) -> dict[str, str]:
    """Without options of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PANELBUS_")}
    return {**kept, **more}


def run(*flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "monitor", *flags],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**env),
    )


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def serving(tmp_path: Path, port: int) -> Iterator[Process]:
    """One without a broker that is listening."""
    flags = ["-m", "monitor", "--server", NOWHERE, "--port", str(port)]
    with running(flags, tmp_path / "monitor.log") as process:
        url = f"monitor on http://127.0.0.1:{port}"
        eventually(lambda: url in process.log() or not process.running, "it says where it is", 60)
        assert process.running, process.log()
        yield process


# --- options -----------------------------------------------------------------------------------


def test_help_names_every_option_with_its_default() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    said = " ".join(done.stdout.split())
    assert said.startswith("Usage: python -m monitor [OPTIONS] Serve the live monitor.")
    assert "Every option can also be set as PANELBUS_<OPTION>." in said
    parts = {part.split()[0]: part for part in re.split(r" (?=--[a-z])", said)[1:]}
    for option, default in {
        "--server": f"[default: {DEFAULT_URL}]",
        "--port": "[default: 5006; 1<=x<=65535]",
        "--address": "[default: 127.0.0.1]",
        "--allow-origin": "may be repeated.",
        "--users": "Who may log in",
        "--login-hours": "[default: 12.0; 0.01<=x<=720.0]",
        "--oauth-provider": "[auth0|",
        "--tls-cert": "Serve HTTPS",
        "--behind-proxy": "speaks HTTPS",
        "--key": "Our key",
        "--log-level": "[default: info]",
        "--log-format": "[default: text]",
        "--version": "Show the version",
        "--help": "Show this message",
    }.items():
        assert default in parts[option]
    assert "without a login" in said


def test_the_version_is_the_package_s() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"panelbus monitor, version {__version__}\n")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal: exit status 2, nothing on stdout, no traceback."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    # what click puts before its own errors
    usage = ("Usage: python -m monitor", "Try 'python -m monitor --help'", "")
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith(usage[:2])]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_flag_that_does_not_exist_is_refused() -> None:
    assert refused(run("--prot", "1")).startswith("Error: No such option")


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    assert refused(run("--port", port)).startswith("Error: Invalid value for '--port'")


@pytest.mark.parametrize("name", ["PANELBUS_SERVER", "PANELBUS_URL", ""])
def test_an_address_that_is_no_broker_s_is_refused(name: str) -> None:
    wrong = "http://127.0.0.1:8000"
    line = refused(run(**{name: wrong}) if name else run("--server", wrong))
    assert "--server" in line
    assert wrong in line
    assert "give tcp://HOST:PORT" in line


def test_options_may_come_from_the_environment() -> None:
    assert "'--port'" in refused(run(PANELBUS_PORT="many"))
    assert "--address 0.0.0.0" in refused(run(PANELBUS_ADDRESS="0.0.0.0"))


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_nobody_serves_beyond_loopback_by_accident(address: str) -> None:
    line = refused(run("--address", address))
    assert line.startswith(f"monitor: --address {address} is reachable from other machines")
    assert "--insecure" in line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--users", "/nowhere/users.json"), "panelbus user add NAME --role operator"),
        (("--tls-cert", "/nowhere/cert"), "--tls-cert and --tls-key go together"),
        (("--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k"), "No such file"),
        (("--tls-cert", __file__, "--tls-key", __file__), "no certificate and its key"),
        (("--key", "/nowhere/key"), "can't read the key file /nowhere/key"),
        (("--oauth-provider", "github"), "needs --oauth-key ID"),
        (("--oauth-provider", "github", "--users", "f"), "give one of them"),
        (OAUTH, "lets nobody in until you say whom"),
        (("--oauth-provider", "password"), "Invalid value for '--oauth-provider'"),
        (("--log-level", "loud"), "Invalid value for '--log-level'"),
    ],
)
def test_a_login_that_can_t_work_is_refused(flags: tuple[str, ...], said: str) -> None:
    assert said in refused(run(*flags))


def test_a_login_beyond_loopback_takes_https(tmp_path: Path) -> None:
    users = str(write_users(tmp_path / "users.json", "ann"))
    line = refused(run("--address", "0.0.0.0", "--users", users))
    assert "passwords would go there unencrypted" in line
    assert "--tls-cert FILE --tls-key FILE" in line


def test_a_port_that_is_taken_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        line = refused(run("--port", str(port), "--server", NOWHERE))
    assert line == (
        f"monitor: can't listen on 127.0.0.1:{port}: Address already in use; choose another port"
        " with --port or host with --address, or stop what holds it"
    )


def test_an_address_of_another_machine_is_refused(port: int) -> None:
    flags = ("--address", "192.0.2.1", "--insecure", "--port", str(port), "--server", NOWHERE)
    assert refused(run(*flags)).startswith(f"monitor: can't listen on 192.0.2.1:{port}: ")


# --- serving -----------------------------------------------------------------------------------


def test_it_serves_its_page_and_perspective_without_a_broker(serving: Process, port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    page = httpx.get(f"{base}/")
    assert page.status_code == 200
    assert "<title>Panelbus monitor</title>" in page.text
    script = httpx.get(f"{base}/perspective/perspective-anywidget.js")
    assert (script.status_code, len(script.content) > 1_000_000) == (200, True)
    assert "javascript" in script.headers["content-type"]
    style = httpx.get(f"{base}/perspective/perspective-anywidget.css")
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css")
    assert "Traceback" not in serving.log()


def test_it_serves_no_other_file(serving: Process, port: int) -> None:
    base = f"http://127.0.0.1:{port}/perspective"
    for path in (
        "",
        "/",
        "/perspective-anywidget.js.map",
        "/perspective-anywidgetXjs",
        "/../perspective-anywidget.js/../../__init__.py",
        "/..%2f..%2f__init__.py",
    ):
        assert httpx.get(base + path).status_code == 404, path


def test_it_serves_https_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    flags = ["--tls-cert", certificate, "--tls-key", key]
    with serving_site(tmp_path, *flags, scheme="https") as site:
        visitor = Visitor(site)
        answer = visitor.log_in("ann")
        assert answer.status_code == 303
        assert "max-age=" in answer.headers["Strict-Transport-Security"]
        (cookie,) = answer.headers.get_list("set-cookie")
        assert cookie.startswith("__Host-panelbus-login=")
        assert "; Secure" in cookie
        assert visitor.http.get("/").status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{site.host}/")


@pytest.mark.parametrize("proxy", [True, False])
def test_only_behind_a_proxy_it_believes_who_the_visitor_is(tmp_path: Path, proxy: bool) -> None:
    with serving_site(tmp_path, *(["--behind-proxy"] if proxy else [])) as site:
        visitor = Visitor(site)
        visitor.http.headers["X-Real-IP"] = "192.0.2.7"
        form = visitor.http.get("/login")
        (cookie,) = form.headers.get_list("set-cookie")
        assert ("; Secure" in cookie) is proxy
        token = re.findall("name='_xsrf' value='([^']+)'", form.text)[0]
        answer = visitor.http.post(
            "/login",
            data={"_xsrf": token, "username": "ann", "password": "wrong password"},
            headers={"Cookie": cookie.partition(";")[0]},  # which goes over HTTPS else
        )
        assert answer.status_code == 401
        where = "192.0.2.7" if proxy else visitor.address
        assert f"failed login of ann from {where}" in site.process.log()


def test_logs_may_be_json(tmp_path: Path) -> None:
    with serving_site(tmp_path, "--log-format", "json") as site:
        Visitor(site).log_in("ann")
        lines = [json.loads(line) for line in site.process.log().splitlines() if line[0] == "{"]
    assert {"logger": "panelbus.monitor", "level": "info"}.items() <= next(
        line for line in lines if line["message"].startswith("ann logged in")
    ).items()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(serving: Process, port: int, number: signal.Signals) -> None:
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    serving.signal(number)
    assert serving.wait(END_TIMEOUT) == 0
    assert "Traceback" not in serving.log()
    with socket.create_server(("127.0.0.1", port)):  # the port is free again
        pass
