"""The login in front of the monitor's server: its pages, its cookies, and who a request is from."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode
from weakref import WeakKeyDictionary

from bokeh.server.auth_provider import AuthProvider
from bokeh.util.token import check_token_signature, get_session_id
from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from monitor import login_pages
from monitor.document import in_turn
from monitor.logins import Login, Logins, PageLogin
from monitor.throttle import ADDRESS_WAIT, USER_WAIT, Throttle
from monitor.users import User, UserFile
from sessionclient.address import neighbourhood

log = logging.getLogger("panelbus.monitor")

PAGE: Final = "/"
LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
CHECKS_AT_ONCE: Final = 2  # of passwords; each takes a core and 32 MiB
MAX_WAITING: Final = 32  # logins that wait for their check
SECONDS_A_DAY: Final = 86_400
WRONG: Final = "That name and password do not belong together. Try again."
BUSY: Final = "Too many logins at the moment. Try again in a few seconds."
TOO_OLD: Final = "This form was too old. Try again."


def own_page(wanted: str) -> str:
    """Where a login leads: always to the one page there is here, with the query it was asked for.

    Whatever else is wanted is dropped, so no link can make a login lead elsewhere.
    """
    path, mark, query = wanted[: login_pages.MAX_NEXT_CHARS].partition("?")
    if path not in ("", "/", "./") or not mark:
        return "./"
    return "./?" + urlencode(parse_qsl(query, keep_blank_values=True))


class Doorkeeper(AuthProvider):
    """Bokeh's way to ask who a request is from, and the pages of login and logout."""

    def __init__(self, logins: Logins, users: UserFile | None, *, secure: bool) -> None:
        """
        Args:
            logins: who is logged in.
            users: who may log in by a password; None where a provider says who it is.
            secure: browsers come by HTTPS only.
        """
        self.logins, self.users, self.secure = logins, users, secure
        self.cookie = "__Host-panelbus-login" if secure else "panelbus-login"
        self.door: type[RequestHandler] = PasswordDoor
        self.addresses, self.names = Throttle(ADDRESS_WAIT), Throttle(USER_WAIT)
        self.turn = asyncio.Semaphore(CHECKS_AT_ONCE)
        self.waiting = 0
        # open websockets, and whether their login was found to have ended at the last look
        self._sockets: WeakKeyDictionary[WebSocketHandler, bool] = WeakKeyDictionary()
        super().__init__()

    # --- what Bokeh asks ---------------------------------------------------------------------

    @property
    def login_url(self) -> str:
        return LOGIN

    @property
    def logout_url(self) -> str:
        return LOGOUT

    @property
    def login_handler(self) -> type[RequestHandler]:
        return self.door

    @property
    def logout_handler(self) -> type[RequestHandler]:
        return LogoutDoor

    @property
    def get_user(self) -> Callable[[RequestHandler], str | None]:
        return self._user

    def _user(self, handler: RequestHandler) -> str | None:
        """Who this request is from; None for nobody."""
        login = self.login_of(handler)
        if login is None:
            if handler.request.path != PAGE and not isinstance(handler, WebSocketHandler):
                raise HTTPError(403)  # a script or a file leads nowhere from the login page
            return None
        if isinstance(handler, WebSocketHandler):
            if not owns(handler, login):
                log.warning("refused: %s asked for the page of somebody else", login.name)
                return None
            self._sockets[handler] = False
        else:
            refuse_to_join(handler)
        page = PageLogin(self.logins, login, handler.xsrf_token.decode())
        handler.request.panelbus_login = page  # type: ignore[attr-defined]
        return login.name

    # --- cookies -----------------------------------------------------------------------------

    def login_of(self, handler: RequestHandler) -> Login | None:
        days = self.logins.lifetime / SECONDS_A_DAY
        return self.logins.find(handler.get_signed_cookie(self.cookie, max_age_days=days))

    def begin(self, handler: RequestHandler, name: str) -> bool:
        """Log ``name`` in; False when nobody may have this name."""
        text = self.logins.begin(name)
        if text is None:
            return False
        # gone with the browser; how long it counts at most is in the cookie itself
        flags: dict[str, Any] = {"httponly": True, "samesite": "Lax", "secure": self.secure}
        handler.set_signed_cookie(self.cookie, text, expires_days=None, **flags)
        log.info("%s logged in from %s", name, handler.request.remote_ip)
        return True

    def end(self, handler: RequestHandler) -> None:
        """Log whoever it is out."""
        login = self.login_of(handler)
        if login is not None:
            self.logins.end(login)
            log.info("%s logged out", login.name)
        flags: dict[str, Any] = {"httponly": True, "samesite": "Lax", "secure": self.secure}
        handler.clear_cookie(self.cookie, **flags)

    # --- time --------------------------------------------------------------------------------

    def sweep(self, sessions: Iterable[Any]) -> None:
        """Tell open pages whose login has ended, and cut those that were told before."""
        for session in sessions:
            page = login_of_document(session.document)
            if page is not None and page.role() is None and page.tell_end is not None:
                tell, page.tell_end = page.tell_end, None
                in_turn(session.document, tell)
        for socket, told in list(self._sockets.items()):
            page = socket.request.panelbus_login  # type: ignore[attr-defined]
            if page.role() is None:
                if told:
                    socket.close(1008, "the login has ended")
                self._sockets[socket] = True


