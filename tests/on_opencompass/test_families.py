"""Families that differ most, scored by `ScalingRope` as stock transformers scores them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.families.build import NAMED, Case, build, log_probabilities
from rope_eval.hosts.opencompass.model import ScalingRope
from studies.scaling_laws.recipes.model import build_tokenizer

FAMILIES = {
    "gemma2": "windows on every other layer, soft caps",
    "gpt_oss": "sinks, yarn",
    "glm": "interleaved pairs",
    "llama4_text": "chunks, layers without rotation",
    "hunyuan_v1_dense": "norms after the rotation",
}
TEXTS = [
    "It was the best of times, it was the worst of times",
    "Of",
    "A beginning of the same kind",
]
NATS = 1e-5

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own, of models that it builds


@pytest.mark.parametrize("name", FAMILIES)
def test_perplexities_equal_stock(name: str, tmp_path: Path) -> None:
    case = NAMED[name]
    special = {"vocab_size": 257, "bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256}
    model = build(Case(family=case.family, fields=case.fields | special))
    model.save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    arguments: dict[str, Any] = {
        "path": str(tmp_path),
        "device": "cpu",
        "dtype": "float32",
        "max_seq_len": 200,
    }
    with closing(ScalingRope(**arguments)) as ours:
        found = ours.get_ppl(TEXTS)
        for text, score in zip(TEXTS, found, strict=True):
            ids = torch.tensor(ours.tokenizer(text)["input_ids"])[None]
            nll = -log_probabilities(model, ids)[0, :-1].gather(-1, ids[0, 1:, None])
            assert score == pytest.approx(float(nll.sum()) / ids.shape[1], abs=NATS)
