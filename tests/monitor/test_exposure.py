"""Where the monitor is served: never where anybody could end sessions, or read a password."""

from __future__ import annotations

import pytest

from monitor.exposure import Exposure, Refused, check

BEYOND = ["0.0.0.0", "::", "192.0.2.1", "example.org", ""]
SAFE = Exposure("0.0.0.0", login=True, tls=True, proxy=False, insecure=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
@pytest.mark.parametrize("login", [False, True])
def test_on_loopback_all_is_well(address: str, login: bool) -> None:
    assert check(Exposure(address, login, tls=False, proxy=False, insecure=False)) is None


@pytest.mark.parametrize("address", BEYOND)
@pytest.mark.parametrize(("tls", "proxy"), [(True, False), (False, True), (True, True)])
def test_a_login_over_https_may_be_reached(address: str, tls: bool, proxy: bool) -> None:
    assert check(Exposure(address, True, tls, proxy, insecure=False)) is None


@pytest.mark.parametrize("address", BEYOND)
@pytest.mark.parametrize("tls", [False, True])
def test_without_a_login_it_may_not(address: str, tls: bool) -> None:
    with pytest.raises(Refused) as refused:
        check(Exposure(address, False, tls, proxy=False, insecure=False))
    for word in ("panelbus user add NAME", "--users FILE", "--tls-cert FILE", "--behind-proxy",
                 "--insecure", f"--address {address}"):  # fmt: skip
        assert word in str(refused.value)


@pytest.mark.parametrize("address", BEYOND)
def test_a_login_without_https_may_not(address: str) -> None:
    with pytest.raises(Refused) as refused:
        check(Exposure(address, True, tls=False, proxy=False, insecure=False))
    for word in ("--tls-cert FILE --tls-key FILE", "--behind-proxy", "--insecure"):
        assert word in str(refused.value)


def test_who_insists_is_warned() -> None:
    bare = SAFE._replace(login=False, insecure=True)
    assert "whoever reaches it can end sessions" in str(check(bare))
    assert "read on their way" in str(check(SAFE._replace(tls=False, insecure=True)))
    assert check(SAFE._replace(insecure=True)) is None


def test_browsers_come_by_https_or_not() -> None:
    assert SAFE.secure
    assert SAFE._replace(tls=False, proxy=True).secure
    assert not SAFE._replace(tls=False).secure
