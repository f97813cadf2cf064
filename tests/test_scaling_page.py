"""docs/scaling.md says what was measured, and the formulas' own numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rope_eval.scoring.cost import Cost
from rope_eval.scoring.forecast import Devices, scoring
from rope_eval.scoring.machine import Machine

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "results" / "benchmarks" / "estimate-cpu.json").read_bytes())


def test_every_forecast_came_within_a_fifth() -> None:
    ratios = [row["ratio"] for rows in MEASURED["models"].values() for row in rows.values()]
    assert len(ratios) == 12
    assert all(0.8 <= ratio <= 1.2 for ratio in ratios), ratios


def test_the_table_is_what_was_measured() -> None:
    cells = r" (.+?) \|" * 3
    rows = re.findall(rf"^\| (.+?) \| (scoring|writing) (\w+) \|{cells}$", PAGE, re.M)
    said = {(model, f"{work} {length}"): numbers for model, work, length, *numbers in rows}
    expected = {
        (model, f"{work} {int(n) // 1024}K"): [
            f"{row['estimated_s']:.3g}",
            f"{row['measured_s']:.3g}",
            f"{row['ratio']:.2f}",
        ]
        for model, found in MEASURED["models"].items()
        for (work, n), row in ((name.split(), row) for name, row in found.items())
    }
    assert said == expected


def test_eight_devices_by_the_formulas() -> None:
    machine = Machine.given(4e14, 3e12, 2e11)
    eight = Cost.of_size(8_030_000_000)
    for tokens, *numbers in ((1 << 17, 6.47, 15, 2.2), (1 << 20, 304, 120, 96)):
        one = scoring(eight, tokens, machine, "bfloat16", chunk_size=8192, devices=Devices(count=8))
        assert one.seconds is not None
        found = one.flops / 1e15, one.received / 1e9, one.seconds
        assert found == pytest.approx(numbers, rel=0.01)
        assert f"{numbers[0]:g} PFLOP" in " ".join(PAGE.split())
