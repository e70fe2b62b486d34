"""Who is logged in: what a cookie says, and whether it still counts.

A login is a signed cookie, so it outlives a restart; what ends one early (logout, a user that is
changed or removed) is looked up each time it is used.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from monitor.users import UserFile
from sessionclient import Forbidden, Operator

MAX_ENDED: Final = 10_000  # logouts that are remembered until their login would expire
MAX_NAME_CHARS: Final = 128
EVERYBODY: Final = "*"


class Account(NamedTuple):
    """What is true of a user now."""

    role: str
    stamp: str  # another one: the login has to be made anew


class Accounts(Protocol):
    def account(self, name: str) -> Account | None:
        """The user of this name; None when there is none (any more)."""


class FileAccounts:
    """Those of a file of users."""

    def __init__(self, users: UserFile) -> None:
        self._users = users

    def account(self, name: str) -> Account | None:
        user = self._users.get(name)
        return None if user is None else Account(user.role, user.stamp)


class OAuthAccounts:
    """Those of a provider who are named here: at a public one anybody has an account."""

    def __init__(self, operators: frozenset[str], viewers: frozenset[str]) -> None:
        """`EVERYBODY` among the viewers: whoever the provider lets in."""
        self._operators, self._viewers = operators, viewers

    def account(self, name: str) -> Account | None:
        if name in self._operators:
            return Account("operator", "operator")
        if name in self._viewers or EVERYBODY in self._viewers:
            return Account("viewer", "viewer")
        return None


class Login(NamedTuple):
    """One login, as its cookie has it."""

    name: str
    id: str
    stamp: str
    expires: float  # seconds since the epoch


class Logins:
    """All logins of one monitor. Thread-safe."""

    def __init__(
        self, accounts: Accounts, lifetime: float, wall: Callable[[], float] = time.time
    ) -> None:
        """``lifetime``: seconds a login lasts."""
        self.lifetime = lifetime
        self._accounts, self._wall = accounts, wall
        self._ended: OrderedDict[str, float] = OrderedDict()  # id -> when it would have expired
        self._lock = threading.Lock()

    def begin(self, name: str) -> str | None:
        """A new login, as text for a cookie that must be signed; None when nobody has the name."""
        account = self._accounts.account(name)
        if account is None or not name.isprintable() or not 0 < len(name) <= MAX_NAME_CHARS:
            return None
        expires = self._wall() + self.lifetime
        return json.dumps([name, secrets.token_hex(16), account.stamp, expires])

    def find(self, text: str | bytes | None) -> Login | None:
        """The login that a cookie holds, if it still counts."""
        if not text:
            return None
        try:
            name, number, stamp, expires = json.loads(text)
            login = Login(str(name), str(number), str(stamp), float(expires))
        except (ValueError, TypeError):  # signed by us, but of another version
            return None
        return None if self.role(login) is None else login

    def role(self, login: Login) -> str | None:
        """What this login may do now; None when it has ended."""
        account = self._accounts.account(login.name)
        if account is None or account.stamp != login.stamp or self._wall() >= login.expires:
            return None
        with self._lock:
            return None if login.id in self._ended else account.role

    def end(self, login: Login) -> None:
        """A logout."""
        with self._lock:
            while self._ended and next(iter(self._ended.values())) <= self._wall():
                self._ended.popitem(last=False)
            self._ended[login.id] = login.expires
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)


class PageLogin:
    """For whom one page acts."""

    def __init__(self, logins: Logins, login: Login, form_token: str = "") -> None:
        """``form_token``: what a form of this page proves itself with."""
        self.login, self.form_token = login, form_token
        self._logins = logins
        self.tell_end: Callable[[], None] | None = None  # the page, that its login has ended

    @property
    def name(self) -> str:
        return self.login.name

    def role(self) -> str | None:
        """Looked up each time; None when the login has ended."""
        return self._logins.role(self.login)


def acting(operator: Operator, login: PageLogin | None) -> Operator:
    """The operator on behalf of who is logged in; itself where nobody logs in.

    Raises:
        Forbidden: the login has ended.
    """
    if login is None:
        return operator
    role = login.role()
    if role is None:
        raise Forbidden("your login has ended; log in again")
    return operator.acting_for(f"login {login.name}", role)
