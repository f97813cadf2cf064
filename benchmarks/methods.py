"""What each position method costs beside the neutral setting, in scoring and in generation.

``python benchmarks/methods.py`` scores a document of random tokens and takes steps of cached
generation with a small random Llama on one thread of a CPU, each call after one with the neutral
setting, and writes the middle ratio of their processor times to
``results/benchmarks/methods-cpu.json``; ``python -m rope_eval.rope.document`` puts them on a page.
A model whose matrices are larger beside its attention pays less.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig, PreTrainedModel

from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.compat import cache_argument

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks" / "methods-cpu.json"
TRAIN_LENGTH, PAIRS, STEPS = 2048, 32, 32
WARM = 2  # steps that make tables
SHAPE: dict[str, Any] = {
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 2 * PAIRS,
    "max_position_embeddings": TRAIN_LENGTH,
}
ONES, GROWING = ":".join("1" * PAIRS), ":".join(str(1 + n) for n in range(PAIRS))
SETTINGS: dict[str, tuple[str, ...]] = {  # of each method, at lengths that it is used with
    "base": ("rope_theta=500000",),
    "position interpolation": ("linear_factor=4",),
    "fixed NTK": ("ntk_alpha=4",),
    "LongRoPE": (f"longrope_factors={ONES}/{GROWING},longrope_ratio=4",),
    "NTK-by-parts": ("ntk_parts_factor=4",),
    "YaRN": ("yarn_factor=4", "dynamic_yarn=octave"),
    "frequencies": (f"frequencies={ONES}",),
    "llama3": ("llama3_factor=8",),
    "log-scaled attention": ("log_scale=true",),
    "dynamic NTK": ("dynamic_ntk=per_query", "dynamic_ntk=per_sequence"),
    "xPos": ("xpos=true",),
    "clip, drop": ("beyond_critical=clip", "beyond_critical=drop"),
    "ReRoPE": ("rerope_window=512",),
    "Leaky ReRoPE": ("leaky_rerope_window=512,leaky_rerope_factor=16",),
    "Self-Extend": ("self_extend_window=1024,self_extend_group=8",),
    "Dual Chunk Attention": ("dual_chunk_size=1280",),
    "STRING": ("string_shift=676,string_window=128",),
    "layers without rotation": ("nope_every=2",),
    "DroPE": ("drope=true",),
    "HardClip, CoPE": ("hard_clip=10", "cope=10"),
    "attention factor": ("attention_factor=1.1",),
    "p-RoPE": ("rotated_share=0.75",),
    "scalable softmax": ("scalable_softmax=0.1",),
    "temperature": ("attn_temperature=llama4,floor_scale=1024",),
    "Resonance": ("resonance=true",),
}


def main() -> None:
    """Measure every method, or those named, and write what comes of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE)).eval()
    ids = torch.randint(SHAPE["vocab_size"], (given.tokens,))
    measured = Measured(model, ids, given.repeats)
    about = {
        "tokens": given.tokens,
        "repeats": given.repeats,
        "shape": SHAPE,
        "threads": 1,
        "processor": platform.machine(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    for name in given.only:
        found = {text: measured.ratios(RopeSpec.parse(text)) for text in SETTINGS[name]}
        print(name, *found.values(), flush=True)
        _write(about, name, found)


def _write(about: dict[str, Any], name: str, found: dict[str, dict[str, float]]) -> None:
    """Put a method's ratios beside those that were measured in the same way."""
    written = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    methods = written["methods"] if written.get("about") == about else {}
    methods = methods | {name: found}
    methods = {some: methods[some] for some in SETTINGS if some in methods}
    text = json.dumps({"about": about, "methods": methods}, indent=1)
    RESULTS.write_text(f"{text}\n", encoding="utf-8")


class Measured:
    """A model and a document, and what settings cost with them."""

    def __init__(self, model: PreTrainedModel, ids: torch.Tensor, repeats: int):
        self.model, self.ids, self.repeats = model, ids, repeats
        self.cache = DynamicCache()
        with patched(model, RopeSpec()):
            self._step(self.cache, ids[: len(ids) - STEPS])

    def ratios(self, spec: RopeSpec) -> dict[str, float]:
        """Return the time of scoring and of a step of generation over that of the neutral."""
        neutral, asked = patched(self.model, RopeSpec()), patched(self.model, spec)
        with neutral, asked:
            caches = {setting: copy.deepcopy(self.cache) for setting in (neutral, asked)}
            steps = iter(self.ids[-STEPS:, None].repeat_interleave(2, 0))
            return {
                "scoring": _ratio(
                    neutral, asked, self.repeats, lambda _: score_tokens(self.model, self.ids)
                ),
                "generation": _ratio(
                    neutral, asked, STEPS, lambda of: self._step(caches[of], next(steps)), WARM
                ),
            }

    def _step(self, cache: DynamicCache, tokens: torch.Tensor) -> None:
        held = {cache_argument(self.model): cache}
        self.model(tokens[None], **held, use_cache=True, logits_to_keep=1)


def _ratio(
    neutral: patched, asked: patched, repeats: int, call: Callable[[patched], object], warm: int = 0
) -> float:
    """Return the middle one of the ratios of a call's time to that of the call just before it."""
    ratios = []
    for _ in range(repeats):
        taken = []
        for setting in (neutral, asked):
            with setting.in_front():
                start = time.process_time()
                call(setting)
                taken.append(time.process_time() - start)
        ratios.append(taken[1] / taken[0])
    return round(median(ratios[warm:]), 3)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
