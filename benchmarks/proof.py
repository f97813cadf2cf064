"""What the proof at load costs: CPU seconds on one core, and a billion parameters.

A random model of Llama 3.2 1B's shape: the probe (once a model), the proof of the neutral setting
and that of one with four fields, beside one plain forward pass of as many tokens.

    python benchmarks/proof.py
    python benchmarks/proof.py --layers 4 --json proof.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from rope_eval import RopeSpec
from rope_eval.backends.hf.probe import anatomy_of
from rope_eval.backends.hf.proof import TOKENS, prove

SETTINGS = {
    "proof, neutral": "",
    "proof, four fields": "rope_theta=500,log_scale=true,dynamic_ntk=per_query,xpos=true,"
    "train_length=8192,pretrain_theta=500000",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures = {
        str(dtype).removeprefix("torch."): measure(args.layers, dtype)
        for dtype in (torch.bfloat16, torch.float32)
    }
    for dtype, found in figures.items():
        billions = found["billion_parameters"]
        print(f"{dtype}, {billions:.2f} billion parameters")
        for name, seconds in found.items():
            if name != "billion_parameters":
                print(f"  {name:24}{seconds:8.2f} s{seconds / billions:8.2f} s a billion")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(layers: int, dtype: torch.dtype) -> dict[str, float]:
    model = random_model(layers, dtype)
    ids = torch.arange(TOKENS)[None]
    forward = torch.inference_mode()(lambda: model(ids, use_cache=False))
    forward()
    found = {
        "billion_parameters": sum(x.numel() for x in model.parameters()) / 1e9,
        "forward": seconds(forward),
        "probe": seconds(lambda: anatomy_of(model)),
    }
    for name, text in SETTINGS.items():
        found[name] = seconds(lambda text=text: prove(model, RopeSpec.parse(text)))  # type: ignore[misc]
        found[f"probe and {name}"] = found["probe"] + found[name]
    return found


def random_model(layers: int, dtype: torch.dtype) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=True,
        dtype=dtype,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM._from_config(config).eval()


def seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return round(time.process_time() - started, 3)


if __name__ == "__main__":
    main()
