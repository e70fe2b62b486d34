"""One round of a measure, as small as it can be, and what every such round has to bring."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Final

from scripts.measures.figures import QUICK, Measure, Sample, Setting

TINY: Final = replace(QUICK, rounds=1, seconds=0.1, kills=2, sessions=150, many=200, growth=(20,))


def tiny(directory: Path) -> Setting:
    return Setting(TINY, directory)


def one_round(measure: Measure, directory: Path, may_be_zero: tuple[str, ...] = ()) -> Sample:
    """Every figure that was declared is there and no other, each a number above zero."""
    with measure.start(tiny(directory)) as run:
        sample = run()
    assert set(sample) == {figure.key for figure in measure.figures}
    for key, value in sample.items():
        assert math.isfinite(value), key
        assert value > 0 or (key in may_be_zero and value == 0), key
    return sample
