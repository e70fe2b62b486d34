"""Text that UTF-8 can carry: Python allows lone surrogates, as in undecodable file names."""

from __future__ import annotations


def is_sendable(text: str) -> bool:
    """Whether text can go over the wire."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def sendable(text: str) -> str:
    """Text with "?" for what can't go over the wire."""
    return text if is_sendable(text) else text.encode(errors="replace").decode()
