"""The directory of keys, and the commands that keep it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import zmq
from click.testing import CliRunner, Result

from broker import keyring
from broker.key_commands import keygen, keys
from broker.key_watch import KeyWatch
from broker.keyring import Keyring, others_can_read
from broker.registry.access import Credential
from sessionclient.errors import Misuse
from sessionclient.keys import read_key


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path / "keys")
    assert made.make_broker_key()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def listed(ring: Keyring) -> list[tuple[str, str]]:
    return [(client.name, client.role) for client in ring.clients().allowed]


# --- the directory -------------------------------------------------------------------------------


def test_a_client_gets_a_pair_of_its_own_and_the_broker_s_public_key(ring: Keyring) -> None:
    path = ring.add("sales", "app")
    key = read_key(path)
    assert key.name == "sales"
    assert zmq.curve_public(key.secret.encode()).decode() == key.public
    assert key.server == ring.broker_key().public
    assert ring.clients().access() == {key.public: Credential("sales", "app")}


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_nothing_secret_can_be_read_by_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = Keyring(tmp_path / "keys")
        made.make_broker_key()
        path = made.add("sales", "app")
    finally:
        os.umask(before)
    for file in (made.broker_file, path):
        assert mode(file) == 0o600
        assert not others_can_read(file)
    assert mode(made.directory) == mode(made.keys_directory) == 0o700
    path.chmod(0o640)
    assert others_can_read(path)


def test_the_broker_s_key_is_made_once(ring: Keyring) -> None:
    before = ring.broker_key()
    assert not ring.make_broker_key()
    assert ring.broker_key() == before
    assert before.secret not in repr(before)


def test_no_secret_is_in_the_list(ring: Keyring) -> None:
    secret = read_key(ring.add("sales", "app")).secret
    (entry,) = ring.clients_directory.iterdir()
    assert secret not in entry.read_text()
    assert "secret" not in entry.read_text()


def test_a_name_is_given_once(ring: Keyring) -> None:
    path = ring.add("sales", "app")
    before = path.read_text()
    with pytest.raises(Misuse, match="there is a client 'sales' already; revoke it first"):
        ring.add("sales", "operator")
    assert path.read_text() == before
    ring.revoke("sales")
    assert not path.exists()
    assert read_key(ring.add("sales", "app")).public not in before


def test_no_file_is_overwritten(ring: Keyring, tmp_path: Path) -> None:
    taken = tmp_path / "mine"
    taken.write_text("precious")
    with pytest.raises(Misuse, match=f"{taken} exists already"):
        ring.add("sales", "app", taken)
    assert taken.read_text() == "precious"
    assert listed(ring) == []


@pytest.mark.parametrize("name", ["../x", "", "a/b"])
def test_names_stay_within_the_directory(name: str, ring: Keyring) -> None:
    with pytest.raises(Misuse, match="can't name a key"):
        ring.add(name, "app")
    with pytest.raises(Misuse, match="can't name a key"):
        ring.revoke(name)


def test_what_is_not_there_can_t_be_revoked(ring: Keyring) -> None:
    with pytest.raises(Misuse, match="there is no client 'ann'"):
        ring.revoke("ann")


def test_a_copy_that_stays_is_told_and_the_client_is_revoked(ring: Keyring) -> None:
    copy = ring.add("ann", "app")
    copy.unlink()
    copy.mkdir()  # which no unlink removes, whoever asks
    with pytest.raises(Misuse, match=f"'ann' is revoked, but the copy .* remove {copy}: "):
        ring.revoke("ann")
    assert listed(ring) == []


def test_a_broken_file_allows_nobody_and_the_others_stay(
    ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = read_key(ring.add("good", "app"))
    directory = ring.clients_directory
    (directory / "a.pub").write_text("junk")
    (directory / "b.pub").write_text(f'name = "b"\nrole = "root"\npublic = "{"x" * 40}"')
    (directory / "c.pub").write_text('name = "c"\nrole = "app"\n')
    (directory / "d.pub").write_text(f'name = "d"\nrole = "operator"\npublic = "{key.public[:9]}"')
    # a second entry of the same key must not raise its role
    again = f'name = "good2"\nrole = "operator"\npublic = "{key.public}"'
    (directory / "good2.pub").write_text(again)
    (directory / "readme.txt").write_text("no client")
    clients = ring.clients()
    assert [client.name for client in clients.allowed] == ["good"]
    assert len(clients.trouble) == 5
    assert "good2.pub holds the key of 'good' again" in clients.trouble[-1]
    monkeypatch.setattr(keyring, "MAX_CLIENTS", 1)
    assert "6 clients are over 1" in ring.clients().trouble[0]


def test_a_file_says_the_name_that_it_has(ring: Keyring) -> None:
    ring.add("ann", "app")
    listed_as = ring.clients_directory
    (listed_as / "ann.pub").rename(listed_as / "bob.pub")
    clients = ring.clients()
    assert clients.allowed == ()
    assert (
        "bob.pub allows nobody: the name in it is 'ann', not that of the file"
        in (clients.trouble[0])
    )


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
@pytest.mark.parametrize("bits", [0o620, 0o602])
def test_what_others_may_write_allows_nobody(bits: int, ring: Keyring) -> None:
    ring.add("ann", "app")
    watch = KeyWatch(ring)
    file = ring.clients_directory / "ann.pub"
    file.chmod(bits)
    assert ring.clients() == ((), (f"others may change {file}; close it: chmod go-w {file}",))
    assert watch.changed(0)
    assert watch.access == {}
    ring.broker_file.chmod(bits)
    with pytest.raises(Misuse, match=r"others may change .*broker\.key"):
        ring.broker_key()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no broker's key in .*; make one"),
        ("", "is no broker's key: public or secret is missing"),
        (f'public = "{"x" * 40}"\nsecret = "no"', "secret in .* is not a key"),
        (f'public = "{"x" * 40}"\nsecret = "{"y" * 40}"', "are not one pair"),
    ],
)
def test_a_broken_key_of_the_broker_is_told(text: str | None, says: str, ring: Keyring) -> None:
    ring.broker_file.unlink()
    if text is not None:
        ring.broker_file.write_text(text)
        ring.broker_file.chmod(0o600)
    with pytest.raises(Misuse, match=says):
        ring.broker_key()


def test_a_place_that_can_t_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misuse, match=r"can't make .*file: File exists"):
        Keyring(tmp_path / "file").make_broker_key()


# --- watching it ---------------------------------------------------------------------------------


def test_every_change_of_the_list_is_noticed_once(ring: Keyring) -> None:
    ring.add("sales", "app")
    watch = KeyWatch(ring)
    assert not watch.changed(0)
    ring.add("ann", "viewer")
    assert watch.changed(0)
    assert not watch.changed(0)
    assert {entry.name for entry in watch.access.values()} == {"sales", "ann"}
    ring.revoke("sales")
    assert watch.changed(0)
    assert {entry.name for entry in watch.access.values()} == {"ann"}
    (ring.clients_directory / "junk.pub").write_text("junk")
    assert not watch.changed(0)  # nobody more or less may speak


def test_a_list_that_can_t_be_read_for_a_while_stays_as_it_was(
    ring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    ring.add("sales", "app")
    watch = KeyWatch(ring)
    away = ring.clients_directory.with_name("away")
    ring.clients_directory.rename(away)
    for now in (0, 1, 59):
        assert not watch.changed(now)
    assert [entry.name for entry in watch.access.values()] == ["sales"]
    assert len(caplog.records) == 1
    assert not watch.changed(60)
    assert len(caplog.records) == 2  # whoever looks at the log today has to see it, too
    assert "so its last list stays" in caplog.text
    away.rename(ring.clients_directory)
    assert not watch.changed(0)
    ring.revoke("sales")
    assert watch.changed(0)
    assert watch.access == {}


def test_a_link_that_leads_nowhere_stops_no_revocation(ring: Keyring) -> None:
    ring.add("sales", "app")
    watch = KeyWatch(ring)
    (ring.clients_directory / "gone.pub").symlink_to("nowhere")
    assert not watch.changed(0)
    ring.revoke("sales")
    assert watch.changed(1)
    assert watch.access == {}


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX")
def test_a_directory_that_others_may_write_is_refused(ring: Keyring) -> None:
    for directory in (ring.clients_directory, ring.directory):
        directory.chmod(0o770)
        with pytest.raises(Misuse, match=f"chmod go-w {directory}$"):
            KeyWatch(ring)
        directory.chmod(0o700)
    KeyWatch(ring)


def test_a_start_without_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"can't read .*clients: No such file"):
        KeyWatch(Keyring(tmp_path))


# --- the commands --------------------------------------------------------------------------------


def call(command: object, *words: str) -> Result:
    return CliRunner().invoke(command, list(words))  # type: ignore[arg-type]  # click's own commands


def test_one_command_makes_all_a_broker_needs(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    done = call(keygen, "ops", "--role", "operator", "--keys", str(directory))
    assert done.exit_code == 0
    ring = Keyring(directory)
    key = read_key(ring.key_file("ops"))
    assert f"made the broker's key in {ring.broker_file}" in done.output
    assert f"PANELBUS_KEY={ring.key_file('ops')}" in done.output
    assert key.secret not in done.output
    assert ring.broker_key().secret not in done.output
    out = tmp_path / "sales.key"
    done = call(keygen, "sales", "--role", "app", "--keys", str(directory), "--out", str(out))
    assert "broker's key" not in done.output
    assert read_key(out).name == "sales"
    again = call(keygen, "sales", "--role", "app", "--keys", str(directory))
    assert (again.exit_code, "there is a client 'sales' already" in again.output) == (2, True)
    shown = call(keys, "list", "--keys", str(directory))
    assert [line.split()[:2] for line in shown.output.splitlines()] == [
        ["ops", "operator"],
        ["sales", "app"],
    ]
    as_json = json.loads(call(keys, "list", "--json", "--keys", str(directory)).output)
    assert as_json[0] == {"name": "ops", "role": "operator", "public": key.public}
    assert call(keys, "revoke", "sales", "--keys", str(directory)).exit_code == 0
    assert listed(ring) == [("ops", "operator")]
    gone = call(keys, "revoke", "sales", "--keys", str(directory))
    assert (gone.exit_code, "there is no client 'sales'" in gone.output) == (2, True)
    (ring.clients_directory / "junk.pub").write_text("junk")
    assert "line 1 of" in call(keys, "list", "--keys", str(directory)).stderr


@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        (keygen, ["--role", "app", "--keys", "k"], "Missing argument 'NAME'"),
        (keygen, ["ann", "--role", "root", "--keys", "k"], "'root' is not one of"),
        (keygen, ["ann", "--role", "app"], "Missing option '--keys'"),
        (keygen, ["a/b", "--role", "app", "--keys", "k"], "can't name a key"),
        (keys, ["list", "--keys", "nowhere"], "can't read nowhere/clients: No such file"),
        (keys, ["revoke", "ann", "--keys", "nowhere"], "there is no client 'ann'"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(
    command: object, words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PANELBUS_KEYS", raising=False)
    done = call(command, *words)
    assert (done.exit_code, says in done.output) == (2, True), done.output
