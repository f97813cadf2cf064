"""A setting from a config and back: the stock model of the config is the plain one under it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import PreTrainedModel

from helpers import models
from rope_eval import RopeSpec, patched
from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope.config_form import config_of_spec, spec_of_config
from rope_eval.rope.geometry import RopeConfig

NATS = 1e-4
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
LISTS = {"short_factor": [1.0, 1.1] * 4, "long_factor": [1.0, 1.5, 2, 3, 4, 5, 6, 7]}
CONFIGS: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({}, 32, "rope_theta=10000"),
    ({"rope_theta": 500.0}, 32, "rope_theta=500"),
    ({"rope_type": "linear", "factor": 3.0}, 32, "rope_theta=10000,linear_factor=3"),
    (
        {"rope_type": "dynamic", "factor": 2.0},
        24,
        "rope_theta=10000,dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=2,"
        "train_length=24",
    ),
    (
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        64,
        "rope_theta=10000,yarn_factor=4,train_length=16",
    ),
    (
        {
            "rope_type": "yarn",
            "factor": None,
            "original_max_position_embeddings": 16,
            "beta_fast": 1.5,
            "beta_slow": 0.1,
            "truncate": False,
            "mscale": 4.0,
            "mscale_all_dim": 2.0,
        },
        80,
        "rope_theta=10000,yarn_factor=5,beta_fast=1.5,beta_slow=0.1,yarn_truncate=False,mscale=4,"
        "mscale_all_dim=2,train_length=16",
    ),
    (
        {"rope_type": "yarn", "factor": 4.0, "mscale": 3.0, "attention_factor": 1.5},
        64,
        "rope_theta=10000,yarn_factor=4,attention_factor=1.5,train_length=64",
    ),
    (
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 0.5,
            "high_freq_factor": 2.0,
            "original_max_position_embeddings": 32,
        },
        256,
        "rope_theta=10000,llama3_factor=8,low_freq_factor=0.5,high_freq_factor=2,train_length=32",
    ),
    (
        {"rope_type": "longrope", "original_max_position_embeddings": 32, **LISTS},
        128,
        "rope_theta=10000,longrope_factors=1:1.1:1:1.1:1:1.1:1:1.1/1:1.5:2:3:4:5:6:7,"
        "longrope_ratio=4,train_length=32",
    ),
    (
        {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2.0},
        32,
        "rope_theta=10000,linear_factor=2,rotated_share=0.5",
    ),
)
IDS = [
    f"{parameters.get('rope_type', 'default')}-{n}" for n, (parameters, *_) in enumerate(CONFIGS)
]


def model_of(parameters: dict[str, Any], longest: int = 32) -> PreTrainedModel:
    said = {**PLAIN, **parameters}
    return models.build(
        models.config_of("llama", rope_parameters=said, max_position_embeddings=longest)
    )


def config_of(parameters: dict[str, Any], longest: int) -> RopeConfig:
    shape = {**models.SHAPE, "model_type": "llama", "max_position_embeddings": longest}
    return RopeConfig({**shape, "rope_parameters": {**PLAIN, **parameters}}, "config.json")


def scores(model: PreTrainedModel, spec: RopeSpec | None, length: int) -> torch.Tensor:
    ids = models.token_ids(length)
    if spec is None:
        return models.log_probabilities(model, ids)
    with patched(model, spec):
        return models.log_probabilities(model, ids)


@pytest.mark.parametrize(("parameters", "longest", "text"), CONFIGS, ids=IDS)
def test_a_plain_model_under_the_setting_of_a_config_is_the_stock_model_of_it(
    parameters: dict[str, Any], longest: int, text: str
) -> None:
    spec = spec_of_config(config_of(parameters, longest))
    assert str(spec) == text
    for length in (20, 100):
        expected = scores(model_of(parameters, longest), None, length)
        assert_close(scores(model_of({}), spec, length), expected, rtol=0, atol=NATS)


@pytest.mark.parametrize(("parameters", "longest", "text"), CONFIGS, ids=IDS)
def test_a_neutral_setting_is_the_stock_model_of_a_config(
    parameters: dict[str, Any], longest: int, text: str
) -> None:
    model = model_of(parameters, longest)
    kind = parameters.get("rope_type", "default")
    if kind == "dynamic":
        with pytest.raises(UnsupportedModelError, match=f"rope_type={kind}, whose freq"):
            scores(model, RopeSpec(), 20)
        return
    for length in (20, 100):
        expected = scores(model, None, length)
        assert_close(scores(model, RopeSpec(), length), expected, rtol=0, atol=NATS)


@pytest.mark.parametrize(
    "text",
    [
        *(text for _, _, text in CONFIGS),
        "yarn_factor=4",
        "yarn_factor=4,attention_factor=1,train_length=16",
        "linear_factor=2,rotated_share=0.25",
        "rotated_share=0.75",
        "longrope_factors=1:1:1:2:2:3:3:3",
        "longrope_factors=1:1:1:2:2:3:3:3/2:2:2:2:2:3:3:4,attention_factor=1.4,train_length=16",
    ],
)
def test_the_stock_model_of_the_config_of_a_setting_is_the_plain_one_under_it(text: str) -> None:
    spec = RopeSpec.parse(text)
    said = config_of_spec(spec, config_of({}, 32))
    theirs = model_of(said["rope_parameters"], said.get("max_position_embeddings", 32))
    for length in (20, 100):
        expected = scores(model_of({}), spec, length)
        assert_close(scores(theirs, None, length), expected, rtol=0, atol=NATS)


def test_a_partial_rotation_stays() -> None:
    said = config_of_spec(RopeSpec(linear_factor=2), config_of({"partial_rotary_factor": 0.5}, 32))
    assert said == {
        "rope_parameters": {
            "rope_type": "linear",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "factor": 2.0,
        }
    }
    with pytest.raises(SpecError, match="says rotated_share"):  # its word is taken
        config_of_spec(RopeSpec(rotated_share=0.5), config_of({"partial_rotary_factor": 0.5}, 32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("log_scale=true", "no rope_type of transformers says log_scale: rope-eval alone runs it"),
        ("yarn_factor=4,xpos=true", "says yarn_factor, xpos together: rope-eval alone"),
        ("dynamic_ntk=per_query", "says dynamic_ntk:"),
        ("dynamic_ntk=per_sequence", "says dynamic_ntk:"),
        ("dynamic_yarn=octave", "says dynamic_yarn:"),
        ("yarn_factor=4,mscale=2", "says mscale: rope-eval alone"),
        ("attention_factor=2", "says attention_factor:"),
        ("cope=4", "The types are linear, longrope, yarn, llama3, dynamic, proportional"),
    ],
)
def test_where_no_config_says_a_setting_the_error_names_it(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        config_of_spec(RopeSpec.parse(text), config_of({}, 32))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rope_type": "su"}, "rope_type='su' is no method of rope-eval"),
        ({"rope_type": "linear"}, "rope_type=linear has no factor"),
        ({"rope_type": "linear", "factor": "2"}, "factor of a config must be a number"),
        ({"rope_type": "linear", "factor": 2.0, "beta_fast": 3}, "no field does what beta_fast"),
        ({"beta_fast": 3}, "no field does what beta_fast does with rope_type=default"),
    ],
)
def test_a_config_that_no_field_does(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec_of_config(config_of(parameters, 32))


def test_a_config_that_scales_already_takes_no_other() -> None:
    with pytest.raises(SpecError, match=r"that of a plain checkpoint.*, got rope_type=linear"):
        config_of_spec(RopeSpec(yarn_factor=2), config_of({"rope_type": "linear"}, 32))


def test_a_checkpoint_of_drope() -> None:
    config = config_of({}, 32)
    said = RopeConfig({**config.values, "softmax_scale": 0.25}, "config.json")
    assert str(spec_of_config(said)) == "drope=True,softmax_scale=0.25"
