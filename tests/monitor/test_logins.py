"""Logins: what they allow, and what ends them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.logins import (
    MAX_ENDED,
    Account,
    FileAccounts,
    Login,
    Logins,
    OAuthAccounts,
    PageLogin,
    acting,
)
from monitor.users import UserFile, changing
from sessionclient import Forbidden, Operator
from tests.monitor.test_users import put

NOWHERE = "tcp://127.0.0.1:1"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Known:
    """Accounts in memory."""

    def __init__(self) -> None:
        self.accounts = {"ann": Account("operator", "s1"), "vic": Account("viewer", "s2")}

    def account(self, name: str) -> Account | None:
        return self.accounts.get(name)


def begun(logins: Logins, name: str = "ann") -> Login:
    login = logins.find(logins.begin(name))
    assert login is not None
    return login


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def logins(known: Known, clock: Clock) -> Logins:
    return Logins(known, 3600, clock)


def test_a_login_has_the_role_of_its_user(logins: Logins) -> None:
    assert logins.role(begun(logins)) == "operator"
    assert logins.role(begun(logins, "vic")) == "viewer"


@pytest.mark.parametrize("name", ["nobody", ""])
def test_nobody_else_logs_in(logins: Logins, name: str) -> None:
    assert logins.begin(name) is None


def test_it_expires(logins: Logins, clock: Clock) -> None:
    text, login = logins.begin("ann"), begun(logins)
    clock.now += 3599.9
    assert logins.role(login) == "operator"
    clock.now += 0.2
    assert logins.role(login) is None
    assert logins.find(text) is None


def test_a_logout_ends_this_login_and_no_other(logins: Logins) -> None:
    text = logins.begin("ann")
    one, other = logins.find(text), begun(logins)
    assert one is not None
    logins.end(one)
    assert (logins.role(one), logins.find(text)) == (None, None)
    assert logins.role(other) == "operator"


def test_a_user_that_is_changed_or_removed_has_to_log_in_again(
    logins: Logins, known: Known
) -> None:
    login = begun(logins)
    known.accounts["ann"] = Account("viewer", "s3")
    assert logins.role(login) is None
    again = begun(logins)
    assert logins.role(again) == "viewer"
    del known.accounts["ann"]
    assert logins.role(again) is None


def test_logouts_are_remembered_in_bounds(logins: Logins, clock: Clock) -> None:
    for _ in range(MAX_ENDED + 10):
        logins.end(begun(logins))
    assert len(logins._ended) == MAX_ENDED
    clock.now += 3601
    logins.end(begun(logins))
    assert len(logins._ended) == 1


@pytest.mark.parametrize(
    "text", [None, "", "x", "[]", "{}", "null", '["ann", "1", "s1"]', '["ann", "1", "s1", "soon"]']
)
def test_what_is_no_login(logins: Logins, text: str | None) -> None:
    assert logins.find(text) is None


def test_a_stamp_of_somebody_else_is_none_of_ours(logins: Logins, clock: Clock) -> None:
    assert logins.find(json.dumps(["vic", "1", "s1", clock.now + 10])) is None


def test_users_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    put(path)
    logins = Logins(FileAccounts(UserFile(path)), 3600)
    login = begun(logins)
    assert logins.role(login) == "operator"
    with changing(path) as users:
        del users["ann"]
    assert logins.role(login) is None


@pytest.mark.parametrize("viewers", ["*", "bob@example.com"])
def test_of_a_provider_s_users_those_who_are_named_are_in(viewers: str) -> None:
    accounts = OAuthAccounts(frozenset({"ann@example.com"}), frozenset({viewers}))
    logins = Logins(accounts, 3600)
    assert logins.role(begun(logins, "ann@example.com")) == "operator"
    assert logins.role(begun(logins, "bob@example.com")) == "viewer"
    for name in ("Ann@example.com", "ann@example.com.org"):
        if viewers == "*":
            assert logins.role(begun(logins, name)) == "viewer"
        else:
            assert logins.begin(name) is None
    for name in ("", "a\nb", "x" * 129):
        assert logins.begin(name) is None


def test_a_page_acts_for_its_user_until_the_login_ends(logins: Logins) -> None:
    with Operator(NOWHERE) as operator:
        assert acting(operator, None) is operator
        page = PageLogin(logins, begun(logins, "vic"))
        assert acting(operator, page)._by == {"name": "login vic", "role": "viewer"}
        logins.end(page.login)
        with pytest.raises(Forbidden, match="log in again"):
            acting(operator, page)
