"""Kinds of option that click does not have."""

from __future__ import annotations

import math
from typing import Any

import click


class Amount(click.FloatRange):
    """A number within bounds. NaN, which compares as within any, is none."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number
