"""A RoPE setting in a config's words: refused, and said in RopeSpec's fields."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers import models
from rope_eval import RopeSpec, patched
from rope_eval.backends.vllm.engine import engine_arguments
from rope_eval.errors import SpecError
from rope_eval.rope.config_words import in_fields, refuse_config_words

LENGTH = 48  # over the 32 tokens of `original_max_position_embeddings`: dynamic NTK acts
SETTINGS: tuple[dict[str, Any], ...] = (
    {"rope_type": "default", "rope_theta": 700.0},
    {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
    {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    {
        "rope_type": "yarn",
        "factor": 4.0,
        "rope_theta": 500.0,
        "original_max_position_embeddings": 32,
    },
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 0.5,
        "high_freq_factor": 2.0,
        "rope_theta": 1000.0,
        "original_max_position_embeddings": 32,
    },
    {
        "rope_type": "longrope",
        "factor": 2.0,
        "short_factor": [1.0] * 8,
        "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 32,
    },
    {
        "rope_type": "proportional",
        "partial_rotary_factor": 0.5,
        "factor": 2.0,
        "rope_theta": 10000.0,
    },
)


@pytest.mark.parametrize("parameters", SETTINGS, ids=lambda p: p["rope_type"])
def test_the_fields_that_are_named_do_the_same(parameters: dict[str, Any]) -> None:
    said = in_fields("rope_parameters", parameters)
    assert said.startswith("the RopeSpec fields ")
    spec = RopeSpec.parse(said.removeprefix("the RopeSpec fields "))
    config = {"max_position_embeddings": 32}
    theirs = models.build(models.config_of("llama", rope_parameters=parameters, **config))
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    ours = models.build(models.config_of("llama", rope_parameters=plain, **config))
    ours.load_state_dict(theirs.state_dict())
    ids = models.token_ids(LENGTH)
    with torch.no_grad():
        expected = theirs(ids).logits
        assert (ours(ids).logits - expected).abs().max() > 1e-3
        with patched(ours, spec):
            assert torch.allclose(ours(ids).logits, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "value", "fields"),
    [
        ("rope_theta", 5e5, "rope_theta=500000"),
        ("rope_scaling", {"type": "linear", "factor": 2}, "linear_factor=2"),
        (
            "rope_scaling",
            {"type": "dynamic", "factor": 2.5},
            "dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=2.5",
        ),
        (
            "rope_parameters",
            {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 4096},
            "yarn_factor=4,train_length=4096",
        ),
        (
            "rope_scaling",
            {"type": "yarn", "factor": 4, "beta_fast": 8, "attention_factor": 1.5},
            "yarn_factor=4,beta_fast=8,attention_factor=1.5",
        ),
        (
            "rope_parameters",
            {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 3},
            "llama3_factor=8,high_freq_factor=3",
        ),
        (
            "rope_scaling",
            {"type": "longrope", "factor": 2, "short_factor": [1, 1], "long_factor": [1, 2]},
            "longrope_factors=1:1/1:2,longrope_ratio=2",
        ),
    ],
)
def test_words_with_fields(name: str, value: Any, fields: str) -> None:
    RopeSpec.parse(fields)
    for arguments in ({"hf_overrides": {"text_config": {name: value}}}, {name: value}):
        with pytest.raises(SpecError, match=rf"^{name} .*: give the RopeSpec fields {fields}$"):
            refuse_config_words(arguments)
    with pytest.raises(SpecError, match=fields):
        engine_arguments(RopeSpec(), {"hf_overrides": {name: value}})


@pytest.mark.parametrize(
    "value",
    [
        "linear",
        None,
        {"rope_type": "longrope", "factor": 2},
        {"rope_type": "yarn", "factor": 2, "gamma": 8},
        {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        {"rope_type": "linear"},
        {"rope_type": ["linear"], "factor": 2},
        {"rope_type": "linear", "factor": "2"},
        {"full_attention": {"rope_type": "linear", "factor": 2}},
        {},
    ],
)
def test_words_that_no_fields_do_as_they_stand(value: object) -> None:
    with pytest.raises(SpecError, match=r"linear is linear_factor.*config\.json\)$"):
        refuse_config_words({"rope_scaling": value})


def test_other_arguments_pass() -> None:
    arguments = {
        "hf_overrides": {"max_position_embeddings": 64, "text_config": {"head_dim": 8}},
        "compilation_config": {"pass_config": {"fuse_rope_kvcache": True}},
    }
    refuse_config_words(arguments)
    assert engine_arguments(RopeSpec(), arguments)["hf_overrides"] == arguments["hf_overrides"]
    with pytest.raises(SpecError, match="must be a mapping"):
        refuse_config_words({"hf_overrides": lambda config: config})
