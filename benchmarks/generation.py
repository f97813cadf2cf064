r"""What a generated token costs under a setting, beside stock: CPU time and peak memory.

Tokens are generated greedily through the cache that `generate` makes, filled with random keys and
values of a prompt: what a token costs does not depend on them. Stock and each setting take turns,
some tokens each, on the same random model and one thread; what is printed is the median of the
ratios of their CPU time, for the machine's speed drifts. Memory is the process's peak beyond what
it holds with the model loaded, each setting in a process of its own; beside windows stands stock
with windows.

    python benchmarks/generation.py                           # 4,096 tokens, one row
    python benchmarks/generation.py --tokens 16384 --rows 4   # four rows, three left-padded
    python benchmarks/generation.py --only neutral windows --repeats 2
    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=99999999999 \
        python benchmarks/generation.py --no-memory    # where freed memory is kept
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

SETTINGS = {
    "neutral": "",
    "base": "rope_theta=500000",
    "log scale": "log_scale=true,train_length=1024",
    "per-query NTK": "dynamic_ntk=per_query,reference_length=1024",
    "per-sequence NTK": "dynamic_ntk=per_sequence,reference_length=1024",
    "xPos": "xpos=true,reference_length=1024",
    "every knob": "rope_theta=500,log_scale=true,dynamic_ntk=per_query,xpos=true,train_length=1024",
    "a base each step": "dynamic_ntk=per_sequence,ntk_formula=continuous,train_length=1024",
    "ReRoPE": "rerope_window=512",
    "Leaky ReRoPE": "leaky_rerope_window=512,leaky_rerope_factor=16",
    "Self-Extend": "self_extend_window=1024,self_extend_group=8",
    "Dual Chunk": "dual_chunk_size=2560",
    "STRING": "string_shift=1352,string_window=128",
}
WINDOWS = "windows"  # the neutral setting, on a model with a window in every second layer
STOCK = "stock"
KEPT = "MALLOC_MMAP_MAX_"  # of glibc: 0 has it keep what is freed, which stock does at every step
NONE = float("nan")
SHORT = 1024  # tokens of what is run before memory is measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*SETTINGS, WINDOWS]
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--key-heads", type=int, default=8)
    parser.add_argument("--new", type=int, default=8, help="tokens of a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--no-time", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak is not None:
        print(json.dumps(peak_mib(args)))
        return
    figures: dict[str, dict[str, float]] = {}
    print(f"{args.tokens} tokens, {args.rows} rows, load {os.getloadavg()[0]:.1f}")
    print(f"{'':20}{'CPU / stock':>12}{'stock ms':>10}{'memory / stock':>16}{'stock MiB':>11}")
    stock_mib: dict[str, float] = {}
    for name in args.only:
        figures[name] = figure = {} if args.no_time else cpu_ratio(name, args)
        if not args.no_memory:
            beside = f"{STOCK} {WINDOWS}" if name == WINDOWS else STOCK
            if beside not in stock_mib:
                stock_mib[beside] = in_process(beside, args)
            figure["stock_mib"] = stock_mib[beside]
            figure["memory_ratio"] = in_process(name, args) / stock_mib[beside]
        print(
            f"{name:20}{figure.get('cpu_ratio', NONE):12.2f}{figure.get('stock_ms', NONE):10.1f}"
            f"{figure.get('memory_ratio', NONE):16.2f}{figure.get('stock_mib', NONE):11.0f}",
            flush=True,
        )
    if args.json:
        record(args, figures)


def record(args: argparse.Namespace, figures: dict[str, dict[str, float]]) -> None:
    """Put the figures beside those of other lengths and numbers of rows."""
    held = json.loads(args.json.read_bytes()) if args.json.is_file() else {}
    rounded = {
        name: {key: round(value, 3) for key, value in figure.items()}
        for name, figure in figures.items()
    }
    key = f"{args.tokens} tokens, {args.rows} rows, {args.key_heads} key heads"
    if os.environ.get(KEPT) == "0":
        key += ", freed memory kept"
    group = held.setdefault(key, {"load": round(os.getloadavg()[0], 1), "settings": {}})
    for name, figure in rounded.items():
        group["settings"].setdefault(name, {}).update(figure)
    args.json.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


class Generation:
    """A model that has read a prompt, and goes on greedily under a setting."""

    def __init__(self, model: Any, spec: str | None, tokens: int, rows: int):
        import torch
        from transformers import DynamicCache

        from rope_eval.backends.hf.caches import keep_caches

        self.model, self.spec = model, spec
        self.cache = DynamicCache(config=model.config)
        device, dtype = model.device, model.dtype
        generator = torch.Generator(device).manual_seed(0)
        config = model.config
        for number, layer in enumerate(self.cache.layers):
            window = getattr(layer, "sliding_window", None)
            count = tokens if window is None else min(tokens, window - 1)  # that it holds after it
            shape = rows, config.num_key_value_heads, count, config.head_dim
            keys, values = (
                torch.randn(shape, generator=generator, device=device).to(dtype) for _ in range(2)
            )
            self.cache.update(keys, values, number)
            if window is not None:
                layer.cumulative_length = tokens
        if spec is not None:
            keep_caches([self.cache])
        self.token = torch.ones(rows, 1, dtype=torch.int64, device=device)
        self.mask = torch.ones(rows, tokens, dtype=torch.int64, device=device)
        for row in range(1, rows):
            self.mask[row, : row * tokens // 16] = 0

    def entered(self) -> Any:
        """Have the setting on the model for a while."""
        from rope_eval import RopeSpec, patched

        stack = ExitStack()
        if self.spec is not None:
            stack.enter_context(patched(self.model, RopeSpec.parse(self.spec)))
        return stack

    def run(self, count: int) -> None:
        """Generate so many tokens."""
        import torch

        from rope_eval.backends.hf.compat import cache_argument

        with torch.inference_mode():
            for _ in range(count):
                self.mask = torch.cat((self.mask, torch.ones_like(self.mask[:, :1])), dim=1)
                logits = self.model(
                    self.token,
                    attention_mask=self.mask,
                    position_ids=self.mask.sum(-1, keepdim=True) - 1,
                    **{cache_argument(self.model): self.cache},
                    use_cache=True,
                ).logits
                self.token = logits[:, -1:].argmax(-1)


def cpu_ratio(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Return the median of the turns' ratios, and stock's milliseconds a token."""
    import torch

    torch.set_num_threads(1)
    model = random_model(args, windows=name == WINDOWS)
    stock = Generation(model, None, args.tokens, args.rows)
    other = Generation(model, SETTINGS.get(name, ""), args.tokens, args.rows)
    ratios, spent = [], []
    for turn in range(args.repeats + 1):
        times = {}
        for some in (stock, other):
            with some.entered():
                some.run(1)  # what a new setting on the model costs once
                start = time.process_time()
                some.run(args.new)
                times[some] = time.process_time() - start
        if turn:
            ratios.append(times[other] / times[stock])
            spent.append(times[stock] / args.new * 1000)
    return {"cpu_ratio": median(ratios), "stock_ms": median(spent)}


