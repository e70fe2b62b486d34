"""A child that will not end: ``python -m tests.broker.stubborn FILE`` makes FILE when it is up."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(sys.argv[1]).touch()
    threading.Event().wait(60.0)


if __name__ == "__main__":
    main()
