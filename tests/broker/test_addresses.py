"""Which addresses the broker takes, and which of them only this machine can reach."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from broker.addresses import BadAddress, bus_address, http_address, is_local


@pytest.mark.parametrize(
    "text",
    [
        "tcp://127.0.0.1:5760",
        "tcp://127.0.0.1:1",
        "tcp://0.0.0.0:65535",
        "tcp://*:5760",
        "tcp://[::1]:5760",
        "tcp://some-host.example:5760",
        "ipc:///run/panelbus/bus",
        "ipc://relative",
    ],
)
def test_an_address_of_the_bus_is_kept_as_given(text: str) -> None:
    assert bus_address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:5760",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:123456",
        "tcp://127.0.0.1:57 60",
        "tcp://127.0.0.1:5760/",
        "tcp://127.0.0.1:5760\n",
        "tcp://:5760",
        "tcp://::1:5760",
        "tcp://[::1:5760",
        "tcp://a b:5760",
        "tcp://user@host/x:1",
        "TCP://127.0.0.1:5760",
        "http://127.0.0.1:5760",
        "udp://127.0.0.1:5760",
        "inproc://bus",
        "ipc://",
        "ipc://a b",
    ],
)
def test_anything_else_is_no_address_of_the_bus(text: str) -> None:
    with pytest.raises(BadAddress) as caught:
        bus_address(text)
    assert str(caught.value) == (
        f"{text!r} is not an address to listen on; give tcp://HOST:PORT or ipc://PATH"
    )


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        ("localhost:1", "localhost", 1),
        ("[::1]:65535", "::1", 65535),
        ("0.0.0.0:80", "0.0.0.0", 80),
    ],
)
def test_an_http_address_is_host_and_port(text: str, host: str, port: int) -> None:
    assert http_address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", "8000", ":8000", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:80", "http://a:80"],
)
def test_anything_else_is_no_http_address(text: str) -> None:
    with pytest.raises(BadAddress) as caught:
        http_address(text)
    assert str(caught.value) == f"{text!r} is not an address to listen on; give HOST:PORT"


@pytest.mark.parametrize(
    "text",
    [
        "tcp://127.0.0.1:5760",
        "tcp://127.9.9.9:5760",
        "tcp://[::1]:5760",
        "tcp://localhost:5760",
        "127.0.0.1:8000",
        "[::1]:8000",
        "ipc:///run/bus",
    ],
)
def test_loopback_and_socket_files_are_local(text: str) -> None:
    assert is_local(text)


@pytest.mark.parametrize(
    "text",
    [
        "tcp://0.0.0.0:5760",
        "tcp://[::]:5760",
        "tcp://192.0.2.1:5760",
        "tcp://[2001:db8::1]:5760",
        "0.0.0.0:8000",
        "[::]:8000",
        "nonsense",
        "tcp://",
    ],
)
def test_everything_else_counts_as_reachable(text: str) -> None:
    assert not is_local(text)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    def getaddrinfo(_host: str, _port: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_is_local_when_everything_behind_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "127.0.0.1", "::1")
    assert is_local("tcp://both:5760")
    resolve_to(monkeypatch, "127.0.0.1", "192.0.2.1")
    assert not is_local("tcp://both:5760")


@pytest.mark.parametrize("address", ["tcp://*:5760", "tcp://nowhere:5760", "nowhere:8000"])
def test_what_can_not_be_resolved_is_not_local(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def getaddrinfo(_host: str, _port: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert not is_local(address)


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_a_name_that_can_not_be_one_is_not_local(host: str) -> None:
    assert not is_local(f"tcp://{host}:5760")
