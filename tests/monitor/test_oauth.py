"""A login at a provider: there and back, with a provider that runs in this process."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.monitor_site import COOKIE, Site, Visitor, serving_site

pytestmark = pytest.mark.process

SECRET = "the-client-secret"
CODE = "one-time-code"
ACCESS = "access-token-of-the-provider"


class Provider:
    """Hands out tokens for one code."""

    def __init__(self) -> None:
        self.user: object = "ann@example.com"
        self.asked: list[dict[str, list[str]]] = []
        self.server = HTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                asked = parse_qs(self.rfile.read(size).decode())
                provider.asked.append(asked)
                right = asked.get("code") == [CODE] and asked.get("client_secret") == [SECRET]
                answer = provider.tokens() if right else {"error": "invalid_grant"}
                self.send_response(200 if right else 400)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        return Handler

    def tokens(self) -> dict[str, object]:
        parts = ({"alg": "none"}, {"email": self.user})
        token = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in parts
        )
        return {"access_token": ACCESS, "id_token": f"{token}.", "refresh_token": "refresh"}

    def __enter__(self) -> Provider:
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as found:
        yield found


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def site(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory: Path = tmp_path_factory.mktemp("oauth")
    secret = directory / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    flags = ["--oauth-provider", "generic", "--oauth-key", "panelbus-id"]
    flags += ["--oauth-secret-file", str(secret), "--oauth-operators", "ann@example.com, eve"]
    flags += ["--oauth-viewers", "bob"]
    flags += ["--oauth-redirect-uri", "http://monitor.example/login"]
    urls = {
        "PANEL_OAUTH_AUTHORIZE_URL": f"{provider.url}/authorize",
        "PANEL_OAUTH_TOKEN_URL": f"{provider.url}/token",
        "PANEL_OAUTH_USER_URL": f"{provider.url}/user",
    }
    with environment(**urls), serving_site(directory, *flags, login=False) as found:
        yield found


def sent_away(visitor: Visitor, path: str = "/login") -> dict[str, str]:
    """What the provider is told by way of the browser."""
    answer = visitor.http.get(path)
    assert answer.status_code == 302
    return {name: value[0] for name, value in parse_qs(urlsplit(answer.headers["Location"]).query)
            .items()}  # fmt: skip


def test_a_stranger_is_sent_to_the_provider(site: Site, provider: Provider) -> None:
    visitor = Visitor(site)
    assert visitor.http.get("/").headers["Location"] == "./login?next=%2F"
    answer = visitor.http.get("/login?next=%2F")
    assert answer.headers["Location"].startswith(f"{provider.url}/authorize?")
    told = sent_away(visitor)
    assert told["client_id"] == "panelbus-id"
    assert told["redirect_uri"] == "http://monitor.example/login"
    assert (told["response_type"], bool(told["state"])) == ("code", True)
    assert SECRET not in answer.headers["Location"]
    for cookie in answer.headers.get_list("set-cookie"):
        if "panel-oauth-state=2" in cookie:
            assert "HttpOnly" in cookie
            assert "SameSite=Lax" in cookie


@pytest.mark.parametrize(("user", "role"), [("ann@example.com", "operator"), ("bob", "viewer")])
def test_who_comes_back_with_the_code_is_in(
    site: Site, provider: Provider, user: str, role: str
) -> None:
    provider.user = user
    visitor = Visitor(site)
    state = sent_away(visitor, "/login?next=%2F%3Fsession%3Dabc")["state"]
    answer = visitor.http.get("/login", params={"code": CODE, "state": state})
    assert (answer.status_code, answer.headers["Location"]) == (302, "./?session=abc")
    assert visitor.http.get("/").status_code == 200
    assert f"logged in as {user}, {role}." in visitor.http.get("/logout").text
    # of the provider's tokens nothing is kept
    (cookie,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith(COOKIE)]
    assert "HttpOnly" in cookie
    names = set(visitor.http.cookies) - {"panelbus-form"}
    assert names == {COOKIE}


def test_one_that_comes_by_the_page_is_in_too(site: Site) -> None:
    visitor = Visitor(site)
    state = sent_away(visitor)["state"]
    back = visitor.http.get("/", params={"code": CODE, "state": state}).headers["Location"]
    assert visitor.http.get(back).headers["Location"] == "./"
    assert visitor.http.get("/").status_code == 200


def test_a_code_for_somebody_else_s_browser_is_refused(site: Site) -> None:
    theirs, visitor = Visitor(site), Visitor(site)
    state = sent_away(theirs)["state"]
    for cookie_of_own in (False, True):
        if cookie_of_own:
            sent_away(visitor)
        answer = visitor.http.get("/login", params={"code": CODE, "state": state})
        assert answer.status_code == 401
        assert "did not let you in" in answer.text
        assert visitor.http.get("/").status_code == 302


@pytest.mark.parametrize("user", ["mallory", "Bob", "*", "a\nb", "x" * 129, "", {"a": 1}])
def test_who_is_not_named_is_refused(site: Site, provider: Provider, user: object) -> None:
    provider.user = user
    visitor = Visitor(site)
    state = sent_away(visitor)["state"]
    answer = visitor.http.get("/login", params={"code": CODE, "state": state})
    assert answer.status_code in (401, 403)
    assert visitor.http.get("/").status_code == 302


@pytest.mark.parametrize("params", [{"code": "wrong"}, {"error": "denied <b>call 555</b>"}])
def test_a_provider_that_refuses_is_told_of(site: Site, params: dict[str, str]) -> None:
    visitor = Visitor(site)
    state = sent_away(visitor)["state"]
    answer = visitor.http.get("/login", params={**params, "state": state})
    assert answer.status_code in (400, 401)
    assert "did not let you in" in answer.text
    assert "555" not in answer.text
    assert "http" not in answer.text  # nothing of another host
    assert f"failed login from {visitor.address}" in site.process.log()


@pytest.mark.parametrize("wanted", ["///evil.example", "//evil.example", "https://evil.example"])
def test_a_login_leads_nowhere_else(site: Site, provider: Provider, wanted: str) -> None:
    provider.user = "bob"
    visitor = Visitor(site)
    answer = visitor.http.get("/login", params={"next": wanted})
    state = parse_qs(urlsplit(answer.headers["Location"]).query)["state"][0]
    answer = visitor.http.get("/login", params={"code": CODE, "state": state})
    assert answer.headers["Location"] == "./"


def test_a_password_is_of_no_use(site: Site) -> None:
    visitor = Visitor(site)
    token = visitor.form_token("/logout") if visitor.http.cookies else ""
    form = {"username": "ann", "password": "x", "_xsrf": token}
    assert visitor.http.post("/login", data=form).status_code in (403, 405)


def test_no_secret_is_logged(site: Site, provider: Provider) -> None:
    provider.user = "bob"
    visitor = Visitor(site)
    state = sent_away(visitor)["state"]
    visitor.http.get("/", params={"code": CODE, "state": state})
    visitor.http.get("/login", params={"code": CODE, "state": state})
    assert provider.asked  # it has been told the secret
    assert "GET /login" in site.process.log()
    for secret in (SECRET, CODE, ACCESS, state):
        assert secret not in site.process.log()
