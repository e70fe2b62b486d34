"""What is wrong with how the broker was started."""

from __future__ import annotations

from typing import Any

import click


class UsageProblem(click.ClickException):
    """Something about how the broker was started: one line on stderr, exit status 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"broker: {self.format_message()}", err=True)
