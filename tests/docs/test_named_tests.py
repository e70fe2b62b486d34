"""What a document calls the test of something is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
NAMED = re.compile(r"`((?:tests|scripts)/[\w/]+(?:\.py)?)(?:::(\w+))?`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_test_and_script_it_names_exists(document: Path) -> None:
    for path, name in NAMED.findall(document.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), f"{document.name} names {path}"
        assert not name or f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"


def test_the_tables_of_attacks_and_faults_name_a_test_in_every_row() -> None:
    for name in ("SECURITY", "RELIABILITY"):
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        tables = re.findall(r"^\|[^\n]*\| test \|\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.M)
        assert tables, name
        for row in "".join(tables).splitlines():
            assert "`tests/" in row.split("|")[-2], f"{name}: no test in {row}"
