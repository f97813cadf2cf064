"""Scoring a long prompt in vLLM: its own prefill with log-probabilities, and ours, side by side.

Each runs in a process of its own, the engine in that process, on the same random model and tokens.
vLLM's own is asked for the same log-probabilities without a RopeSpec; its defaults are the tokens
of a step and the log-probabilities as objects. Peak memory is what the process held beyond its size
with the engine loaded and warmed up; a GPU's is not counted. Prints ratios: absolute times mean
nothing on a shared CPU, and on a GPU those of the clock are to be read.

    python benchmarks/vllm_scores.py               # 32,768 tokens, vocabulary 32,000
    python benchmarks/vllm_scores.py --model DIR --vocabulary 128256 --dtype bfloat16
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from scorer import PeakMemory, cpu_seconds, random_model, resident_gb

METHODS = ("vllm", "rope-eval", "rope-eval, every knob")
EVERY_KNOB = "rope_theta=500,log_scale=true,dynamic_ntk=per_sequence,xpos=true,train_length=4096"
STEP = 2048


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--model", help="a folder; default: a random one of 4 layers")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    if args.method:
        print(json.dumps(measure(args)))
        return
    runs: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            for part in random_model(args.vocabulary):
                part.save_pretrained(folder)
        for _ in range(args.repeats):
            for method in METHODS:
                command = [sys.executable, __file__, "--method", method]
                command += ["--model", args.model or folder, "--dtype", args.dtype]
                command += ["--tokens", str(args.tokens), "--vocabulary", str(args.vocabulary)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                runs[method].append(json.loads(done.stdout.splitlines()[-1]))
    figures = {
        method: {key: median(run[key] for run in some) for key in some[0]}
        for method, some in runs.items()
    }
    own = figures["vllm"]
    print(f"{args.tokens} tokens, vocabulary {args.vocabulary}, median of {args.repeats}\n")
    print(f"{'':24}{'CPU / vllm':>12}{'clock / vllm':>14}{'GB':>8}{'mean nll':>12}")
    for method, figure in figures.items():
        print(
            f"{method:24}{figure['cpu_s'] / own['cpu_s']:12.2f}"
            f"{figure['clock_s'] / own['clock_s']:14.2f}{figure['peak_gb']:8.2f}"
            f"{figure['mean_nll']:12.5f}"
        )
    if args.json:
        facts = {"tokens": args.tokens, "vocabulary": args.vocabulary, "methods": figures}
        args.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Return the seconds of the CPU and the clock, peak memory in GB and the mean NLL of one."""
    method, model, tokens, vocabulary = args.method, args.model, args.tokens, args.vocabulary
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCH_COMPILE_DISABLE": "1"}
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    import torch
    from vllm import LLM, SamplingParams, TokensPrompt

    from rope_eval import RopeSpec
    from rope_eval.backends.vllm.engine import make_engine, score_texts

    common = {"dtype": args.dtype, "enforce_eager": True, "enable_prefix_caching": False}
    ids = torch.randint(0, vocabulary, (tokens,), generator=torch.Generator().manual_seed(0))
    text = ids.tolist()
    if method == "vllm":
        llm = LLM(model=model, max_model_len=tokens + 1, max_num_batched_tokens=STEP, **common)
        params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)

        def score(some: list[int]) -> float:
            (output,) = llm.generate([TokensPrompt(prompt_token_ids=some)], [params])
            return -sum(
                found[token].logprob
                for token, found in zip(some[1:], output.prompt_logprobs[1:], strict=True)
            )
    else:
        spec = RopeSpec.parse("" if method == "rope-eval" else EVERY_KNOB)
        llm = make_engine(model, spec, tokens, max_num_batched_tokens=STEP, **common)

        def score(some: list[int]) -> float:
            return float(score_texts(llm, [some])[0].nll.sum(dtype="float64"))

    score(text[:256])
    before = resident_gb()
    with PeakMemory() as peak:
        started, clock = cpu_seconds(), time.perf_counter()
        nll = score(text)
        spent, passed = cpu_seconds() - started, time.perf_counter() - clock
    figure = {"cpu_s": spent, "clock_s": passed, "peak_gb": peak.gb - before}
    return figure | {"mean_nll": nll / (tokens - 1)}


if __name__ == "__main__":
    main()
