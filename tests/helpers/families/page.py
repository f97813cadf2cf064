"""docs/models.md from what `benchmarks/families.py` measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers.families.table import NOT_BUILT

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results" / "benchmarks" / "families-cpu.json"
PAGE = ROOT / "docs" / "models.md"
KINDS = ("exact", "refused", "wrong", "crashed")

HEAD = """# Models

Written by `python benchmarks/families.py --page` from `results/benchmarks/families-cpu.json`.

There is no list of supported models. What a causal language model does with positions is learnt
from the model itself when it is loaded ([mechanism](mechanism.md)); one that cannot be understood
is refused with the reason. What came of it for {configurations} configurations of {families}
families, each a tiny random model with random norm weights and sharp attention: transformers
{transformers}, torch {torch}, float32.

"Exact" means: in a forward pass, in batches padded on either side, in pieces through a cache, in
generation with and without padding, and in the scorer in chunks of 7, 32 and 4096 tokens, no
log-probability is further than 1e-4 nats from stock transformers; under the neutral setting, and
with another base in every layer against a config that has that base (and, where a config has a base
for each type of layer, with another base in the layers of full attention alone). Another base moves
each of these models' log-probabilities by a nat and more. Stock means a call of the same kind, or
the forward pass of each row alone where a family's own call gives something else. And the proof at
load holds, its neutral difference below 1e-4 nats too.

{counts}
"""
COLUMNS = "| model_type | as it is | nats | its other configurations |\n| --- | --- | --- | --- |"


def load() -> dict[str, Any]:
    """Return what was measured last."""
    measured: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return measured


def page(measured: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    cases: dict[str, dict[str, Any]] = measured["cases"]
    families: dict[str, dict[str, dict[str, Any]]] = {}
    for case in cases.values():
        families.setdefault(case["family"], {})[case["variant"]] = case
    head = HEAD.format(
        configurations=len(cases),
        families=len(families),
        transformers=measured["transformers"],
        torch=measured["torch"],
        counts=_counts(cases.values(), families),
    )
    parts = [head, COLUMNS, *(_row(name, families[name]) for name in sorted(families))]
    parts += [
        "",
        "## What is not exact, and why",
        "",
        "| configuration | reason |",
        "| --- | --- |",
    ]
    parts += [
        f"| {name} | {_why(case)} |"
        for name, case in sorted(cases.items())
        if case["kind"] != "exact"
    ]
    parts += [
        "",
        "Where stock's own call fails, or differs from its forward pass, and ours is neither:",
    ]
    parts += ["", *_left_out(cases)]
    parts += ["", "Not built here:", ""]
    parts += [f"- {name}: {why}" for name, why in NOT_BUILT.items()]
    return "\n".join(parts) + "\n"


def _counts(
    cases: Iterable[Mapping[str, Any]], families: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> str:
    each = Counter(case["kind"] for case in cases)
    plain = Counter(variants[""]["kind"] for variants in families.values())
    return (
        "| | exact | refused | wrong | crashed |\n| --- | --- | --- | --- | --- |\n"
        + f"| families | {' | '.join(str(plain[kind]) for kind in KINDS)} |\n"
        + f"| configurations | {' | '.join(str(each[kind]) for kind in KINDS)} |"
    )


def _row(name: str, variants: Mapping[str, Mapping[str, Any]]) -> str:
    plain = variants[""]
    worst = f"{plain['worst']:.0e}" if plain["kind"] == "exact" else ""
    others = [
        f"{kind}: {'; '.join(some)}"
        for kind in KINDS
        if (some := [v for v, case in variants.items() if v and case["kind"] == kind])
    ]
    return f"| {name} | {plain['kind']} | {worst} | {'. '.join(others)} |"


def _left_out(cases: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, case in sorted(cases.items()):
        if case["kind"] == "exact" and case["left_out"]:
            ways = dict.fromkeys(where.split(", ", 1)[1] for where in case["left_out"])
            yield f"- {name}: {', '.join(ways)}"


def _why(case: Mapping[str, Any]) -> str:
    """Return one line on a case that is not exact."""
    said = f"{case['worst']:.1e} nats" if case["kind"] == "wrong" else case["reason"]
    where = "" if case["where"] == "neutral, proof" else f" ({case['where']})"
    return f"{case['kind']}{where}: {said}".replace("|", "\\|").replace("\n", " ")
