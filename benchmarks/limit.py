"""How near scoring comes to what the machine can do: useful operations a second, beside stock.

Useful are products with weights, the head among them, and causal attention once; the limit is the
machine's own product of two square matrices, measured before and after each text. Times are CPU
seconds, so that other programs count little; those of two threads are of both. The model is random:
one layer of Llama 3.2's proportions, and of half its width where time is short.

    python benchmarks/limit.py --threads 1                    # 16K and 64K
    python benchmarks/limit.py --threads 2 --json results/benchmarks/limit-cpu.json
    python benchmarks/limit.py --tokens 65536 --hidden 512

A file that is there keeps its other rows: those of other lengths, threads and widths.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from scorer import EVERY_KNOB, cpu_seconds

STOCK = "transformers"
METHODS = {STOCK: None, "rope-eval": "", "rope-eval, every knob": EVERY_KNOB}
SIDE, TURNS = 4096, 3  # of the matrices that are the limit


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[16384, 65536])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--hidden", type=int, default=1024, help="a multiple of 256")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(shares(args.tokens[0], args.hidden, args.repeats)))
        return
    rows: list[dict[str, Any]] = []
    print(
        f"{'tokens':>8}{'threads':>9}{'limit GFLOP/s':>15}" + "".join(f"{m:>24}" for m in METHODS)
    )
    for tokens in args.tokens:
        for threads in args.threads:
            command = [sys.executable, __file__, "--alone", "--tokens", str(tokens)]
            command += ["--hidden", str(args.hidden), "--repeats", str(args.repeats)]
            # a thread that waits for another should not count as work
            env = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
            found = json.loads(done.stdout.splitlines()[-1])
            asked = {"tokens": tokens, "threads": threads, "hidden": args.hidden}
            rows.append(asked | found | {"load": round(os.getloadavg()[0], 1)})
            if args.json:
                write(args.json, rows)
            print(
                f"{tokens:8}{threads:9}{found['limit_gflops']:15.1f}"
                + "".join(f"{found['share'][m]:24.3f}" for m in METHODS),
                flush=True,
            )


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows, and keep those of a file that are of something else."""

    def asked(row: dict[str, Any]) -> tuple[int, ...]:
        return row["hidden"], row["tokens"], row["threads"]

    kept = json.loads(path.read_bytes()) if path.exists() else []
    found = {asked(row): row for row in (*kept, *rows)}
    path.write_text(json.dumps([found[of] for of in sorted(found)], indent=1) + "\n", "utf-8")


def shape(hidden: int) -> dict[str, int]:
    return {
        "vocab_size": 8192,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": 1,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 256,
    }


def shares(tokens: int, hidden: int, repeats: int) -> dict[str, Any]:
    """Return each method's part of the limit, and the limit in GFLOP a CPU second."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rope_eval.scoring.cost import Cost

    torch.manual_seed(0)
    config = LlamaConfig(**shape(hidden), max_position_embeddings=1 << 20)
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(0, config.vocab_size, (tokens,))
    useful = Cost.of(config).flops(tokens)
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)

    def product() -> float:
        return median(cpu(lambda: left @ right) for _ in range(TURNS))

    parts: dict[str, list[float]] = {method: [] for method in METHODS}
    limits = []
    product()
    for method in METHODS:
        runner(method, model)(ids[:512])
    for _ in range(repeats):
        for method in METHODS:
            run = runner(method, model)
            before, spent, after = product(), cpu(lambda run=run: run(ids)), product()
            limits.append(2 * SIDE**3 * 2 / (before + after))
            parts[method].append(useful / spent / limits[-1])
    return {
        "limit_gflops": median(limits) / 1e9,
        "share": {method: median(some) for method, some in parts.items()},
    }


def runner(method: str, model: Any) -> Callable[[Any], object]:
    """Return what reads a text: a forward pass of transformers, or ours."""
    import torch

    from rope_eval import RopeSpec, patched, score_tokens

    rope = METHODS[method]

    def stock(ids: Any) -> None:
        with torch.inference_mode():
            model(ids[None], use_cache=False)

    def ours(ids: Any) -> None:
        with patched(model, RopeSpec.parse(rope or "")):
            score_tokens(model, ids)

    return stock if rope is None else ours


def cpu(work: Callable[[], object]) -> float:
    started = cpu_seconds()
    work()
    return cpu_seconds() - started


if __name__ == "__main__":
    main()
