"""The broker's children: which it starts, with which flags, and what each needs beforehand."""

from __future__ import annotations

import importlib.util
import os
import socket
from typing import Any

from broker import addresses
from broker.children import Child
from broker.keyring import Keyring
from broker.problems import UsageProblem
from sessionclient.keys import KEY_VARIABLE


def children(options: dict[str, Any]) -> list[Child]:
    """The gateway and the monitor, as far as these settings of the broker want them.

    Raises:
        UsageProblem: one of them could not run; the message says what to do.
    """
    found = []
    if options["gateway"]:
        found.append(_gateway(options))
    if options["monitor"]:
        found.append(_monitor(options))
    return found


def _gateway(options: dict[str, Any]) -> Child:
    if not _installed("fastapi", "uvicorn"):
        raise UsageProblem(
            "the REST gateway needs more packages: pip install 'panelbus[broker]'; or go"
            " without it: --no-gateway"
        )
    _must_be_free(options["http"])
    arguments = ["broker.gateway", *_common(options), "--http", options["http"]]
    arguments += ["--log-level", options["log_level"], "--log-format", options["log_format"]]
    if options["insecure"]:
        arguments.append("--insecure")
    if options["tokens"]:
        arguments += ["--tokens", str(options["tokens"])]
    return Child("gateway", arguments, _key_of("gateway", options))


def _monitor(options: dict[str, Any]) -> Child:
    if not _installed("monitor", "panel", "panel_material_ui", "perspective"):
        raise UsageProblem("--monitor needs more packages: pip install 'panelbus[monitor]'")
    arguments = ["monitor", *_common(options)]
    arguments += ["--log-level", options["log_level"], "--log-format", options["log_format"]]
    if options["users"]:
        arguments += ["--users", str(options["users"])]
    return Child("monitor", arguments, _key_of("monitor", options))


def _common(options: dict[str, Any]) -> list[str]:
    """Flags of every child: where the bus is, whose child it is, how it speaks HTTP."""
    flags = ["--server", addresses.over_loopback(options["bus"])]
    flags += ["--parent-pid", str(os.getpid())]
    if options["tls_cert"]:
        flags += ["--tls-cert", str(options["tls_cert"]), "--tls-key", str(options["tls_key"])]
    if options["behind_proxy"]:
        flags.append("--behind-proxy")
    return flags


def _key_of(child: str, options: dict[str, Any]) -> dict[str, str]:
    """The variable by which a child finds its key, in a broker that asks for keys."""
    if options["keys"] is None:
        return {KEY_VARIABLE: ""}  # one in our environment is for another broker
    ring = Keyring(options["keys"])
    path = ring.key_file(child)
    if not path.exists():
        raise UsageProblem(
            f"the {child} needs a key of its own: panelbus keygen {child} --role operator --keys"
            f" {ring.directory}"
        )
    return {KEY_VARIABLE: str(path.absolute())}


def _installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in packages)


def _must_be_free(http: str) -> None:
    """Find a taken HTTP port before anything else is started."""
    host, port = addresses.http_address(http)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
    except OSError as error:
        raise UsageProblem(
            f"can't listen on {http}: {error.strerror or error}; choose another address with"
            " --http, or stop what holds it"
        ) from error
