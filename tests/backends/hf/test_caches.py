"""A cache with keys of the stock model is refused: they are turned, and would be turned again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from helpers import models
from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.compat import cache_argument
from rope_eval.errors import UnsupportedModelError

NATS = 1e-4


def read(model: PreTrainedModel, ids: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
    name = cache_argument(model)
    with torch.no_grad():
        out = model(ids, use_cache=True, **({} if cache is None else {name: cache}))
    return out.logits.double().log_softmax(-1), out[name]


def test_a_cache_of_the_stock_model_is_refused() -> None:
    model, ids = models.tiny(), models.token_ids(40)
    _, cache = read(model, ids[:, :20])
    with (
        patched(model, RopeSpec()),
        pytest.raises(UnsupportedModelError, match="holds 20 tokens that were read without"),
    ):
        read(model, ids[:, 20:], cache)


def test_so_is_one_that_the_stock_model_went_on_with() -> None:
    model, ids = models.tiny(), models.token_ids(40)
    with patched(model, RopeSpec()):
        _, cache = read(model, ids[:, :20])
    read(model, ids[:, 20:25], cache)
    with (
        patched(model, RopeSpec()),
        pytest.raises(UnsupportedModelError, match="holds 5 tokens that were read without"),
    ):
        read(model, ids[:, 25:], cache)


@pytest.mark.parametrize("keep", ["itself", "a copy", "a part"])
def test_our_own_goes_on_also_as_a_copy_or_cropped(keep: str) -> None:
    model, ids = models.tiny(), models.token_ids(40)
    expected = models.log_probabilities(model, ids)
    with patched(model, RopeSpec()):
        _, cache = read(model, ids[:, :20])
        if keep == "a copy":
            cache = copy.deepcopy(cache)
        if keep == "a part":
            cache.crop(-8)
        found, _ = read(model, ids[:, cache.get_seq_length() :], cache)
    assert_close(found, expected[:, -found.shape[1] :], rtol=0, atol=NATS)
