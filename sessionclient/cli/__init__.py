"""The ``panelbus`` command: run the parts, and operate a broker from a terminal."""

from sessionclient.cli.main import main

__all__ = ["main"]