def login_of_document(document: Any) -> PageLogin | None:
    """For whom a page was made; None where nobody logs in."""
    context = None if document is None else document.session_context
    request = None if context is None else context.request
    found = getattr(request, "panelbus_login", None)
    return found if isinstance(found, PageLogin) else None


def refuse_to_join(handler: RequestHandler) -> None:
    """Bokeh lets a request name the session to show; here everybody gets one of their own.

    Raises:
        HTTPError: 403, it names one.
    """
    asked = ("bokeh-session-id" in handler.request.arguments) or (
        "bokeh-token" in handler.request.arguments
    )
    if asked or "Bokeh-Session-Id" in handler.request.headers:
        raise HTTPError(403, reason="Sessions of others can't be joined")


def owns(handler: Any, login: Login) -> bool:
    """Whether the session that a websocket asks for is this user's, or new."""
    _, _, token = handler.request.headers.get("Sec-WebSocket-Protocol", "").partition(",")
    application = handler.application
    try:
        signed = check_token_signature(
            token.strip(), signed=application.sign_sessions, secret_key=application.secret_key
        )
        wanted = get_session_id(token.strip())
    except (ValueError, LookupError, TypeError):  # no token at all, whatever it is
        return False
    if not signed:
        return False
    for session in handler.application_context.sessions:
        if session.id == wanted:
            page = login_of_document(session.document)
            return page is not None and page.name == login.name
    return True


# --- pages ---------------------------------------------------------------------------------------


class Door(RequestHandler):
    """What login and logout have in common."""

    @property
    def keeper(self) -> Doorkeeper:
        found: Doorkeeper = self.application.auth_provider  # type: ignore[attr-defined]
        return found

    def say(self, html: str) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", login_pages.POLICY)
        self.finish(html)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        del kwargs  # its traceback and its message are for the log
        self.say(login_pages.failed(TOO_OLD if status_code == 403 else self._reason))


class PasswordDoor(Door):
    """Name and password."""

    def get(self) -> None:
        self._form()

    def _form(self, status: int = 200, error: str = "", name: str = "") -> None:
        self.set_status(status)
        wanted = own_page(self.get_argument("next", ""))
        self.say(login_pages.login(self.xsrf_token.decode(), wanted, name, error))

    async def post(self) -> None:
        name = self.get_body_argument("username", "")[:128]
        password = self.get_body_argument("password", "", strip=False)
        address, now = neighbourhood(self.request.remote_ip or ""), time.monotonic()
        keeper = self.keeper
        wait = max(keeper.addresses.wait(address, now), keeper.names.wait(name, now))
        if wait > 0 or keeper.waiting >= MAX_WAITING:
            seconds = math.ceil(wait) or 1
            self.set_header("Retry-After", seconds)
            text = f"Too many failed logins. Try again in {seconds} s."
            self._form(429, text if wait > 0 else BUSY, name)
            return
        keeper.addresses.tried(address, now)
        keeper.names.tried(name, now)
        user = await self._checked(name, password)
        if user is None or not keeper.begin(self, name):
            # what is no user's name may be a password in the wrong field
            known = keeper.users is not None and keeper.users.get(name) is not None
            shown = name if known else "an unknown user"
            log.warning("failed login of %s from %s", shown, self.request.remote_ip)
            self._form(401, WRONG, name)
            return
        keeper.addresses.passed(address, now)
        keeper.names.passed(name, now)
        self.redirect(own_page(self.get_body_argument("next", "")), status=303)

    async def _checked(self, name: str, password: str) -> User | None:
        users = self.keeper.users
        if users is None:
            return None
        self.keeper.waiting += 1
        try:
            async with self.keeper.turn:
                return await asyncio.to_thread(users.check, name, password)
        finally:
            self.keeper.waiting -= 1


class LogoutDoor(Door):
    """Logging out takes a form of ours: a link on some other page can't do it."""

    def get(self) -> None:
        login = self.keeper.login_of(self)
        role = None if login is None else self.keeper.logins.role(login)
        if login is None or role is None:
            self.say(login_pages.logged_out())
        else:
            self.say(login_pages.logout(self.xsrf_token.decode(), login.name, role))

    def post(self) -> None:
        self.keeper.end(self)
        self.redirect("logout", status=303)
