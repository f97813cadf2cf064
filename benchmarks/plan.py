"""A plan against a shell loop of `rope-eval ppl`: the same 12 settings, CPU time of each.

Both are processes of the command line, and write into folders of their own; their results are
compared. Prints the ratio: absolute times mean nothing on a shared CPU.

    python benchmarks/plan.py
    python benchmarks/plan.py --docs 1 --json results/benchmarks/plan-cpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from rope_eval.paths import asset
from rope_eval.plans.plan import Plan
from rope_eval.results.store import Store

PLAN = """\
loading: {{device: cpu}}
models: [{model}]
settings:
  - grid:
      rope_theta: [500, 1000, 10000, 100000, 1000000, 10000000]
      log_scale: [false, true]
    pretrain_theta: 10000
    train_length: 128
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [64, 256], docs: {docs}}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--docs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(Path(folder), args.docs)
    print(json.dumps(figures, indent=2))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def compare(folder: Path, docs: int) -> dict[str, float]:
    """Return the CPU time of the loop and of the plan."""
    model = str(asset("model_configs") / "lab" / "base-20")
    file = folder / "plan.yaml"
    file.write_text(PLAN.format(model=model, docs=docs))
    cells = Plan.read(file).cells
    planned = seconds_of("run", str(file), "--results", str(folder / "plan"))
    looped = sum(
        seconds_of(
            *("ppl", "--model", model, "--rope", str(cell.setting.rope), "--device", "cpu"),
            *("--books", "builtin-chapters", "--lengths", "64,256", "--docs", str(docs)),
            *("--results", str(folder / "loop")),
        )
        for cell in cells
    )
    same = [{run.key: run.results for run in Store(folder / n).runs()} for n in ("plan", "loop")]
    if same[0] != same[1] or len(same[0]) != len(cells):
        sys.exit("the plan and the loop have other results")
    return {
        "settings": len(cells),
        "documents": docs,
        "loop_cpu_s": looped,
        "plan_cpu_s": planned,
        "loop_over_plan": looped / planned,
    }


def seconds_of(*words: str) -> float:
    """Return the CPU time of a command, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "rope_eval", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
