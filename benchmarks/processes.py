"""One document over processes: how even the work is, what is sent, and what each holds.

``python benchmarks/processes.py`` scores the same random tokens with the same random model in 1, 2
and 4 processes of one thread each, which talk by gloo, with the stock setting and with every knob.
It prints CPU seconds (what a process waits for others is none), beside what one process takes, the
bytes that each received beside what the formula gives, and the memory that each held at its peak
beyond its size with the model loaded. Wall-clock times on a shared machine mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from scorer import EVERY_KNOB, PeakMemory, cpu_seconds, random_model, resident_gb

SETTINGS = {"stock": "", "every knob": EVERY_KNOB}


def main() -> None:
    """Print a line for each number of processes, and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=8193)
    parser.add_argument("--vocabulary", type=int, default=4000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--setting", choices=tuple(SETTINGS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.setting is not None:
        print(json.dumps(measure(SETTINGS[args.setting], args.tokens, args.vocabulary)))
        return
    figures: dict[str, Any] = {"tokens": args.tokens, "vocabulary": args.vocabulary}
    print(f"{args.tokens} tokens, vocabulary {args.vocabulary}\n")
    print(
        f"{'':12}{'processes':>10}{'CPU / one':>11}{'most / mean':>13}{'pairs':>8}"
        f"{'MB got':>9}{'formula':>9}{'peak MB':>9}{'mean nll':>12}"
    )
    for setting in SETTINGS:
        one = None
        for size in args.processes:
            ranks = together(size, setting, args)
            cpu = [rank["cpu_s"] for rank in ranks]
            one = one or sum(cpu) / size
            figures.setdefault(setting, {})[size] = ranks
            print(
                f"{setting:12}{size:10}{sum(cpu) / one:11.2f}{max(cpu) * size / sum(cpu):13.2f}"
                f"{ranks[0]['pairs']:8.3f}{ranks[0]['received_mb']:9.1f}"
                f"{ranks[0]['formula_mb']:9.1f}{max(rank['peak_mb'] for rank in ranks):9.0f}"
                f"{ranks[0]['mean_nll']:12.6f}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def together(size: int, setting: str, args: argparse.Namespace) -> list[dict[str, float]]:
    """Return what each of several processes measured."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, __file__, "--setting", setting, "--tokens", str(args.tokens)]
    command += ["--vocabulary", str(args.vocabulary)]
    started = [
        subprocess.Popen(
            command,
            env=os.environ
            | {"RANK": str(rank), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]


def measure(setting: str, tokens: int, vocabulary: int) -> dict[str, float]:
    """Score with the other processes, and say what this one took."""
    import torch

    from rope_eval import RopeSpec, patched, score_tokens
    from rope_eval.backends.hf.attention import ATTRIBUTE
    from rope_eval.scoring.cost import usual_chunk
    from rope_eval.scoring.processes import joined
    from rope_eval.scoring.sharded import dealt, score_tokens_over

    torch.set_num_threads(1)
    model, _ = random_model(vocabulary)
    config = model.config
    ids = torch.randint(0, vocabulary, (tokens,), generator=torch.Generator().manual_seed(0))
    with joined() as processes, patched(model, RopeSpec.parse(setting)):
        score_tokens(model, ids[:256])
        size = processes.size
        before, received = resident_gb(), processes.received
        with PeakMemory() as peak:
            started = cpu_seconds()
            if size == 1:
                scores = score_tokens(model, ids)
            else:
                scores = score_tokens_over(processes, model, ids)
            spent = cpu_seconds() - started
        work = dealt(getattr(model, ATTRIBUTE), tokens - 1, size, usual_chunk("cpu")).work
        row = 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
        layers = config.num_hidden_layers * row * ids.new_empty(0).float().element_size()
        return {
            "cpu_s": spent,
            "pairs": max(work) * size / sum(work),
            "received_mb": (processes.received - received) / 1e6,
            "formula_mb": (size - 1) / size * (tokens - 1) * (layers + 5) / 1e6,
            "peak_mb": (peak.gb - before) * 1e3,
            "mean_nll": float(scores.nll.mean(dtype="float64")),
        }


if __name__ == "__main__":
    main()
