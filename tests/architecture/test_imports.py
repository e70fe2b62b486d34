"""Imports run one way, and an app that only tracks its sessions loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("sessionclient", "broker", "monitor", "demos", "scripts", "tests")

# A module may import those of our modules that begin with one of these words. The first match of
# its own name counts, so the narrower rule stands above the wider one.
MAY_IMPORT = {
    "sessionclient.errors": (),
    "sessionclient.version": (),
    "sessionclient.text": (),
    "sessionclient.fields": (),
    "sessionclient.wire": ("sessionclient.errors", "sessionclient.fields"),
    "sessionclient.link": ("sessionclient.wire", "sessionclient.errors"),
    "sessionclient.replica": ("sessionclient.link", "sessionclient.wire"),
    "sessionclient.requests": ("sessionclient.link", "sessionclient.wire", "sessionclient.errors"),
    "sessionclient.mirror": ("sessionclient.rows", "sessionclient.wire"),
    "sessionclient.tasks": (),
    "sessionclient.keys": ("sessionclient.errors",),
    "sessionclient.private_files": (),
    "sessionclient.io_thread": ("sessionclient.keys", "sessionclient.link", "sessionclient.wire"),
    "sessionclient.panel_hooks": (),
    "sessionclient.cli.main": ("sessionclient", "broker", "monitor", "demos"),
    "sessionclient": ("sessionclient",),
    "broker.registry": ("broker.registry", "broker.store", "sessionclient.wire"),
    "broker.files": (),
    "broker.memory": (),
    "broker.reserve": ("broker.files",),
    "broker.store": (
        "broker.store",
        "broker.schema",
        "broker.file_lock",
        "broker.files",
        "broker.reserve",
    ),
    "broker.gateway": (
        "broker.gateway",
        "broker.logs",
        "broker.open_files",
        "broker.options",
        "sessionclient",
    ),
    "broker.backups": ("broker.registry.effects", "broker.store"),
    "broker.server": ("broker", "sessionclient.wire", "sessionclient.errors"),
    "broker": ("broker", "sessionclient"),
    "monitor": ("monitor", "broker.memory", "sessionclient"),
    "demos": ("demos", "sessionclient"),
    "scripts.plots": ("monitor.style",),
    "scripts": ("scripts", "sessionclient"),
}
# all that `import sessionclient` may load of others; cython_runtime is made by the other two
LIGHT = {"sessionclient", "zmq", "msgpack", "cython_runtime"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS[:-1]:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path) -> Iterator[str]:
    """Every module of ours this file imports, also inside functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in found if name.partition(".")[0] in OURS)


def is_within(name: str, start: str) -> bool:
    """Whether ``name`` is this module, or in it, or a sibling that begins so (store_sqlite)."""
    return name == start or name.startswith((f"{start}.", f"{start}_"))


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: str(value))
def test_a_module_imports_what_lies_below_it(name: str, path: Path) -> None:
    allowed = next(rule for start, rule in MAY_IMPORT.items() if is_within(name, start))
    wrong = [
        found for found in imported(path) if not any(is_within(found, start) for start in allowed)
    ]
    assert wrong == []


def loaded_by(statement: str) -> set[str]:
    """Top-level packages outside the standard library that a fresh interpreter loads for it."""
    code = (
        f"import sys; before = set(sys.modules); {statement}\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {
        name
        for name in done.stdout.split()
        if name not in sys.stdlib_module_names and not name.startswith("_")
    }


def test_the_client_is_light() -> None:
    assert loaded_by("import sessionclient") <= LIGHT
    assert loaded_by("from sessionclient import Operator, AsyncOperator") <= LIGHT


def test_the_command_needs_nothing_but_the_client_s_own_dependencies() -> None:
    loaded = loaded_by("import sessionclient.cli")
    assert loaded.isdisjoint({"panel", "bokeh", "fastapi", "pydantic", "uvicorn", "numpy"})
