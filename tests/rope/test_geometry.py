"""The one reader of a config: flat or not, whole or silent, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from rope_eval.errors import DataError
from rope_eval.rope.geometry import RopeConfig


def test_transformers_4_and_5_say_the_same() -> None:
    common = {"hidden_size": 2560, "num_attention_heads": 32, "max_position_embeddings": 2048}
    scaling = {"factor": 4.0, "original_max_position_embeddings": 512}
    flat = RopeConfig(
        common
        | {"rope_theta": 5e5, "partial_rotary_factor": 0.4}
        | {"rope_scaling": {"type": "yarn", **scaling}},
        "here",
    )
    nested = RopeConfig(
        common
        | {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 5e5,
                "partial_rotary_factor": 0.4,
                **scaling,
            }
        },
        "here",
    )
    for config in (flat, nested):
        assert (config.head_dim, config.rotary_dim, config.rope_theta) == (80, 32, 5e5)
        assert config.train_length == 512
        assert config.rope_type == "yarn"
        assert config.parameters["factor"] == 4.0


def test_what_a_config_does_not_say_is_none() -> None:
    config = RopeConfig({"head_dim": None, "rope_scaling": None, "hidden_size": 64}, "here")
    assert (config.head_dim, config.rotary_dim, config.rope_theta) == (None, None, None)
    assert config.train_length is None
    assert (config.rope_type, dict(config.parameters)) == ("default", {})


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        ({"rope_theta": True}, "rope_theta", "here: rope_theta must be a finite number, got True"),
        ({"rope_parameters": {"rope_theta": "1e4"}}, "rope_theta", "got '1e4'"),
        ({"max_position_embeddings": 0}, "train_length", "positive integer, got 0"),
        ({"head_dim": 64.0}, "rotary_dim", "head_dim must be a positive integer, got 64.0"),
        ({"rope_scaling": "linear"}, "rope_type", "must be an object, got 'linear'"),
        ({"rope_parameters": {"a": {}}}, "rope_theta", "here has RoPE parameters for each type"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        getattr(RopeConfig(values, "here"), name)


def test_a_directory_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*config\.json"):
        RopeConfig.read(tmp_path)


def test_the_geometry_of_the_base_alone() -> None:
    values = {"head_dim": 64, "rope_theta": 5e5, "max_position_embeddings": 2048}
    geometry = RopeConfig(values | {"partial_rotary_factor": 0.5}, "here").geometry
    assert (geometry.head_dim, geometry.rotary_dim, geometry.rope_theta) == (64, 32, 5e5)
    assert (geometry.train_length, geometry.is_scaled) == (2048, False)
    scaled = RopeConfig(values | {"rope_scaling": {"type": "linear", "factor": 2}}, "here")
    assert scaled.geometry.is_scaled and scaled.geometry.rope_type == "linear"
    with pytest.raises(DataError, match="here has no head_dim or no rope_theta"):
        _ = RopeConfig({"rope_theta": 1e4}, "here").geometry
