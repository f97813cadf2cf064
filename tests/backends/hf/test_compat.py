"""What a layer calls its cache, whatever the version of transformers."""

import functools

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from helpers import models
from rope_eval.backends.hf.compat import cache_argument
from rope_eval.errors import UnsupportedModelError


class New(nn.Module):
    def forward(self, x: int, cache: object = None) -> None: ...


class Old(nn.Module):
    def forward(self, x: int, past_key_values: object = None) -> None: ...


class Both(nn.Module):
    def forward(self, x: int, past_key_values: object = None, cache: object = None) -> None: ...


class Neither(nn.Module):
    def forward(self, x: int, **kwargs: object) -> None: ...


def test_the_name_is_what_the_signature_has() -> None:
    assert cache_argument(New()) == "cache"
    assert cache_argument(Old()) == "past_key_values"
    assert cache_argument(Both()) == "cache"
    with pytest.raises(UnsupportedModelError, match=r"Neither takes no cache.*among x, kwargs"):
        cache_argument(Neither())


def test_a_wrapped_forward_is_looked_through() -> None:
    module, plain = Old(), Old.forward
    module.forward = functools.wraps(plain)(lambda *a, **k: plain(module, *a, **k))
    assert cache_argument(module) == "past_key_values"


def test_a_model_its_base_and_its_layers_take_a_cache_by_that_name() -> None:
    model, input_ids = models.tiny(), models.token_ids(12)
    for module in (model, model.base_model):
        cache = DynamicCache(config=model.config)
        with torch.no_grad():
            module(input_ids[:, :8], use_cache=True, **{cache_argument(module): cache})
        assert cache.get_seq_length() == 8
    assert cache_argument(model.base_model.layers[0]) == cache_argument(model)
