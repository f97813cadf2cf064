"""How a score was asked for."""

from __future__ import annotations

from typing import Any

from rope_eval.results.conditions import conditions
from rope_eval.results.store import Run, run_key


def probe(**metadata: Any) -> str | None:
    asked = {"kind": "lm_eval"}
    run = Run(
        key=run_key(asked),
        kind="lm_eval",
        status="done",
        request=asked,
        results={},
        provenance={},
    )
    return conditions(run, {"metadata": metadata}).get("probe")


def test_a_probe_is_its_depths_facts_seed_and_filler() -> None:
    asked = {"depths": [0, 0.5], "facts": 1, "probe_seed": 3, "filler_sha256": "0123456789abcdef"}
    assert probe(**asked) == "depths 0 0.5, facts 1, seed 3, filler 01234567"
    assert probe(**asked, lengths=[64], samples=9) == probe(**asked)
    assert probe(**asked | {"depths": 0.5}) == "depths 0.5, facts 1, seed 3, filler 01234567"
    assert probe(depths=[0.5]) is None
