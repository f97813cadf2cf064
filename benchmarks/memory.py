"""Memory that scoring a long document holds beyond the weights, and what weights in files cost.

Each way of scoring runs in a process of its own, as in `scorer.py`. Weights in files are compared
with weights in memory in one process, in turn, by CPU time: the files are cached.

    python benchmarks/memory.py --json results/benchmarks/memory-cpu.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from scorer import EVERY_KNOB, PeakMemory, cpu_seconds, random_model, resident_gb, scorer

BUDGET = "rope-eval, every knob, hidden states on disk, chunks of 256"
METHODS = ("rope-eval", "rope-eval, every knob", BUDGET, "lm-eval hf")
VOCABULARY = 32000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--offload-tokens", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3, help="of weights in files and in memory")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.method:
        print(json.dumps(held(args.method, args.tokens)))
        return
    figures: dict[str, Any] = {"offload": offloaded(args.offload_tokens, args.repeats)}
    print(json.dumps(figures["offload"]), flush=True)
    memory = {}
    for method in METHODS:
        command = [sys.executable, __file__, "--method", method, "--tokens", str(args.tokens)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        memory[method] = json.loads(done.stdout.splitlines()[-1])
        print(method, memory[method], flush=True)
    hf = memory["lm-eval hf"]["peak_mib"]
    for of in memory.values():
        of["of_hf"] = round(of["peak_mib"] / hf, 4)
    figures |= {"tokens": args.tokens, "vocabulary": VOCABULARY, "memory": memory}
    for method, of in memory.items():
        print(f"{method:62}{of['peak_mib']:8} MiB {of['of_hf']:8.3f} of hf")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def held(method: str, tokens: int) -> dict[str, Any]:
    """Return the peak beyond the model that is loaded and warm, and what a plan foresees."""
    import torch

    torch.set_num_threads(1)
    model, tokenizer = random_model(VOCABULARY)
    ids = torch.randint(0, VOCABULARY, (tokens,), generator=torch.Generator().manual_seed(0))
    score = _planned(model) if method == BUDGET else scorer(method, model, tokenizer)
    score(ids[:256])
    before = resident_gb()
    with PeakMemory() as peak:
        nll = score(ids)
    figures = {"peak_mib": round((peak.gb - before) * 1e9 / 2**20), "mean_nll": nll / (tokens - 1)}
    return figures | (
        {} if method == "lm-eval hf" else {"planned_mib": _foreseen(model, method, tokens)}
    )


def _planned(model: Any) -> Any:
    from rope_eval import RopeSpec, patched, score_tokens

    def score(ids: Any) -> float:
        with patched(model, RopeSpec.parse(EVERY_KNOB)):
            scores = score_tokens(model, ids, chunk_size=256, place="disk")
            return float(scores.nll.sum(dtype="float64"))

    return score


def _foreseen(model: Any, method: str, tokens: int) -> int:
    from rope_eval import RopeSpec
    from rope_eval.scoring.cost import Cost
    from rope_eval.scoring.memory import Sizes

    rope = RopeSpec() if method == "rope-eval" else RopeSpec.parse(EVERY_KNOB)
    sizes = Sizes.of(Cost.of(model.config), tokens, "float32", rope, weights=0)
    chunk = 256 if method == BUDGET else 2048
    return sizes.held(chunk, hidden=method != BUDGET) >> 20


def offloaded(tokens: int, repeats: int) -> dict[str, Any]:
    """Return CPU seconds with weights in memory and in files, and whether the scores are equal."""
    import torch

    from rope_eval import RopeSpec, patched, score_tokens
    from rope_eval.backends.hf.loading import load_model

    torch.set_num_threads(1)
    ids = torch.randint(0, VOCABULARY, (tokens,), generator=torch.Generator().manual_seed(0))
    with TemporaryDirectory() as folder:
        random_model(VOCABULARY)[0].save_pretrained(folder, max_shard_size="20MB")
        ways = {how: load_model(folder, offload=how == "files") for how in ("memory", "files")}
        spent: dict[str, list[float]] = {how: [] for how in ways}
        nll = {}
        for _ in range(repeats + 1):
            for how, model in ways.items():
                with patched(model, RopeSpec()):
                    started = cpu_seconds()
                    nll[how] = score_tokens(model, ids).nll
                    spent[how].append(cpu_seconds() - started)
    seconds = {how: median(some[1:]) for how, some in spent.items()}  # the first warms up
    return {
        "tokens": tokens,
        "cpu_s": seconds,
        "ratio": round(seconds["files"] / seconds["memory"], 3),
        "bit_equal": bool((nll["files"] == nll["memory"]).all()),
    }


if __name__ == "__main__":
    main()
