"""One command makes a broker that only those with its keys and token can use."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sessionclient import LinkDown, Operator
from tests.broker.starting import misused, run
from tests.support.processes import BrokerProcess, eventually, running, running_broker

pytestmark = pytest.mark.process


def variables(settings: Path) -> dict[str, str]:
    """What the shell makes of the file."""
    done = subprocess.run(
        ["sh", "-c", f"set -a; . {shlex.quote(str(settings))}; set +a; env"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value for name, _, value in lines if name.startswith("PANELBUS_")}


def status(broker: BrokerProcess, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{broker.http}/sessions", headers=headers), timeout=20
        ) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_all_of_it_works_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "it's s\xe9cure; $HOME"
    done = run("--secure-quickstart", str(directory))
    assert (done.returncode, done.stderr) == (0, "")
    (token,) = re.findall(r"pbt_\S{43}", done.stdout)
    settings_file = shlex.quote(str(directory / "panelbus.env"))
    assert f"set -a; . {settings_file}; set +a; python -m broker" in done.stdout
    assert f"-H {token}" not in done.stdout
    assert f"Bearer {token}" not in done.stdout
    settings = variables(directory / "panelbus.env")
    assert settings["PANELBUS_BUS"] == "tcp://0.0.0.0:5760"
    for file in directory.rglob("*"):
        assert file.is_dir() or file.stat().st_mode & 0o077 == 0
        assert file.is_dir() or token not in file.read_text()
    for name in ("PANELBUS_KEYS", "PANELBUS_TOKENS"):
        monkeypatch.setenv(name, settings[name])
    key = directory / "keys"
    words = ["-m", "tests.support.app_process", "--server"]
    with running_broker(tmp_path, "--gateway") as broker:
        env = {"PANELBUS_KEY": str(key / "apps.key")}
        with (
            running([*words, broker.bus], tmp_path / "app.log", env) as app,
            Operator(broker.bus, 20, key_file=key / "admin.key") as operator,
        ):
            eventually(operator.get_all_sessions, "the app's session is registered")
            assert (status(broker, token), status(broker, None)) == (200, 401)
            (session,) = operator.get_all_sessions()
            operator.request_kill(session["session_id"], wait=20)
            app.wait_for("callback")
        with Operator(broker.bus, 2) as stranger, pytest.raises(LinkDown, match="asks for a key"):
            stranger.stats()
        command = Path(f"/proc/{broker.pid}/cmdline")
        if sys.platform == "linux":
            assert token.encode() not in command.read_bytes()
        assert token not in broker.log()


@pytest.mark.parametrize("blocked", ["clients/apps.pub", "keys/apps.key", "tokens.json"])
def test_what_fails_halfway_leaves_nothing(blocked: str, tmp_path: Path) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).symlink_to("nowhere/at all")  # no file, but in the way
    before = set(tmp_path.rglob("*"))
    misused("--secure-quickstart", str(tmp_path))
    assert set(tmp_path.rglob("*")) == before


def test_a_directory_no_settings_can_name_is_refused(tmp_path: Path) -> None:
    line = misused("--secure-quickstart", str(tmp_path / "two\nlines"))
    assert "can't stand in a file of settings" in line
    assert list(tmp_path.iterdir()) == []


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    assert run("--secure-quickstart", str(tmp_path)).returncode == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    line = misused("--secure-quickstart", str(tmp_path))
    assert "is there already; give a directory of its own" in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
