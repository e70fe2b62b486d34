"""Colours: readable for everybody in both themes."""

from __future__ import annotations

import re

import pytest

from monitor.history import MAX_APPS
from monitor.style import (
    BODY_CSS,
    CARD_CSS,
    HTML_CSS,
    ROOT_CSS,
    SERIES,
    TABLE_CSS,
    colours,
    tokens,
)

AA = 4.5  # WCAG 2 for text of usual size
PAIRS = [
    *((name, "surface") for name in ("text", "muted", "good", "warn", "bad", "accent")),
    *(
        (name, below)
        for name in ("text", "good", "bad", "warn", "muted")
        for below in ("selected", "hover")
    ),
]


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    assert re.fullmatch("#[0-9a-f]{6}", colour)
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_the_standard_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#123456", "#123456") == 1.0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("name", "below"), PAIRS)
def test_text_is_readable_on_what_it_lies_on(name: str, below: str, dark: bool) -> None:
    found = colours(dark)
    assert contrast(found[name], found[below]) >= AA


def test_both_themes_have_the_same_names_and_no_colour_in_common() -> None:
    light, dark = colours(False), colours(True)
    assert light.keys() == dark.keys()
    assert set(light.values()).isdisjoint(dark.values())


@pytest.mark.parametrize(("dark", "scheme"), [(False, "light"), (True, "dark")])
def test_a_theme_is_a_stylesheet_of_custom_properties(dark: bool, scheme: str) -> None:
    sheet = tokens(dark)
    assert sheet.startswith(":host { ")
    assert sheet.endswith(f"color-scheme: {scheme}; }}")
    for name, value in colours(dark).items():
        assert f"--pb-{name}: {value};" in sheet


def test_every_property_that_a_rule_uses_is_given_by_the_theme() -> None:
    given = set(re.findall(r"(--pb-[a-z]+):", tokens(False)))
    used = re.findall(r"var\((--pb-[a-z]+)", ROOT_CSS + BODY_CSS + TABLE_CSS + CARD_CSS + HTML_CSS)
    assert set(used) <= given


def test_the_charts_have_a_colour_for_each_line() -> None:
    assert len(set(SERIES)) == len(SERIES) == MAX_APPS + 1
