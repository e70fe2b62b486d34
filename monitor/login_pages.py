"""The pages around a login, as HTML: no script, nothing from another host. Pure."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

from monitor.style import colours

TITLE: Final = "Panelbus monitor"
MAX_NEXT_CHARS: Final = 2_000


def _tokens(dark: bool) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours(dark).items())


CSS: Final = f"""
:root {{ color-scheme: light dark; {_tokens(False)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_tokens(True)} }} }}
* {{ box-sizing: border-box; }}
html, body {{ height: 100%; margin: 0; }}
body {{ background: var(--bg); color: var(--text); display: grid;
  grid-template-rows: auto minmax(0, 1fr);
  font: 15px/1.5 'Inter', system-ui, 'Segoe UI', Roboto, sans-serif; }}
header {{ background: #17212e; color: #eef3f8; padding: 13px 16px; font-size: 15px;
  font-weight: 650; letter-spacing: .01em; }}
main {{ display: grid; place-items: start center; padding: clamp(24px, 14vh, 140px) 16px 24px; }}
.card {{ width: min(380px, 100%); background: var(--surface); border: 1px solid var(--line);
  border-radius: 12px; padding: 26px 28px 28px; box-shadow: 0 6px 24px rgb(10 20 35 / 8%); }}
h1 {{ font-size: 20px; font-weight: 650; line-height: 1.3; margin: 0 0 4px; }}
p {{ margin: 0; color: var(--muted); overflow-wrap: anywhere; }}
form {{ margin: 20px 0 0; }}
label {{ display: block; font-size: 13px; font-weight: 600; margin: 0 0 14px; }}
input {{ display: block; width: 100%; margin-top: 5px; padding: 9px 11px; font: inherit;
  font-weight: 400; color: var(--text); background: var(--bg); border: 1px solid var(--muted);
  border-radius: 8px; }}
input:focus-visible {{ border-color: var(--accent); outline: 2px solid var(--accent);
  outline-offset: 0; }}
button, a.button {{ display: block; width: 100%; padding: 10px 14px; font: inherit;
  font-weight: 600; text-align: center; text-decoration: none; cursor: pointer; border: 0;
  border-radius: 8px; background: var(--accent); color: var(--surface); }}
button {{ margin-top: 20px; }} a.button {{ margin-top: 22px; }}
button:hover, a.button:hover {{ filter: brightness(1.08); }}
button:focus-visible, a:focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px; }}
p.quiet {{ margin-top: 16px; text-align: center; font-size: 14px; }} p.quiet a {{
  color: var(--accent); }}
.error {{ margin: 16px 0 0; padding: 9px 12px; border-radius: 8px; background: var(--bg);
  border-left: 3px solid var(--bad); color: var(--bad); font-size: 14px; }}
"""

_STYLE: Final = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
# of these pages: this one style, our own icon, forms to ourselves, and nothing else at all
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE}'; img-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)} - {TITLE}</title><style>{CSS}</style></head>"
        f"<body><header>{TITLE}</header><main><div class='card'>{body}</div></main></body></html>"
    )


def login(form_token: str, wanted: str, name: str = "", error: str = "") -> str:
    """Name and password. ``wanted``: where the login leads; ``error``: why the last try failed."""
    told = f"<p class='error' id='error' role='alert'>{escape(error)}</p>" if error else ""
    wrong = " aria-describedby='error'" if error else ""
    # the field that is to be filled in next
    at_name, at_password = ("", " autofocus") if name else (" autofocus", "")
    return _page(
        "Log in",
        "<h1>Log in</h1><p>See every session, and end any of them.</p>"
        f"{told}<form method='post' action='login'>"
        f"<input type='hidden' name='_xsrf' value='{escape(form_token)}'>"
        f"<input type='hidden' name='next' value='{escape(wanted)}'>"
        f"<label>Name<input name='username' value='{escape(name)}' autocomplete='username'"
        f" autocapitalize='none' spellcheck='false' required maxlength='128'{at_name}{wrong}>"
        "</label><label>Password<input name='password' type='password' required"
        f" autocomplete='current-password' maxlength='1024'{at_password}{wrong}></label>"
        "<button type='submit'>Log in</button></form>",
    )


def logout(form_token: str, name: str, role: str) -> str:
    """Asks before it ends a login."""
    return _page(
        "Log out",
        f"<h1>Log out?</h1><p>You are logged in as {escape(name)}, {escape(role)}.</p>"
        "<form method='post' action='logout'>"
        f"<input type='hidden' name='_xsrf' value='{escape(form_token)}'>"
        "<button type='submit'>Log out</button></form>"
        "<p class='quiet'><a href='./'>Back to the monitor</a></p>",
    )


def logged_out() -> str:
    return _page(
        "Logged out",
        "<h1>You are logged out</h1><p>Pages that were open have ended, too.</p>"
        "<a class='button' href='./'>Log in</a>",
    )


def failed(error: str) -> str:
    """A login that went wrong elsewhere."""
    return _page(
        "Login failed",
        "<h1>The login failed</h1>"
        f"<p class='error' role='alert'>{escape(error)}</p>"
        "<a class='button' href='./'>Try again</a>",
    )
