"""What `rope-eval estimate` says beside what is measured: scoring and writing, two models.

The machine is measured, a forecast is made of each text, and then the text is scored, and tokens
are written after it: CPU seconds of one thread, the least of five (of a long text, of one). The
models are random, and of different shapes.

    python benchmarks/estimate.py
    python benchmarks/estimate.py --tokens 1024,4096 --json results/benchmarks/estimate-cpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.caches import keep_caches
from rope_eval.backends.hf.compat import cache_argument
from rope_eval.lengths import parse_lengths
from rope_eval.scoring import forecast
from rope_eval.scoring.cost import Cost, usual_chunk
from rope_eval.scoring.machine import measured

SHAPES: dict[str, dict[str, int]] = {
    "29M, own keys": {
        "vocab_size": 32000,
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
    },
    "69M, shared keys": {
        "vocab_size": 8192,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 4,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
    },
}
STEPS, WARM, TURNS = 8, 2, 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", default="1024,4096,16384")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    lengths = parse_lengths(args.tokens)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures: dict[str, Any] = {}
    print(f"{'':18}{'':10}{'tokens':>8}{'estimated':>11}{'measured':>10}{'ratio':>7}")
    for name, shape in SHAPES.items():
        config = LlamaConfig(**shape, max_position_embeddings=1 << 20)
        figures[name] = of_model(name, LlamaForCausalLM(config).eval(), lengths)
    if args.json:
        about = {"threads": 1, "torch": torch.__version__, "load": os.getloadavg()[0]}
        args.json.write_text(
            json.dumps({"about": about, "models": figures}, indent=2) + "\n", encoding="utf-8"
        )


def of_model(name: str, model: PreTrainedModel, lengths: tuple[int, ...]) -> dict[str, Any]:
    """Measure the machine and a model's texts by turns, and print both."""
    cost = Cost.of(model.config)
    rows: dict[str, Any] = {}
    with patched(model, RopeSpec()):
        for n in lengths:
            for work, take in (("scoring", scored), ("writing", written)):
                machine = measured(cost, "float32", device="cpu")
                said = (
                    forecast.scoring(cost, n, machine, "float32", chunk_size=usual_chunk("cpu"))
                    if work == "scoring"
                    else forecast.generation(cost, n, STEPS, machine, "float32")
                )
                rows[f"{work} {n}"] = row(name, work, n, said, take(model, n))
                rows[f"{work} {n}"]["machine"] = asdict(machine)
    return rows


def row(name: str, work: str, n: int, said: forecast.Forecast, took: float) -> dict[str, Any]:
    assert said.seconds is not None
    ratio = said.seconds / took
    print(f"{name:18}{work:10}{n:8}{said.seconds:10.3f}s{took:9.3f}s{ratio:7.2f}", flush=True)
    return {"estimated_s": said.seconds, "measured_s": took, "ratio": ratio}


def scored(model: PreTrainedModel, tokens: int) -> float:
    """Return the CPU seconds of scoring a text."""
    ids = torch.randint(0, model.config.vocab_size, (tokens,))
    score_tokens(model, ids[:512])
    return min(seconds(lambda: score_tokens(model, ids)) for _ in range(3 if tokens < 8192 else 1))


def written(model: PreTrainedModel, prompt: int) -> float:
    """Return the CPU seconds of `STEPS` tokens after a prompt, whose keys and values are random."""
    config = model.config
    with torch.inference_mode():
        cache = DynamicCache(config=config)
        shape = (1, config.num_key_value_heads, prompt, config.head_dim)
        for layer in range(config.num_hidden_layers):
            cache.update(torch.randn(shape), torch.randn(shape), layer)
        keep_caches([cache])
        token = torch.zeros(1, 1, dtype=torch.int64)

        def steps(count: int) -> None:
            for _ in range(count):
                model(token, **{cache_argument(model): cache}, use_cache=True)

        steps(WARM)
        return min(seconds(lambda: steps(STEPS)) for _ in range(TURNS))


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
