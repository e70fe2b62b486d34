"""Feed the wire's decoder with bytes that a coverage-guided fuzzer makes up, for a bounded time.

Whatever they are, `decode` returns a checked message that can be encoded again, or raises
WireError.
Anything else ends the run with exit status 1 and the bytes in a file. Needs atheris.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from sessionclient import wire

TABLES: Final[tuple[Mapping[str, wire.Kind], ...]] = (wire.TO_BROKER, wire.FROM_BROKER, wire.FEED)
LONGEST: Final = 4096  # bytes of one input


def try_out(payload: bytes) -> None:
    """Raises whatever a decoder that keeps its word does not raise."""
    for table in TABLES:
        try:
            message = wire.decode(payload, table)
        except wire.WireError as error:
            if not str(error) or not error.cause:
                raise AssertionError("an error without words") from error
            continue
        again = wire.encode(message)
        if wire.encode(wire.decode(again, table)) != again:
            raise AssertionError("a message that is another one after a round")


def seeds() -> list[bytes]:
    """One message of every kind, without fields, to begin with."""
    kinds = [kind for table in TABLES for kind in table]
    return [wire.encode({"k": kind, "n": 1, "r": 1, "s": "s1", "c": "c1"}) for kind in kinds]


def run(fuzzer: Any, seconds: int, corpus: Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    for number, payload in enumerate(seeds()):
        (corpus / f"seed{number:02d}").write_bytes(payload)
    fuzzer.instrument_func(wire.decode)
    flags = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-artifact_prefix={corpus}/bad-"]
    target: Callable[[bytes], None] = try_out
    fuzzer.Setup([sys.argv[0], *flags, str(corpus)], target)
    fuzzer.Fuzz()  # ends the process


@click.command(help=__doc__)
@click.option(
    "--seconds", default=60, show_default=True, type=click.IntRange(1, 86_400), help="How long."
)
@click.option(
    "--corpus",
    default=Path("fuzz-corpus"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of inputs found so far, and of those that broke it (bad-*).",
)
def main(seconds: int, corpus: Path) -> None:
    try:
        fuzzer = importlib.import_module("atheris")
    except ImportError as error:
        raise click.ClickException(
            "atheris is not installed: pip install atheris (Linux, Python 3.11 to 3.13); the test"
            " suite tries the decoder with hypothesis in any case"
        ) from error
    run(fuzzer, seconds, corpus)


if __name__ == "__main__":
    main()
