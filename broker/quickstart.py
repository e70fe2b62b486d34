"""``python -m broker --secure-quickstart DIR``: keys, a token and a settings file, all at once.

Nothing is started. What it writes is what the single commands would write, so each part can be
replaced later on by those.
"""

from __future__ import annotations

import os
import shlex
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple

from broker.gateway import token_file, tokens
from broker.keyring import Keyring, write_new
from sessionclient.errors import Misuse

CLIENTS: Final = (
    ("gateway", "operator"),
    ("monitor", "operator"),
    ("admin", "operator"),
    ("apps", "app"),
)
TOKEN_NAME: Final = "admin"
SETTINGS: Final = "panelbus.env"


class Written(NamedTuple):
    """What was made."""

    settings: Path
    admin_key: Path
    apps_key: Path
    token: str


def quickstart(directory: Path, host: str) -> Written:
    """Make everything in a directory that has none of it yet; ``host`` is what clients call us.

    Raises:
        Misuse: something is there already, or can't be written; nothing new is left then.
    """
    directory = directory.absolute()
    if not str(directory).isprintable():
        raise Misuse(f"{str(directory)!r} can't stand in a file of settings; give another name")
    settings, listed = directory / SETTINGS, directory / "tokens.json"
    for path in (settings, listed, directory / "broker.key"):
        if path.exists():
            raise Misuse(f"{path} is there already; give a directory of its own")
    ring = Keyring(directory)
    token = tokens.new_token()
    with ExitStack() as undo:
        undo.callback(_remove, [path for path in _made(ring, listed) if not os.path.lexists(path)])
        _write_secrets(ring, listed, token)
        if not write_new(settings, _settings(directory, listed, host)):
            raise Misuse(f"{settings} is there already; give a directory of its own")
        undo.pop_all()
    return Written(settings, ring.key_file("admin"), ring.key_file("apps"), token)


def _write_secrets(ring: Keyring, listed: Path, token: str) -> None:
    ring.make_broker_key()
    for name, role in CLIENTS:
        ring.add(name, role)
    entry = tokens.Token(TOKEN_NAME, "operator", tokens.digest_of(token), time.time(), None)
    try:
        token_file.change(listed, lambda before: tokens.added(before, entry), create=True)
    except tokens.BadTokens as error:
        raise Misuse(str(error)) from error


def _made(ring: Keyring, listed: Path) -> list[Path]:
    """All that is written before the settings, what is in a directory before it."""
    names = [name for name, _role in CLIENTS]
    files = [ring.broker_file, listed, *(ring.key_file(name) for name in names)]
    files += [ring.clients_directory / f"{name}.pub" for name in names]
    return [*files, ring.keys_directory, ring.clients_directory, ring.directory]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # never made, or somebody else has put something there
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()


def _settings(directory: Path, listed: Path, host: str) -> str:
    return f"""\
# Settings of a Panelbus broker, for `set -a; . FILE` or systemd's EnvironmentFile=.
# Every option of `python -m broker --help` has such a variable.
PANELBUS_KEYS={_quoted(directory)}
PANELBUS_TOKENS={_quoted(listed)}
PANELBUS_DB={_quoted(directory / "sessions.db")}
PANELBUS_BUS=tcp://0.0.0.0:5760
PANELBUS_FEED=tcp://0.0.0.0:5761
# REST stays on this machine. To serve others, name a certificate or the proxy that has one:
#PANELBUS_HTTP=0.0.0.0:8000
#PANELBUS_TLS_CERT=/etc/ssl/{host}.pem
#PANELBUS_TLS_KEY=/etc/ssl/{host}.key
#PANELBUS_BEHIND_PROXY=1
# The monitor, and who may log in there: panelbus user add NAME --role operator --users FILE
#PANELBUS_MONITOR=1
#PANELBUS_USERS={_quoted(directory / "users.json")}
"""


def _quoted(path: Path) -> str:
    """As the shell and systemd read it back, whatever is in it."""
    return shlex.quote(str(path))


def told(written: Written, host: str) -> str:
    """What to do next, for the terminal; the token is shown here and never again."""
    directory, admin = _quoted(written.settings.parent), _quoted(written.admin_key)
    settings, apps = _quoted(written.settings), _quoted(written.apps_key)
    return f"""\
Wrote keys, a token and settings to {directory}

start the broker:   set -a; . {settings}; set +a; python -m broker
in an app:          PANELBUS_URL=tcp://{host}:5760 PANELBUS_KEY={apps}
as an operator:     PANELBUS_URL=tcp://{host}:5760 PANELBUS_KEY={admin} panelbus sessions
over REST:          curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/sessions
where TOKEN is:     {written.token}

The token is not shown again. Bring the two key files to where they are used in a way that keeps
them secret. One for each host of apps is better: panelbus keygen NAME --role app --keys {directory}
"""
