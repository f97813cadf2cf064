"""Every family and configuration under our settings against stock transformers: exact or refused.

Tiny random models (`tests/helpers/families/table.py`), every way a row is computed
(`tests/helpers/families/compare.py`). Exits 1 where one is wrong or crashes.

    python benchmarks/families.py                          # all of them, three minutes on one core
    python benchmarks/families.py gemma2 "llama: yarn"     # some families or configurations
    python benchmarks/families.py --json results/benchmarks/families-cpu.json
    python benchmarks/families.py --page > docs/models.md  # from what was measured last
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.families.build import CASES
from helpers.families.page import load, page


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="families or configurations; all without any")
    parser.add_argument("--ways", action="store_true", help="also print every way's difference")
    parser.add_argument("--json", type=Path, help="also write what was found into this file")
    parser.add_argument("--page", action="store_true", help="print docs/models.md and stop")
    args = parser.parse_args()
    if args.page:
        print(page(load()), end="")
        return
    cases = measure(args.names, ways=args.ways)
    counts = Counter(case["kind"] for case in cases.values())
    print(", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
    if args.json:
        if args.names and args.json.is_file():  # the others stay as they were
            cases = json.loads(args.json.read_bytes())["cases"] | cases
        cases = {case.name: cases[case.name] for case in CASES if case.name in cases}
        facts = {name: version(name) for name in ("transformers", "torch")}
        args.json.write_text(json.dumps(facts | {"cases": cases}, indent=1) + "\n", "utf-8")
    sys.exit(bool(counts["wrong"] + counts["crashed"]))


def measure(names: list[str], *, ways: bool) -> dict[str, dict[str, Any]]:
    """Return what became of each case, printing it as it comes."""
    import torch
    import transformers

    from helpers.families.compare import compare

    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # such small matrices are slower on more
    chosen = [c for c in CASES if not names or c.name in names or c.family in names]
    found: dict[str, dict[str, Any]] = {}
    for case in chosen:
        outcome = compare(case)
        print(
            f"{case.name:44} {outcome.kind:8}{outcome.worst:9.1e}{outcome.seconds:6.1f} s  "
            f"{outcome.where}{': ' + outcome.reason if outcome.reason else ''}",
            flush=True,
        )
        for way, difference in outcome.differences.items() if ways else ():
            print(f"    {way:50}{difference:9.1e}")
        found[case.name] = {
            "family": case.family,
            "variant": case.variant,
            "kind": outcome.kind,
            "worst": float(f"{outcome.worst:.1e}"),
            "where": outcome.where,
            "reason": outcome.reason,
            "left_out": outcome.left_out,
        }
    return found


if __name__ == "__main__":
    main()
