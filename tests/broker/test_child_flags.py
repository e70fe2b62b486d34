"""Which children a broker starts, and with which flags."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from broker.keyring import Keyring
from broker.parts import children
from broker.problems import UsageProblem
from tests.broker.starting import taken_port
from tests.support.processes import free_port

EVERYTHING_FOUND = object()


def options(**more: Any) -> dict[str, Any]:
    return {
        "bus": "tcp://127.0.0.1:5760",
        "http": f"127.0.0.1:{free_port()}",
        "gateway": True,
        "monitor": False,
        "insecure": False,
        "keys": None,
        "tokens": None,
        "users": None,
        "tls_cert": None,
        "tls_key": None,
        "behind_proxy": False,
        "log_level": "warning",
        "log_format": "json",
        **more,
    }


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of packages that are not installed, whatever is; the others are."""
    names: set[str] = set()
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in names else EVERYTHING_FOUND
    )
    return names


def test_without_gateway_and_monitor_there_are_none(missing: set[str]) -> None:
    missing |= {"fastapi", "uvicorn", "monitor"}
    assert children(options(gateway=False)) == []


def test_the_gateway_is_told_where_all_is_and_whose_child_it_is(missing: set[str]) -> None:
    flags = options()
    (child,) = children(flags)
    assert (child.name, child.process) == ("gateway", None)
    assert child.environment == {"PANELBUS_KEY": ""}  # ours is for another broker
    assert child.arguments == [
        "broker.gateway",
        "--server",
        "tcp://127.0.0.1:5760",
        "--parent-pid",
        str(os.getpid()),
        "--http",
        flags["http"],
        "--log-level",
        "warning",
        "--log-format",
        "json",
    ]
    (exposed,) = children(options(insecure=True))
    assert exposed.arguments[-1] == "--insecure"


@pytest.mark.parametrize("bus", ["tcp://*:5999", "tcp://0.0.0.0:5999"])
def test_children_reach_a_bus_on_all_addresses_over_loopback(missing: set[str], bus: str) -> None:
    (child,) = children(options(bus=bus))
    assert child.arguments[1:3] == ["--server", "tcp://127.0.0.1:5999"]


def test_children_reach_a_bus_on_one_address_at_that_address(missing: set[str]) -> None:
    (child,) = children(options(bus="tcp://10.0.0.0:5999"))
    assert child.arguments[1:3] == ["--server", "tcp://10.0.0.0:5999"]


def test_the_monitor_is_started_beside_the_gateway(missing: set[str]) -> None:
    gateway, monitor = children(options(monitor=True))
    assert gateway.name == "gateway"
    assert monitor.name == "monitor"
    assert monitor.arguments == [
        *("monitor", "--server", "tcp://127.0.0.1:5760"),
        *("--parent-pid", str(os.getpid())),
        *("--log-level", "warning", "--log-format", "json"),
    ]


def test_both_are_told_of_certificates_and_proxies_and_the_monitor_of_its_users(
    missing: set[str],
) -> None:
    flags = options(monitor=True, tls_cert="c.pem", tls_key="k.pem", behind_proxy=True, users="u")
    gateway, monitor = children(flags)
    for child in (gateway, monitor):
        at = child.arguments.index("--tls-cert")
        assert child.arguments[at : at + 5] == [
            *("--tls-cert", "c.pem", "--tls-key", "k.pem", "--behind-proxy")
        ]
    assert monitor.arguments[-2:] == ["--users", "u"]
    assert "--users" not in gateway.arguments


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_a_gateway_that_is_not_installed_is_told_with_what_to_do(
    missing: set[str], package: str
) -> None:
    missing.add(package)
    with pytest.raises(UsageProblem) as caught:
        children(options())
    assert "pip install 'panelbus[broker]'" in caught.value.format_message()
    assert "--no-gateway" in caught.value.format_message()


@pytest.mark.parametrize("package", ["monitor", "panel", "panel_material_ui", "perspective"])
def test_a_monitor_that_is_not_installed_is_told_with_what_to_do(
    missing: set[str], package: str
) -> None:
    missing.add(package)
    with pytest.raises(UsageProblem) as caught:
        children(options(gateway=False, monitor=True))
    assert "pip install 'panelbus[monitor]'" in caught.value.format_message()


def test_a_taken_http_port_is_found_before_anything_starts(missing: set[str]) -> None:
    with taken_port() as port, pytest.raises(UsageProblem) as caught:
        children(options(http=f"127.0.0.1:{port}"))
    assert f"can't listen on 127.0.0.1:{port}: " in caught.value.format_message()
    assert caught.value.exit_code == 2


def test_an_open_broker_s_children_have_no_key_of_whoever_started_it(missing: set[str]) -> None:
    for child in children(options(monitor=True)):
        assert child.environment == {"PANELBUS_KEY": ""}


def test_children_find_their_keys_and_tokens(missing: set[str], tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    ring.make_broker_key()
    flags = options(monitor=True, keys=tmp_path, tokens=tmp_path / "tokens.json")
    with pytest.raises(UsageProblem) as caught:
        children(flags)
    assert f"panelbus keygen gateway --role operator --keys {tmp_path}" in str(caught.value)
    for name in ("gateway", "monitor"):
        ring.add(name, "operator")
    gateway, monitor = children(flags)
    assert gateway.arguments[-2:] == ["--tokens", str(tmp_path / "tokens.json")]
    assert gateway.environment == {"PANELBUS_KEY": str(ring.key_file("gateway"))}
    assert monitor.environment == {"PANELBUS_KEY": str(ring.key_file("monitor"))}
