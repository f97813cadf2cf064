"""Settings under a geometry of each layer: the brute force against stock, and `patched` against it.

Interleaved pairs, partial and late offsets, windows, sinks, soft caps, layers that do not rotate
and tables for each type of layer.
"""

from __future__ import annotations

import functools

import pytest
import torch
from torch.testing import assert_close
from transformers import PreTrainedModel

from helpers import brute_force
from helpers.families.build import NAMED, Case, build, log_probabilities, token_ids
from rope_eval import RopeSpec, patched
from rope_eval.errors import SpecError
from rope_eval.rope.methods import METHODS

NATS = 1e-4
TOKENS = 60
SHORT = {"max_position_embeddings": 32}  # so that the laws' lengths lie within a row
KINDS = {  # a family or configuration, and what is changed
    "mistral: window": {},
    "gemma2": {},
    "gemma3_text": {},
    "gemma3_text: linear on the full layers": {},
    "gpt_oss": {},
    "glm": {},
    "smollm3": {},
    "cohere2": {},
    "deepseek_v3": {"first_k_dense_replace": 2},
}

SCALED = ("gemma3_text: linear on the full layers", "gpt_oss")  # those whose config scales already


@functools.cache
def model_of(name: str) -> PreTrainedModel:
    case = NAMED[name]
    fields = {**case.fields, **SHORT, **KINDS[name]}
    return build(Case(family=case.family, variant=case.variant, fields=fields))


def expected(name: str, spec: RopeSpec, tokens: torch.Tensor) -> torch.Tensor:
    found = brute_force.log_probabilities(model_of(name), spec, tokens[0].tolist())
    return torch.from_numpy(found)


@pytest.mark.parametrize("name", KINDS)
def test_the_brute_force_is_the_stock_model(name: str) -> None:
    ids = token_ids(TOKENS)
    stock = log_probabilities(model_of(name), ids)[0]
    assert_close(expected(name, RopeSpec(), ids), stock, rtol=0, atol=NATS)


def ours(name: str, spec: RopeSpec, input_ids: torch.Tensor) -> torch.Tensor:
    with patched(model_of(name), spec) as model:
        return log_probabilities(model, input_ids)[0]


SETTINGS = [
    *(text for method in METHODS for text in method.examples),
    "rope_theta=500,log_scale=true,layers=all",
    "rope_theta=500,dynamic_ntk=per_query,reference_length=16,xpos=true,log_scale=true",
    "dynamic_ntk=per_sequence,ntk_formula=continuous,reference_length=20,beyond_critical=clip",
    "dynamic_ntk=per_query,reference_length=12.5,beyond_critical=drop,layers=all",
]


@pytest.mark.parametrize("text", SETTINGS)
@pytest.mark.parametrize("name", KINDS)
def test_every_field_is_the_brute_force(name: str, text: str) -> None:
    spec, ids = RopeSpec.parse(text), token_ids(TOKENS)
    if name in SCALED and spec.yarn_factor > 1:
        with pytest.raises(SpecError, match="already scales"), patched(model_of(name), spec):
            pass
        return
    assert_close(ours(name, spec, ids), expected(name, spec, ids), rtol=0, atol=NATS)
