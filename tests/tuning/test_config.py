"""What a model's config says of a setting that it is tuned under."""

from __future__ import annotations

import pytest
from transformers import Gemma3TextConfig, GPT2Config, LlamaConfig

from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope.spec import RopeSpec
from rope_eval.tuning.config import configure


def test_a_config_takes_base_and_interpolation_and_returns_the_rest() -> None:
    config = LlamaConfig(max_position_embeddings=64)
    assert configure(config, RopeSpec(rope_theta=500, linear_factor=2, tune_length=128)) is None
    assert config.rope_parameters == {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}
    assert config.max_position_embeddings == 128
    rest = configure(config, RopeSpec(rope_theta=50, beyond_critical="drop", train_length=64))
    assert rest == RopeSpec(beyond_critical="drop", train_length=64)
    with pytest.raises(SpecError, match="rope_type linear"):
        configure(config, RopeSpec(linear_factor=4))
    for other in (GPT2Config(), Gemma3TextConfig()):
        with pytest.raises(UnsupportedModelError, match="no single rotary base"):
            configure(other, RopeSpec(rope_theta=500))
