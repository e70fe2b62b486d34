"""The login in front of the monitor, asked as a stranger, a user, and somebody who plays tricks."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from monitor.throttle import FREE
from tests.support.monitor_site import (
    COOKIE,
    PASSWORDS,
    Site,
    Visitor,
    serving_site,
    write_users,
)
from tests.support.processes import eventually

pytestmark = pytest.mark.process

FOREIGN = "http://evil.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving_site(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture
def stranger(site: Site) -> Visitor:
    return Visitor(site)


@pytest.fixture
def ann(site: Site) -> Visitor:
    visitor = Visitor(site)
    assert visitor.log_in("ann").status_code == 303
    return visitor


@pytest.fixture
def vic(site: Site) -> Visitor:
    visitor = Visitor(site)
    assert visitor.log_in("vic").status_code == 303
    return visitor


def is_in(visitor: Visitor) -> bool:
    return visitor.http.get("/").status_code == 200


def refusal(visitor: Visitor, token: str, **headers: str) -> int:
    """The status a websocket is refused with; 101 when it is taken up."""
    with visitor.websocket(token, **headers) as socket:
        taken = socket.status == 101 and socket.acknowledged()
        return socket.status if taken or socket.status != 101 else 0


# --- strangers -----------------------------------------------------------------------------------


def test_a_stranger_is_led_to_the_login(stranger: Visitor) -> None:
    answer = stranger.http.get("/?session=abc")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "./login?next=%2F%3Fsession%3Dabc"


@pytest.mark.parametrize(
    "path",
    [
        "/autoload.js?bokeh-autoload-element=1",
        "/metadata",
        "/perspective/perspective-anywidget.js",
        "/components/this/x/_css/y",
    ],
)
def test_a_stranger_gets_nothing_but_static_files(site: Site, stranger: Visitor, path: str) -> None:
    answer = stranger.http.get(path)
    assert (answer.status_code, len(answer.content) < 200) == (403, True)
    assert "The Zen of Python" not in site.process.log()  # what importing "this" prints
    assert stranger.http.get("/static/js/bokeh.min.js").status_code == 200


def test_a_stranger_has_no_websocket(stranger: Visitor, ann: Visitor) -> None:
    assert refusal(stranger, ann.bokeh_token()) == 403
    assert refusal(stranger, "garbage") == 403


@pytest.mark.parametrize("value", ["", "ann", '["ann", "1", "s", 9e9]', "2|1:0|10:1|x"])
def test_a_cookie_of_ones_own_making_is_none(stranger: Visitor, value: str) -> None:
    stranger.http.cookies.set(COOKIE, value, domain="127.0.0.1")
    assert not is_in(stranger)


# --- logging in and out --------------------------------------------------------------------------


def test_the_right_password_lets_in(site: Site) -> None:
    visitor = Visitor(site)
    answer = visitor.log_in("ann")
    assert (answer.status_code, answer.headers["Location"]) == (303, "./")
    (cookie,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith(COOKIE)]
    flags = {flag.strip() for flag in cookie.split(";")[1:]}
    assert flags == {"HttpOnly", "Path=/", "SameSite=Lax"}  # and gone with the browser
    assert is_in(visitor)
    assert f"ann logged in from {visitor.address}" in site.process.log()


def test_a_wrong_password_and_an_unknown_user_are_told_the_same(stranger: Visitor) -> None:
    told = []
    for name in ("vic", "nobody"):
        answer = stranger.log_in(name, "wrong password")
        assert answer.status_code == 401
        assert "do not belong together" in answer.text
        assert "wrong password" not in answer.text
        told.append(answer.text.partition("<h1>")[2].partition("_xsrf")[0])
    assert told[0] == told[1]
    assert not is_in(stranger)


def test_a_password_typed_as_the_name_is_not_logged(site: Site, stranger: Visitor) -> None:
    assert stranger.log_in("hunter2-hunter2", "x").status_code == 401
    assert f"failed login of an unknown user from {stranger.address}" in site.process.log()
    assert "hunter2" not in site.process.log()


@pytest.mark.parametrize("name", ["<b>x</b>'\"", "a" * 5_000, "\x00", ""])
def test_names_that_are_none_harm_nothing(stranger: Visitor, name: str) -> None:
    answer = stranger.log_in(name, "wrong password")
    assert answer.status_code == 401
    assert "<b>x" not in answer.text


def test_a_form_of_another_site_does_not_log_in(site: Site, stranger: Visitor) -> None:
    form = {"username": "ann", "password": PASSWORDS["ann"]}
    for token in ("", Visitor(site).form_token()):
        answer = stranger.http.post("/login", data={**form, "_xsrf": token})
        assert (answer.status_code, "too old" in answer.text) == (403, True)
        assert COOKIE not in stranger.http.cookies


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example", "///evil.example", "/\t/evil.example", "/\\evil.example",
        "https://evil.example", "https:evil.example", "javascript:alert(1)", "./login",
        "//evil.example/?session=1", "http://evil.example?session=1", "\r\nX: y", "@evil.example",
    ],
)  # fmt: skip
def test_a_login_leads_nowhere_else(stranger: Visitor, wanted: str) -> None:
    assert "value='./'" in stranger.http.get("/login", params={"next": wanted}).text
    assert stranger.log_in("ann", next=wanted).headers["Location"] == "./"


@pytest.mark.parametrize("wanted", ["/?session=a%26b", "./?session=a%26b", "?session=a%26b"])
def test_a_login_leads_to_what_was_asked_for(stranger: Visitor, wanted: str) -> None:
    answer = stranger.log_in("ann", next=wanted)
    assert answer.headers["Location"] == "./?session=a%26b"


def test_a_query_can_add_no_header(stranger: Visitor) -> None:
    answer = stranger.log_in("ann", next="/?a=\r\nSet-Cookie: x=y")
    assert answer.headers["Location"] == "./?a=%0D%0ASet-Cookie%3A+x%3Dy"
    assert "x" not in stranger.http.cookies


def test_a_logout_ends_the_login_for_good(ann: Visitor) -> None:
    kept = ann.http.cookies[COOKIE]
    assert "Log out?" in ann.http.get("/logout").text
    assert is_in(ann)  # looking is not leaving
    token = ann.form_token("/logout")
    assert ann.http.post("/logout", data={"_xsrf": token}).status_code == 303
    assert "You are logged out" in ann.http.get("/logout").text
    assert not is_in(ann)
    ann.http.cookies.set(COOKIE, kept, domain="127.0.0.1")
    assert not is_in(ann)


def test_another_site_can_t_log_anybody_out(ann: Visitor) -> None:
    assert ann.http.post("/logout", data={"_xsrf": "x"}).status_code == 403
    assert ann.http.get("/logout").status_code == 200
    assert is_in(ann)


def test_guessing_is_slowed_down_for_the_guesser(tmp_path: Path) -> None:
    with serving_site(tmp_path) as site:
        visitor = Visitor(site)
        for _ in range(FREE):
            assert visitor.log_in("ann", "wrong password").status_code == 401
        answer = visitor.log_in("ann")
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
        assert "Too many failed logins" in answer.text
        eventually(lambda: visitor.log_in("ann").status_code == 303, "it may try again", 60)


# --- one user and another ------------------------------------------------------------------------


def test_a_page_s_websocket_opens_for_its_user(ann: Visitor) -> None:
    assert refusal(ann, ann.bokeh_token()) == 101


def test_the_page_of_one_can_t_be_taken_by_another(site: Site, ann: Visitor, vic: Visitor) -> None:
    token = ann.bokeh_token()
    assert refusal(vic, token) == 403
    assert "vic asked for the page of somebody else" in site.process.log()
    assert refusal(ann, token) == 101


def test_a_token_that_was_changed_is_refused(ann: Visitor) -> None:
    token = ann.bokeh_token()
    payload, _, signature = token.partition(".")
    plain = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    plain["session_id"] = "0" * 44
    forged = base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")
    for wrong in (payload, f"{forged}.{signature}", f"{forged}.", forged, "x", "."):
        assert refusal(ann, wrong) == 403, wrong


@pytest.mark.parametrize("name", ["bokeh-session-id", "bokeh-token"])
def test_a_session_can_t_be_named(ann: Visitor, name: str) -> None:
    assert ann.http.get("/", params={name: "chosen"}).status_code == 403
    assert ann.http.get("/", headers={"Bokeh-Session-Id": "chosen"}).status_code == 403


@pytest.mark.parametrize("origin", [FOREIGN, "null", "https://127.0.0.1.evil.example"])
def test_a_page_of_another_site_has_no_websocket(ann: Visitor, origin: str) -> None:
    assert refusal(ann, ann.bokeh_token(), Origin=origin) == 403


def test_the_page_tells_its_scripts_no_cookie(ann: Visitor) -> None:
    page = ann.http.get("/", headers={"Authorization": "Basic c2VjcmV0OnNlY3JldA=="})
    token = ann.bokeh_token().partition(".")[0]
    plain = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    (packed,) = [value for name, value in plain.items() if name.startswith("__")]
    told = (
        page.text
        + zlib.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))).decode()
    )
    assert '"User-Agent"' in told  # so it is unpacked
    assert ann.http.cookies[COOKIE] not in told
    assert "c2VjcmV0OnNlY3JldA" not in told


def test_a_user_that_is_removed_is_out_at_once(tmp_path: Path) -> None:
    with serving_site(tmp_path) as site:
        ann, vic = Visitor(site), Visitor(site)
        ann.log_in("ann")
        vic.log_in("vic")

        with vic.websocket(vic.bokeh_token()) as page, ann.websocket(ann.bokeh_token()) as other:
            assert page.acknowledged()
            assert other.acknowledged()
            write_users(site.users, "ann")
            assert not is_in(vic)
            assert page.close_code() == 1008
        assert is_in(ann)


# --- headers, files, sizes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/login", "/logout", "/nothing", "/static/js/bokeh.min.js", "/metadata", "/ws"]
)
def test_every_answer_has_the_headers_that_keep_browsers_safe(ann: Visitor, path: str) -> None:
    headers = ann.http.get(path, headers={"Origin": FOREIGN}).headers
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Server"] == "panelbus"
    assert "Strict-Transport-Security" not in headers  # there is no HTTPS here


def test_another_site_may_read_nothing(ann: Visitor) -> None:
    answer = ann.http.get("/autoload.js?bokeh-autoload-element=1", headers={"Origin": FOREIGN})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_pages_of_the_login_have_no_script_and_are_not_kept(stranger: Visitor) -> None:
    for path in ("/login", "/logout"):
        answer = stranger.http.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "<script" not in answer.text
        assert "http" not in answer.text.replace(FOREIGN, "")  # no other host


def test_a_form_can_t_fill_the_memory(site: Site, stranger: Visitor) -> None:
    token = stranger.form_token()
    big = {"_xsrf": token, "username": "ann", "password": "x" * 100_000}
    try:
        status = stranger.http.post("/login", data=big).status_code
    except httpx.TransportError:  # hung up on
        status = 400
    assert status in (400, 413)
    assert is_led_to_login(stranger)


def is_led_to_login(visitor: Visitor) -> bool:
    return visitor.http.get("/").status_code == 302


def test_without_a_login_no_module_is_imported_for_anybody(tmp_path: Path) -> None:
    with serving_site(tmp_path, login=False) as site:
        visitor = Visitor(site)
        assert visitor.http.get("/components/this/x/_css/y").status_code == 404
        assert "The Zen of Python" not in site.process.log()
        assert refusal(visitor, visitor.bokeh_token()) == 101


# --- secrets -------------------------------------------------------------------------------------


def test_no_secret_is_logged_or_seen_by_other_processes(site: Site, ann: Visitor) -> None:
    token = ann.bokeh_token()
    refusal(ann, token)
    refusal(ann, token, Origin=FOREIGN)
    ann.http.get("/login?next=/?code=secret-code")
    ann.http.get("/nothing?password=secret-code")
    secrets = [
        *PASSWORDS.values(),
        "secret-code",
        ann.http.cookies[COOKIE],
        ann.form_token(),
        token,
        site.users.with_name("users.json.cookie-secret").read_text().strip(),
    ]
    process = Path(f"/proc/{site.process.pid}")
    told = site.process.log()
    if process.exists():  # as on Linux
        told += (process / "cmdline").read_text() + (process / "environ").read_text()
    assert f"GET /nothing from {ann.address}: 404" in told
    for secret in secrets:
        assert secret not in told
