"""What `rope-eval theory` says that its numbers mean, for each case of the laws."""

from __future__ import annotations

import json

import pytest

from rope_eval.cli import main

LLAMA2 = ("theory", "--head-dim", "128", "--train-length", "4k", "--pretrain-theta", "10000")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "",
            "Trained on 4096 tokens, the perplexity should hold to 4096 tokens and rise steeply "
            "beyond; only tuning with a base above 10000 moves that.",
        ),
        (
            "--tune-length 16k",
            "After tuning on 16384 tokens, the perplexity should hold past 16384 tokens and rise "
            "slowly, but what stands far back is hard to find with so small a base.",
        ),
        (
            "--tune-length 16k --rope-theta 50000",
            "After tuning on 16384 tokens with a base of 50000, the perplexity should hold to "
            "16384 tokens and rise steeply beyond; only tuning with a base above 71738 moves that.",
        ),
        (
            "--rope-theta 1e6 --target-length 16k",
            "After tuning on 4096 tokens with a base of 1000000, the perplexity should hold to "
            "about 129027 tokens (32 times the pre-training's) and rise steeply beyond. That is "
            "enough for 16384 tokens, for perplexity and for retrieval.",
        ),
        (
            "--target-length 64k",
            "Trained on 4096 tokens, the perplexity should hold to 4096 tokens and rise steeply "
            "beyond; only tuning with a base above 10000 moves that. For 65536 tokens this base "
            "falls short: its perplexity will not hold that far, and retrieval is at risk from "
            "1707 tokens on. Tune with 2.1e+06 or more: `rope-eval advise` has the command.",
        ),
        (
            "--train-length 1m",
            "The laws tell no length here: measure it with `rope-eval ppl`, and read it with "
            "`rope-eval context`.",
        ),
    ],
)
def test_what_the_numbers_mean(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LLAMA2, *words.split()]) == 0
    assert f"\n\n{said}\n" in capsys.readouterr().out
    assert main([*LLAMA2, *words.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["meaning"] == said
