"""What ``python -m monitor`` is told by its options."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

# Panel's, without those that ask for a password on a page of their own
PROVIDERS: Final = (
    "auth0", "auth_code", "azure", "azurev2", "bitbucket",
    "generic", "github", "gitlab", "google", "okta",
)  # fmt: skip


class Settings(NamedTuple):
    """What the options say."""

    server: str
    key: Path | None
    port: int
    address: str
    origins: tuple[str, ...]
    insecure: bool
    users: Path | None
    cookie_secret_file: Path | None
    login_hours: float
    oauth_provider: str | None
    oauth_key: str | None
    oauth_secret_file: Path | None
    oauth_redirect_uri: str | None
    oauth_operators: str | None
    oauth_viewers: str | None
    tls_cert: Path | None
    tls_key: Path | None
    behind_proxy: bool
    log_level: str
    log_format: str
    parent_pid: int | None
