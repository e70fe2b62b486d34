"""Secrets in files: made for their owner alone, and never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from monitor.secret_files import cookie_secret, read_secret
from sessionclient import Misuse


def test_a_cookie_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    made = cookie_secret(path)
    assert len(made) == 64
    assert cookie_secret(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cookie_secret(tmp_path / "other") != made


def test_one_that_can_t_be_made_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="--cookie-secret-file"):
        cookie_secret(tmp_path / "none" / "secret")


@pytest.mark.parametrize("text", ["short", "", "x" * 5_000, "a\nb", "\x00" * 40, "\xe9" * 40])
def test_what_can_t_be_a_cookie_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(Misuse) as refused:
        cookie_secret(path)
    assert str(path) in str(refused.value)
    assert not text or text not in str(refused.value)


def test_everybody_s_is_nobody_s(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("a client secret\n")
    path.chmod(0o600)
    assert read_secret(path, "the client secret") == "a client secret"
    path.chmod(0o604)
    with pytest.raises(Misuse, match="chmod 600") as refused:
        read_secret(path, "the client secret")
    assert "a client secret" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"can't read the client secret in .*none: No such file"):
        read_secret(tmp_path / "none", "the client secret")
