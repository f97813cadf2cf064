"""Scoring a long prompt in vLLM: its own prefill, that with log-probabilities, and ours.

The engines are in one process, on the same random model and tokens, and take their steps in turn:
on a shared machine the same work takes twice the time a minute later, so whole runs, one after
another, differ by more than what is measured. All are divided by the first. vLLM's own has its
defaults but the tokens of a step: log-probabilities as objects. Peak memory is what a step took
beyond what the process held before it; a GPU's is not counted. Absolute times mean nothing on a
shared CPU; on a GPU the clock's ratio is the one to read, and each engine has an equal part of its
memory. The ratios of the CPU's time so far, those of a prompt of as many tokens, go to standard
error and into the file as they come.

    python benchmarks/vllm_scores.py               # 32,768 tokens, vocabulary 32,000
    python benchmarks/vllm_scores.py --model DIR --vocabulary 128256 --dtype bfloat16
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorer import PeakMemory, cpu_seconds, random_model, resident_gb

PREFILL, VLLM, NEUTRAL, ALL = METHODS = (
    "vllm, no scores",
    "vllm",
    "rope-eval",
    "rope-eval, every knob",
)
EVERY_KNOB = "rope_theta=500,log_scale=true,dynamic_ntk=per_sequence,xpos=true,train_length=4096"
STEP = 2048


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[VLLM, NEUTRAL, ALL])
    parser.add_argument("--model", help="a folder; default: a random one of 4 layers")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCH_COMPILE_DISABLE": "1"}
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            for part in random_model(args.vocabulary):
                part.save_pretrained(folder)
        runs = [Run(method, args.model or folder, args) for method in args.methods]
    facts: dict[str, Any] = {
        "tokens": args.tokens,
        "vocabulary": args.vocabulary,
        "cpu_of_first": {},
    }

    def note(tokens: int, ratios: dict[str, float]) -> None:
        print(f"{tokens} tokens:", *(f"{ratio:.3f}" for ratio in ratios.values()), file=sys.stderr)
        facts["cpu_of_first"][tokens] = ratios
        write(args.json, facts)

    figures = measure(runs, args.tokens, args.vocabulary, note)
    write(args.json, facts | {"methods": figures})
    first = figures[args.methods[0]]
    print(f"{args.tokens} tokens, vocabulary {args.vocabulary}, in steps of {STEP} in turn\n")
    print(f"{'':24}{'CPU / first':>12}{'clock / first':>15}{'GB':>8}{'mean nll':>12}")
    for method, figure in figures.items():
        nll = figure["mean_nll"]
        print(
            f"{method:24}{figure['cpu_s'] / first['cpu_s']:12.3f}"
            f"{figure['clock_s'] / first['clock_s']:15.3f}{figure['peak_gb']:8.2f}"
            f"{'-' if nll is None else format(nll, '.5f'):>12}"
        )


def write(file: Path | None, facts: dict[str, Any]) -> None:
    if file is not None:
        file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


@dataclass
class Spent:
    """What the steps of one text took."""

    cpu_s: float = 0.0
    clock_s: float = 0.0
    peak_gb: float = 0.0


class Run:
    """An engine, and what it is asked for."""

    def __init__(self, method: str, model: str, args: argparse.Namespace):
        from vllm import LLM, SamplingParams

        from rope_eval import RopeSpec
        from rope_eval.backends.vllm.engine import make_engine, scoring_params

        common = {"dtype": args.dtype, "enforce_eager": True, "enable_prefix_caching": False}
        common |= {"max_num_batched_tokens": STEP}
        common |= {"gpu_memory_utilization": 0.9 / len(args.methods)}
        self.method = method
        self.spent = Spent()
        self.output: Any = None
        if method in (PREFILL, VLLM):
            wanted = None if method == PREFILL else 0
            params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=wanted)
            self.params = lambda length: params
            self.engine = LLM(model=model, max_model_len=args.tokens + 1, **common).llm_engine
        else:
            spec = RopeSpec.parse("" if method == NEUTRAL else EVERY_KNOB)
            self.params = scoring_params
            self.engine = make_engine(model, spec, args.tokens, **common).llm_engine

    def start(self, text: list[int]) -> None:
        """Ask the engine for the scores of a text."""
        prompt = {"prompt_token_ids": text}
        self.text, self.spent = text, Spent()
        self.engine.add_request("0", prompt, self.params(len(text)))

    def step(self) -> None:
        """Run one step of the engine, and add what it took."""
        import torch

        before = resident_gb()
        with PeakMemory() as peak:
            cpu, clock = cpu_seconds(), time.perf_counter()
            for output in self.engine.step():
                self.output = output
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            self.spent.cpu_s += cpu_seconds() - cpu
            self.spent.clock_s += time.perf_counter() - clock
        self.spent.peak_gb = max(self.spent.peak_gb, peak.gb - before)

    def mean_nll(self) -> float | None:
        """Return the mean of the scores, None where none were asked for."""
        from rope_eval.backends.vllm.engine import scores_of

        if self.method == PREFILL:
            return None
        if self.method != VLLM:
            return float(scores_of(self.text, self.output).nll.mean(dtype="float64"))
        found = zip(self.text[1:], self.output.prompt_logprobs[1:], strict=True)
        return -sum(one[token].logprob for token, one in found) / (len(self.text) - 1)


def measure(
    runs: list[Run],
    tokens: int,
    vocabulary: int,
    note: Callable[[int, dict[str, float]], None],
) -> dict[str, dict[str, Any]]:
    """Return the seconds of the CPU and the clock, peak memory in GB and the mean NLL of each.

    `note` is told the ratios of the CPU's time after each turn.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, vocabulary, (tokens,), generator=generator).tolist()
    for some in (text[: STEP + 1], text):  # the first time warms up
        for run in runs:
            run.start(some)
        turns = 0
        while waiting := [run for run in runs if run.engine.has_unfinished_requests()]:
            first = turns % len(waiting)  # nobody is always the one after
            for run in waiting[first:] + waiting[:first]:
                run.step()
            turns += 1
            if some is text:
                first_s = runs[0].spent.cpu_s
                ratios = {run.method: round(run.spent.cpu_s / first_s, 3) for run in runs}
                note(min(turns * STEP, tokens), ratios)
    return {run.method: vars(run.spent) | {"mean_nll": run.mean_nll()} for run in runs}


if __name__ == "__main__":
    main()
