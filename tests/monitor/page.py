"""A piece of HTML as a browser takes it: elements with their attributes, and text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"br"}


class Page(HTMLParser):
    """Parsed once; fails when an element is left open or closed out of turn."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"{self._open} are left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")

    def shape(self) -> list[tuple[str, dict[str, str | None]]]:
        """Its elements, without the texts of tooltips, which come from the data."""
        return [(tag, {**attrs, "title": ""} if "title" in attrs else attrs)
                for tag, attrs in self.elements]  # fmt: skip

    def titles(self) -> list[str | None]:
        return [attrs["title"] for _, attrs in self.elements if "title" in attrs]


def words(html: str) -> str:
    """What people read, elements parted by one space."""
    return " ".join(Page(re.sub(r"(<[^>]*>)", r" \1", html)).words.split())
