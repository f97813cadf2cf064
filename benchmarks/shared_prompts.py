"""Whole-prompt scores of MMLU-like questions: ours against lm-eval's `hf` on the same requests.

Five examples stand before every question of a subject, and a question before each of its choices:
ours computes what texts share once. The model is random, the text made up. Prints ratios.

    python benchmarks/shared_prompts.py [--questions 20] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from statistics import median
from typing import Any

WORDS = ("tree", "river", "seven", "under", "light", "because", "stone", "never", "walk", "north")
KINDS = {  # examples before a question, words of a question, words of its choices (0: a letter)
    "letters after 5 examples (MMLU)": (5, 20, 0),
    "letters (ARC)": (0, 40, 0),
    "sentences (HellaSwag)": (0, 40, 15),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    ours, theirs = models()
    figures = {}
    for kind, shape in KINDS.items():
        requests = questions(args.questions, *shape)
        for lm in (ours, theirs):
            lm.whole_prompt_nll(requests[:4])
        seconds: dict[str, list[float]] = {"rope-eval": [], "lm-eval hf": []}
        for _ in range(args.repeats):  # in turn, so that a drift of the machine hits both alike
            for name, lm in (("rope-eval", ours), ("lm-eval hf", theirs)):
                started = time.process_time()
                answers = lm.whole_prompt_nll(requests)
                seconds[name].append(time.process_time() - started)
                if name == "rope-eval":
                    mine = answers
        worst = max(abs(a - b) / n for (a, n), (b, _) in zip(mine, answers, strict=True))
        figures[kind] = {
            "requests": len(requests),
            "cpu_ratio": median(seconds["rope-eval"]) / median(seconds["lm-eval hf"]),
            "worst_difference_nats_a_token": worst,
        }
        print(
            f"{kind:34}{len(requests)} requests: {figures[kind]['cpu_ratio']:.3f} of hf's CPU "
            f"time, {worst:.1e} nats a token apart at worst"
        )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def models() -> tuple[Any, Any]:
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    from rope_eval.hosts.lm_eval.model import ScalingRopeLM
    from studies.scaling_laws.recipes.model import build_tokenizer

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=4096,
    )
    model = LlamaForCausalLM(config).eval()
    logging.set_verbosity_error()
    tokenizer = build_tokenizer()
    theirs = HFLM(pretrained=LlamaForCausalLM(config).eval(), tokenizer=tokenizer, batch_size=8)
    theirs.model.load_state_dict(model.state_dict())
    return ScalingRopeLM(pretrained=model, tokenizer=tokenizer, batch_size=8), theirs


def questions(count: int, examples: int, words: int, choice_words: int) -> list[Any]:
    from lm_eval.api.instance import Instance

    made = random.Random(0)

    def sentence(length: int) -> str:
        return " ".join(made.choice(WORDS) for _ in range(length))

    shots = "".join(f"{sentence(words)}?\nAnswer: \nA\n\n" for _ in range(examples))
    texts = []
    for _ in range(count):
        question = f"{shots}{sentence(words)}?\nAnswer: \n"
        texts += [question + (sentence(choice_words) or letter) for letter in "ABCD"]
    return [
        Instance(request_type="whole_prompt_nll", doc={}, arguments=(text,), idx=0)
        for text in texts
    ]


if __name__ == "__main__":
    main()
