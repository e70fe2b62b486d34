"""Beyond loopback every port wants its lock."""

from __future__ import annotations

import pytest

from broker.exposure import Listening, exposed

HERE = Listening(
    "tcp://127.0.0.1:1", "ipc:///run/feed", "[::1]:2", keys=False, tokens=False, encrypted=False
)


def test_on_loopback_nothing_needs_setting_up() -> None:
    assert exposed(HERE) == []


@pytest.mark.parametrize(
    ("changed", "flag", "mended", "with_what"),
    [
        ({"bus": "tcp://0.0.0.0:1"}, "--bus tcp://0.0.0.0:1", {"keys": True}, "panelbus keygen"),
        ({"feed": "tcp://192.0.2.1:1"}, "--feed tcp://192.0.2.1:1", {"keys": True}, "--keys DIR"),
        (
            {"http": "0.0.0.0:2"},
            "--http 0.0.0.0:2",
            {"tokens": True, "encrypted": True},
            "panelbus token create",
        ),
    ],
)
def test_beyond_it_each_port_names_what_mends_it(
    changed: dict[str, str], flag: str, mended: dict[str, bool], with_what: str
) -> None:
    open_to_all = HERE._replace(**changed)  # type: ignore[arg-type]  # only its texts change
    (problem,) = exposed(open_to_all)
    assert problem.startswith(f"{flag} is reachable from other machines")
    assert with_what in problem
    assert "add --insecure if the network itself keeps strangers out" in problem
    assert exposed(open_to_all._replace(**mended)) == []  # type: ignore[arg-type]  # as above
    assert exposed(
        open_to_all._replace(keys=not mended.get("keys"), tokens=not mended.get("tokens"))
    )


def test_tokens_want_encryption() -> None:
    (problem,) = exposed(HERE._replace(http="0.0.0.0:2", tokens=True))
    assert "tokens would cross the network readable" in problem
    assert "--behind-proxy if a proxy in front of it speaks HTTPS" in problem


def test_a_gateway_that_is_not_run_is_no_danger() -> None:
    assert exposed(HERE._replace(http=None)) == []
