"""Which addresses are a broker's, and what is said about those that are not."""

from __future__ import annotations

from typing import Any

import pytest

from sessionclient.address import (
    DEFAULT_URL,
    check_url,
    default_url,
    is_loopback,
    neighbourhood,
    reachable_feed,
)
from sessionclient.errors import Misuse

GIVE = "give tcp://HOST:PORT (such as tcp://127.0.0.1:5760) or ipc://PATH"


@pytest.mark.parametrize(
    "url",
    [
        "tcp://127.0.0.1:5760",
        "tcp://localhost:1",
        "tcp://broker-1.example.org:65535",
        "tcp://[::1]:5760",
        "tcp://[fe80::1%eth0]:5760",
        "tcp://[::ffff:10.0.0.1]:5760",
        "ipc:///run/panelbus.sock",
        "ipc://@abstract",
    ],
)
def test_an_address_of_a_broker_is_taken_as_it_is(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "localhost:5760",
        "tcp://",
        "tcp://localhost",
        "tcp://localhost:",
        "tcp://:5760",
        "tcp://*:5760",
        "tcp://localhost:0",
        "tcp://localhost:65536",
        "tcp://localhost:123456",
        "tcp://localhost:-1",
        "tcp://localhost:http",
        "tcp://localhost:5760/",
        "tcp://localhost:5760\n",
        "tcp://local host:5760",
        "tcp://::1:5760",
        "tcp://[::1:5760",
        "tcp://a:b:5760",
        " tcp://localhost:5760",
        "TCP://localhost:5760",
        "udp://localhost:5760",
        "inproc://here",
        "ipc://",
        "ipc:///a path",
        "ipc:///path\n",
        # what ZeroMQ itself refuses
        "tcp://localhost:\uff15\uff17\uff16\uff10",
        "tcp://é:1",
        "tcp://[é]:1",
        "tcp://[::1%é]:1",
        "ipc://é",
        "ipc://" + "x" * 101,
    ],
)
def test_what_is_no_address_is_told_with_what_to_give(url: str) -> None:
    with pytest.raises(Misuse) as caught:
        check_url(url)
    assert str(caught.value) == f"server_url {url!r} is not a broker's address; {GIVE}"


@pytest.mark.parametrize("url", ["http://localhost:8000", "https://panelbus.example.org"])
def test_the_gateway_s_address_is_told_apart(url: str) -> None:
    with pytest.raises(Misuse) as caught:
        check_url(url)
    assert str(caught.value) == (
        f"server_url {url!r} is the REST gateway's kind; the bus is elsewhere: {GIVE}"
    )


@pytest.mark.parametrize(
    ("url", "name"),
    [(5760, "int"), (b"tcp://localhost:5760", "bytes"), (["x"], "list"), (False, "bool")],
)
def test_what_is_no_text_is_no_address(url: Any, name: str) -> None:
    with pytest.raises(Misuse) as caught:
        check_url(url)
    assert str(caught.value) == f"server_url must be text, not {name}; {GIVE}"


def test_the_default_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PANELBUS_URL", raising=False)
    assert default_url() == check_url(None) == DEFAULT_URL == "tcp://127.0.0.1:5760"
    monkeypatch.setenv("PANELBUS_URL", "")
    assert check_url(None) == DEFAULT_URL
    monkeypatch.setenv("PANELBUS_URL", "tcp://broker:7000")
    assert default_url() == check_url(None) == "tcp://broker:7000"
    assert check_url("ipc:///other") == "ipc:///other"


def test_an_address_in_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANELBUS_URL", "broker:7000")
    with pytest.raises(Misuse, match="server_url 'broker:7000' is not a broker's address"):
        check_url(None)


@pytest.mark.parametrize(
    ("feed", "bus", "seen"),
    [
        ("tcp://10.0.0.5:5761", "tcp://broker:5760", "tcp://10.0.0.5:5761"),
        ("tcp://0.0.0.0:5761", "tcp://broker:5760", "tcp://broker:5761"),
        ("tcp://*:5761", "tcp://127.0.0.1:5760", "tcp://127.0.0.1:5761"),
        ("tcp://[::]:5761", "tcp://[fe80::1%eth0]:5760", "tcp://[fe80::1%eth0]:5761"),
        ("tcp://:::5761", "tcp://broker:5760", "tcp://broker:5761"),
        ("tcp://0.0.0.0:5761", "ipc:///run/bus", "tcp://0.0.0.0:5761"),
        ("ipc:///run/feed", "tcp://broker:5760", "ipc:///run/feed"),
        ("ipc:///run/feed", "ipc:///run/bus", "ipc:///run/feed"),
    ],
)
def test_a_feed_on_every_interface_is_where_the_bus_is(feed: str, bus: str, seen: str) -> None:
    assert reachable_feed(feed, bus) == seen


@pytest.mark.parametrize(
    ("address", "machine"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("a socket file", "a socket file"),
    ],
)
def test_one_machine_is_one_machine(address: str, machine: str) -> None:
    assert neighbourhood(address) == machine


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("[::1]", True),
        ("::1%lo", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("[::]", False),
        ("localhost", False),
        ("*", False),
        ("", False),
    ],
)
def test_loopback_is_an_address_and_no_name(address: str, ours: bool) -> None:
    assert is_loopback(address) is ours
