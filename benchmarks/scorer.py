"""Scoring a long document: ours, lm-eval's `hf`, and a plain forward, side by side.

Each runs in a process of its own, on the same random model and the same tokens; peak memory is what
the process held beyond its size with the model loaded and warmed up. Prints ratios: absolute times
mean nothing on a shared CPU.

    python benchmarks/scorer.py                    # 16,384 tokens, vocabulary 32,000
    python benchmarks/scorer.py --tokens 4096 --repeats 1
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

METHODS = ("forward", "lm-eval hf", "rope-eval", "rope-eval, every knob")
EVERY_KNOB = "rope_theta=500,log_scale=true,dynamic_ntk=per_query,xpos=true,train_length=4096"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.method:
        print(json.dumps(measure(args.method, args.tokens, args.vocabulary)))
        return
    runs: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for _ in range(args.repeats):
        for method in METHODS:  # in turn, so that a drift of the machine's speed hits all alike
            command = [sys.executable, __file__, "--method", method]
            command += ["--tokens", str(args.tokens), "--vocabulary", str(args.vocabulary)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[method].append(json.loads(done.stdout.splitlines()[-1]))
    figures = {
        method: {key: median(run[key] for run in some) for key in some[0]}
        for method, some in runs.items()
    }
    report(figures, args)


def report(figures: dict[str, dict[str, float]], args: argparse.Namespace) -> None:
    forward, hf = figures["forward"], figures["lm-eval hf"]
    print(f"{args.tokens} tokens, vocabulary {args.vocabulary}, median of {args.repeats}\n")
    print(f"{'':24}{'CPU / forward':>15}{'memory / hf':>15}{'GB':>8}{'mean nll':>12}")
    for method, figure in figures.items():
        print(
            f"{method:24}{figure['cpu_s'] / forward['cpu_s']:15.2f}"
            f"{figure['peak_gb'] / hf['peak_gb']:15.3f}{figure['peak_gb']:8.2f}"
            f"{figure.get('mean_nll', float('nan')):12.5f}"
        )
    if args.json:
        facts = {"tokens": args.tokens, "vocabulary": args.vocabulary, "methods": figures}
        args.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def measure(method: str, tokens: int, vocabulary: int) -> dict[str, float]:
    import torch

    model, tokenizer = random_model(vocabulary)
    ids = torch.randint(0, vocabulary, (tokens,), generator=torch.Generator().manual_seed(0))
    score = scorer(method, model, tokenizer)
    score(ids[:256])
    before = resident_gb()
    with PeakMemory() as peak:
        started = cpu_seconds()
        nll = score(ids)
        spent = cpu_seconds() - started
    figures = {"cpu_s": spent, "peak_gb": peak.gb - before}
    return figures if nll is None else figures | {"mean_nll": nll / (tokens - 1)}


def random_model(vocabulary: int) -> tuple[Any, Any]:
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=1 << 20,
    )
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocabulary)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", eos_token="w1")
    return LlamaForCausalLM(config).eval(), tokenizer


def scorer(method: str, model: Any, tokenizer: Any) -> Any:
    """Return a function from tokens to the sum of their scores in nats; a forward gives none."""
    import torch

    from rope_eval import RopeSpec, patched, score_tokens

    def forward(ids: Any) -> None:
        with torch.inference_mode():
            model(ids[None])

    def hf(ids: Any) -> float:
        from lm_eval.models.huggingface import HFLM

        lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal")
        ((score, _),) = lm._loglikelihood_tokens(
            [(("", ""), ids[:1].tolist(), ids[1:].tolist())], disable_tqdm=True
        )
        return -score

    def ours(ids: Any, spec: str = "") -> float:
        with patched(model, RopeSpec.parse(spec)):
            return float(score_tokens(model, ids).nll.sum(dtype="float64"))

    return {
        "forward": forward,
        "lm-eval hf": hf,
        "rope-eval": ours,
        "rope-eval, every knob": lambda ids: ours(ids, EVERY_KNOB),
    }[method]


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_gb() -> float:
    """Return the memory that is the process's own, swapped out or not.

    Pages of files that it maps, libraries above all, are not counted: under pressure they go, and
    come back.
    """
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(line[1]) for line in lines if line[0] in ("RssAnon:", "VmSwap:")) * 1024 / 1e9


class PeakMemory:
    """The most memory of its own that a process has in a block, read every few milliseconds."""

    def __enter__(self) -> PeakMemory:
        self.gb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.is_set():
            self.gb = max(self.gb, resident_gb())
            time.sleep(0.003)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


if __name__ == "__main__":
    main()
