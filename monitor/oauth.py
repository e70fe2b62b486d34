"""A login by an OAuth provider: Panel's own handlers, whose outcome becomes a login of ours.

What the provider hands out (access token, refresh token, id token) is used once, to learn who it
is, and kept nowhere: there is nothing in a cookie that could be stolen or has to be encrypted.
"""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

from panel.auth import AUTH_PROVIDERS, CODE_COOKIE_NAME, STATE_COOKIE_NAME
from tornado.web import HTTPError, RequestHandler

from monitor import login_pages
from monitor.login import Door, own_page

log = logging.getLogger("panelbus.monitor")

REFUSED: Final = "The provider did not let you in, or took too long. The monitor's log says more."
KEPT: Final = (STATE_COOKIE_NAME, CODE_COOKIE_NAME)  # while somebody is away at the provider


class OAuth(NamedTuple):
    """What Panel's handlers need to know."""

    provider: str
    key: str
    secret: str
    redirect_uri: str

    def __repr__(self) -> str:  # no secret in a log or a traceback
        return f"OAuth({self.provider!r})"


class _OwnLogin(Door):
    """Mixed into a handler of Panel: it keeps nothing but who it is, and leads nowhere else."""

    def get_argument(self, name: str, *default: Any, **more: Any) -> Any:
        if name == "next":
            return own_page(super().get_argument("next", ""))
        return super().get_argument(name, *default, **more)

    def set_secure_cookie(self, name: str, value: Any, *_: Any, **more: Any) -> None:
        if name in KEPT:
            more.update(path="/", samesite="Lax", secure=self.keeper.secure, expires_days=None)
            self.set_signed_cookie(name, value, **more)
        elif name == "user":
            user = str(value) if isinstance(value, (str, int)) else ""
            if not self.keeper.begin(self, user):
                raise HTTPError(403, reason="This user is not on the list of those who may log in")

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        """Without the address, as Tornado would: it holds the provider's code."""
        if not isinstance(error, HTTPError):
            log.error("a login at the provider failed", exc_info=(kind, error, trace))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        del kwargs
        # the reason may come from the address, so from anybody: it is for the log alone
        log.warning("failed login from %s: %.100r", self.request.remote_ip, self._reason)
        self.say(login_pages.failed(REFUSED))


def door(provider: str) -> type[RequestHandler]:
    """The handler of Panel's for this provider, made ours."""
    return type("OAuthDoor", (_OwnLogin, AUTH_PROVIDERS[provider]), {})