def in_process(name: str, args: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--peak", name, "--new", str(args.new)]
    command += ["--tokens", str(args.tokens), "--rows", str(args.rows)]
    command += ["--key-heads", str(args.key_heads)]
    freed = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    freed["MALLOC_MMAP_THRESHOLD_"] = "65536"  # what is let go of is given back
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=freed)
    return float(done.stdout.splitlines()[-1])


def peak_mib(args: argparse.Namespace) -> float:
    """Return the peak of this process beyond what the model takes, after a short text."""
    import torch

    torch.set_num_threads(1)
    name = args.peak
    model = random_model(args, windows=name.endswith(WINDOWS))
    spec = None if name.startswith(STOCK) else SETTINGS.get(name, "")
    short = Generation(model, spec, SHORT, 1)
    with short.entered():
        short.run(2)
    del short
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status_mib("VmRSS")
    generation = Generation(model, spec, args.tokens, args.rows)
    with generation.entered():
        generation.run(args.new)
    return status_mib("VmHWM") - before


def status_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def random_model(args: argparse.Namespace, *, windows: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

    shape: dict[str, Any] = {
        "vocab_size": 32000,
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": args.key_heads,
        "head_dim": 64,
        "max_position_embeddings": 1 << 20,
    }
    torch.manual_seed(0)
    if not windows:
        return AutoModelForCausalLM.from_config(LlamaConfig(**shape)).eval()
    kinds = ["full_attention", "sliding_attention"] * 2
    config = Qwen2Config(**shape, use_sliding_window=True, sliding_window=1024, layer_types=kinds)
    return AutoModelForCausalLM.from_config(config).eval()


if __name__ == "__main__":
    main()
