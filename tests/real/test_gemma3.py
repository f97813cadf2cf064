"""Gemma 3 270M: windows on five layers of six; neutral is stock, a setting is the full layers'."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from rope_eval.backends.hf.loading import encode, load_model, load_tokenizer
from rope_eval.backends.hf.patch import patched
from rope_eval.data.books import read_books
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.tokens import score_tokens

LENGTH = 640  # longer than the windows of 512


@pytest.fixture(scope="module")
def model(gemma3: Path) -> PreTrainedModel:
    return load_model(str(gemma3), device="cpu")


@pytest.fixture(scope="module")
def ids(gemma3: Path) -> Tensor:
    text = next(iter(read_books("builtin"))).text[:20000]
    return encode(load_tokenizer(str(gemma3)), text)[:LENGTH]


def nll(model: PreTrainedModel, ids: Tensor, spec: RopeSpec) -> Tensor:
    with patched(model, spec):
        return torch.as_tensor(score_tokens(model, ids).nll, dtype=torch.float64)


def test_neutral_is_stock(model: PreTrainedModel, ids: Tensor) -> None:
    with torch.inference_mode():
        logits = model(ids[None], use_cache=False).logits[0, :-1]
        stock = cross_entropy(logits, ids[1:], reduction="none").double()
    found = nll(model, ids, RopeSpec())
    torch.testing.assert_close(found, stock, rtol=0, atol=2e-4)  # 6.6e-5 was measured
    torch.testing.assert_close(found.mean(), stock.mean(), rtol=3e-5, atol=0)
    assert float(found.mean()) == pytest.approx(2.9951, abs=1e-3)


@pytest.mark.parametrize(
    ("field", "value", "loss"), [("linear_factor", 2.0, 2.9923), ("rope_theta", 1e4, 3.0740)]
)
def test_a_setting_is_that_of_the_full_layers(
    model: PreTrainedModel, ids: Tensor, field: str, value: float, loss: float
) -> None:
    found = nll(model, ids, RopeSpec.from_dict({field: value}))
    assert float(found.mean()) == pytest.approx(loss, abs=1e-3)
