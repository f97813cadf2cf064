"""What a GPU does: Llama 3 8B's shape, random weights in bfloat16, scored, written on, compared.

Scoring: seconds, tokens a second, peak memory, and the part of what the card's own product of two
matrices and its fastest causal attention would need for the same operations; plain transformers
beside it until it runs out of memory; settings beside a static base. Generation: a token through a
cache beside stock's. Types: bfloat16 beside float32, on a model of a few layers.

Times are of a synchronised clock on a GPU, CPU time on a CPU, where only the script is tried. The
figures go into results/benchmarks/gpu-CARD.json, after each measurement; those of later runs beside
those of earlier ones.

    python benchmarks/gpu.py                                  # 32K to 1M tokens, all parts
    python benchmarks/gpu.py --tokens 32k,128k                # a few minutes
    python benchmarks/gpu.py --tokens 1m --parts scoring
    python benchmarks/gpu.py --device cpu --layers 2 --hidden 64 --tokens 512,1024
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from generation import SETTINGS, Generation
from scorer import PeakMemory
from transformers import AutoModelForCausalLM, LlamaConfig

from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.kernels import Scores, causal_attention
from rope_eval.lengths import parse_lengths
from rope_eval.scoring.cost import Cost

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"
PARTS = ("scoring", "generation", "types")
STOCK, STATIC = "transformers", "base"
ALWAYS = (STATIC, "every knob")  # of the settings, at every length; the others up to `EACH`
KNOBS = tuple(list(SETTINGS)[: list(SETTINGS).index("every knob")])
EACH, CACHED = 1 << 17, 1 << 17  # tokens: of single knobs, of a prompt that is gone on with
WRITTEN, TURNS = 16, 5  # tokens of a turn
SLICE = 4, 8192  # layers and tokens that are scored in both types
SIDE = {"cuda": 8192, "cpu": 512}  # of the matrices that are the ceiling
ATTENDED = {"cuda": 32768, "cpu": 1024}  # tokens of the attention that is


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=parse_lengths, default="32k,128k,512k,1m")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--place", choices=("device", "host", "disk"), default="device")
    parser.add_argument("--repeats", type=int, default=1, help="of a text, of which the median")
    parser.add_argument("--json", type=Path, help="instead of results/benchmarks/gpu-CARD.json")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU that CUDA knows is here: --device cpu tries the script, in little")
    Bench(args).run()


class Bench:
    """One card, one shape; what is measured is written at once."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.device = args, torch.device(args.device)
        self.config = shape(args.layers, args.hidden, args.vocabulary)
        self.cost = Cost.of(self.config)
        self.card = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
        named = RESULTS / f"gpu-{re.sub(r'[^a-z0-9]+', '-', self.card.lower())}.json"
        self.path = args.json or (named if args.device == "cuda" else None)
        self.about = {
            "card": self.card,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "parameters": self.cost.parameters,
            "layers": args.layers,
            "hidden": args.hidden,
            "vocabulary": args.vocabulary,
        }
        self.figures: dict[str, Any] = {"about": self.about}
        if self.path is not None and self.path.is_file():
            self.figures = json.loads(self.path.read_bytes())
            if self.figures["about"] != self.about:
                raise SystemExit(
                    f"{self.path} is of {self.figures['about']}, and this run of {self.about}: "
                    "name another file with --json"
                )

    def run(self) -> None:
        """Measure the parts that are asked for."""
        self.keep("ceiling", "flops", self.ceiling())
        if "types" in self.args.parts:
            for name in ALWAYS:
                self.keep("types", name, self.types(SETTINGS[name]))
        model = self.model(self.config)
        if "scoring" in self.args.parts:
            self.scoring(model)
        if "generation" in self.args.parts:
            self.generation(model)

    def keep(self, part: str, key: str, figure: dict[str, Any]) -> None:
        """Print a measurement, and write it beside the others."""
        self.figures.setdefault(part, {})[key] = figure
        print(f"{part} {key}: " + ", ".join(f"{k} {_short(v)}" for k, v in figure.items()))
        if self.path is not None:
            text = json.dumps(self.figures, indent=1)
            self.path.write_text(text + "\n", encoding="utf-8")

    def model(self, config: LlamaConfig) -> Any:
        """Return a random model, made where it computes."""
        torch.manual_seed(0)
        with self.device:
            return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()

    def text(self, tokens: int) -> torch.Tensor:
        """Return random tokens, the same each time."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, self.args.vocabulary, (tokens,), generator=generator)

    def ceiling(self) -> dict[str, float]:
        """Return operations a second of a square product, and of the fastest causal attention."""
        like: dict[str, Any] = {"device": self.device, "dtype": torch.bfloat16}
        n, long = SIDE[self.args.device], ATTENDED[self.args.device]
        left, right = torch.randn(n, n, **like), torch.randn(n, n, **like)
        config = self.config
        query, key, value = (
            torch.randn(1, heads, long, config.head_dim, **like)
            for heads in (config.num_attention_heads, *[config.num_key_value_heads] * 2)
        )
        group = config.num_attention_heads // config.num_key_value_heads
        keys, values = (x.repeat_interleave(group, 1) for x in (key, value))
        ways: dict[str, Callable[[], object]] = {
            "torch": lambda: F.scaled_dot_product_attention(query, keys, values, is_causal=True),
            "ours": lambda: causal_attention(
                query, key, value, Scores(scale=config.head_dim**-0.5)
            ),
        }
        pairs = self.cost.attention_flops(long) / self.cost.layers
        with torch.inference_mode():
            product = min(self.seconds(lambda: left @ right) for _ in range(TURNS))
            found = {
                way: pairs / min(self.seconds(work) for _ in range(TURNS))
                for way, work in ways.items()
            }
        attention = {f"attention_{way}": rate for way, rate in found.items()}
        return {"products": 2 * n**3 / product, "attention": max(found.values()), **attention}

    def scoring(self, model: Any) -> None:
        """Score texts under each setting, and pass them through plain transformers."""
        dead = False
        for tokens in self.args.tokens:
            ids = self.text(tokens)
            if not dead:
                figure = self.measured(lambda ids=ids: forward(model, ids), tokens)
                self.keep("scoring", f"{tokens} {STOCK}", figure)
                dead = "out_of_memory" in figure
            for name in dict.fromkeys((*ALWAYS, *(KNOBS if tokens <= EACH else ()))):
                with patched(model, RopeSpec.parse(SETTINGS[name])):
                    score_tokens(model, ids[:512])
                    figure = self.measured(
                        lambda ids=ids: score_tokens(model, ids, place=self.args.place), tokens
                    )
                static = self.figures["scoring"].get(f"{tokens} {STATIC}", figure)
                if "seconds" in figure and "seconds" in static:
                    figure["of_static"] = figure["seconds"] / static["seconds"]
                self.keep("scoring", f"{tokens} {name}", figure)

    def measured(self, work: Callable[[], Any], tokens: int) -> dict[str, Any]:
        """Return a text's seconds, memory and part of the ceiling; or that memory ran out."""
        spent, scores = [], None
        self.free()
        before = PeakMemory() if self.args.device == "cpu" else nullcontext()
        try:
            with before:
                for _ in range(self.args.repeats):
                    started = self.now()
                    scores = work()
                    spent.append(self.now() - started)
        except torch.OutOfMemoryError:
            return {"tokens": tokens, "out_of_memory": True}
        peak = before.gb * 1e9 if isinstance(before, PeakMemory) else _allocated()
        seconds, rates = median(spent), self.figures["ceiling"]["flops"]
        least = self.cost.product_flops(tokens) / rates["products"]
        least += self.cost.attention_flops(tokens) / rates["attention"]
        figure = {
            "tokens": tokens,
            "seconds": seconds,
            "tokens_a_second": tokens / seconds,
            "peak_gib": peak / 2**30,
            "of_ceiling": least / seconds,
        }
        return figure | ({} if scores is None else {"mean_nll": float(scores.nll.mean())})

    def generation(self, model: Any) -> None:
        """Write tokens after a prompt of random keys and values: stock, and under settings."""
        for tokens in (n for n in self.args.tokens if n <= CACHED):
            stock = self.token(model, None, tokens)
            self.keep("generation", f"{tokens} {STOCK}", stock)
            for name in ("neutral", *ALWAYS):
                figure = self.token(model, SETTINGS[name], tokens)
                if "ms" in figure and "ms" in stock:
                    figure["of_stock"] = figure["ms"] / stock["ms"]
                self.keep("generation", f"{tokens} {name}", figure)

    def token(self, model: Any, spec: str | None, tokens: int) -> dict[str, Any]:
        """Return the milliseconds of a token, the median of turns, and the card's peak."""
        self.free()
        try:
            some = Generation(model, spec, tokens, 1)
            with some.entered():
                some.run(2)
                turns = [self.seconds(lambda: some.run(WRITTEN)) for _ in range(TURNS)]
        except torch.OutOfMemoryError:
            return {"tokens": tokens, "out_of_memory": True}
        figure = {"tokens": tokens, "ms": median(turns) / WRITTEN * 1000}
        return figure | ({"peak_gib": _allocated() / 2**30} if self.args.device == "cuda" else {})

    def types(self, spec: str) -> dict[str, Any]:
        """Score the same weights in bfloat16 and in float32."""
        layers, tokens = min(SLICE[0], self.args.layers), min(SLICE[1], self.args.tokens[0])
        model = self.model(shape(layers, self.args.hidden, self.args.vocabulary))
        ids, nll = self.text(tokens), []
        for dtype in (torch.bfloat16, torch.float32):
            model.to(dtype)
            with patched(model, RopeSpec.parse(spec)):
                nll.append(score_tokens(model, ids).nll.astype("float64"))
        apart = abs(nll[0] - nll[1])
        return {
            "layers": layers,
            "tokens": tokens,
            "mean_nll_bfloat16": float(nll[0].mean()),
            "mean_nll_float32": float(nll[1].mean()),
            "mean_difference": float(apart.mean()),
            "largest_difference": float(apart.max()),
        }

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the seconds of a second call."""
        work()
        started = self.now()
        work()
        return self.now() - started

    def now(self) -> float:
        """Return the time, once the card has done what it was given; of a CPU its own."""
        if self.args.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def free(self) -> None:
        """Give back what is not held, and have the peak begin anew."""
        gc.collect()
        if self.args.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def shape(layers: int, hidden: int, vocabulary: int) -> LlamaConfig:
    """Return Llama 3 8B's proportions: heads of 128, or 16 in little; four share keys; 3.5 D."""
    head_dim = 128 if hidden >= 512 else 16
    heads = hidden // head_dim
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 7 // 2,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4),
        head_dim=head_dim,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
        max_position_embeddings=1 << 21,
    )


def forward(model: Any, ids: torch.Tensor) -> None:
    """Pass a text through plain transformers, all its logits held, as scoring by it has them."""
    with torch.inference_mode():
        model(ids[None].to(model.device), use_cache=False)


def _allocated() -> int:
    return torch.cuda.max_memory_allocated()


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


if __name__ == "__main__":
    main()
