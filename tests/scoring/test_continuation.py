"""Continuations: the likeliest token each time, by passes without a cache, and nothing else."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig

from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.attention import sequence_lengths
from rope_eval.backends.hf.loading import load_model, load_tokenizer
from rope_eval.errors import DataError
from rope_eval.paths import asset
from rope_eval.scoring.books import long_enough
from rope_eval.scoring.continuation import continuation

MODEL = str(asset("model_configs") / "lab" / "pretrained")
NEW = 12


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return load_model(MODEL, device="cpu")


@pytest.fixture(scope="module")
def text() -> torch.Tensor:
    ((_, ids),) = long_enough("builtin-chapters", 300, load_tokenizer(MODEL), 1)
    return ids


@pytest.mark.parametrize(
    "rope",
    ["", "linear_factor=4", "dynamic_ntk=per_query,log_scale=true", "dynamic_ntk=per_sequence"],
)
def test_it_is_the_likeliest_token_each_time(model, text, rope: str) -> None:  # type: ignore[no-untyped-def]
    with patched(model, RopeSpec.parse(rope)):
        found = continuation(model, text, NEW)
        ids = text[None]
        with torch.inference_mode(), sequence_lengths(model, torch.tensor([len(text) + NEW])):
            for _ in range(NEW):
                likeliest = model(ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
                ids = torch.cat([ids, likeliest], -1)
    assert found.tolist() == ids[0, len(text) :].tolist()
    assert len(set(found.tolist())) > 2


def test_what_a_checkpoint_says_of_generation_is_left_out(model, text) -> None:  # type: ignore[no-untyped-def]
    own = model.generation_config
    with patched(model, RopeSpec()):
        plain = continuation(model, text, NEW)
        third = int(plain[2])
        try:
            model.generation_config = said = GenerationConfig(
                do_sample=True, temperature=9.0, repetition_penalty=5.0, num_beams=3
            )
            assert continuation(model, text, NEW).tolist() == plain.tolist()
            assert model.generation_config is said
            model.generation_config = GenerationConfig(eos_token_id=third)
            first = plain.tolist().index(third)
            assert continuation(model, text, NEW).tolist() == plain.tolist()[: first + 1]
        finally:
            model.generation_config = own


def test_tokens_of_another_tokenizer_are_refused(model, text) -> None:  # type: ignore[no-untyped-def]
    with patched(model, RopeSpec()), pytest.raises(DataError, match="the tokenizer"):
        continuation(model, torch.tensor([1, 10**6]), 2)
