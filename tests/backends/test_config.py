"""A config alone says the geometry that its loaded model has."""

import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, PreTrainedModel

from helpers import models
from rope_eval.backends.config import config_geometry, rope_config
from rope_eval.backends.hf.anatomy import geometry


def assert_the_same(model: PreTrainedModel, directory: Path) -> None:
    model.config.save_pretrained(directory)
    loaded = geometry(model)
    for config in (model.config, AutoConfig.from_pretrained(directory)):
        read = config_geometry(config)
        for name in ("head_dim", "rotary_dim", "rope_theta", "train_length", "attention_factor"):
            assert getattr(read, name) == getattr(loaded, name)
        assert (read.inv_freq is None) == (loaded.inv_freq is None)
        if read.inv_freq is not None and loaded.inv_freq is not None:
            assert read.inv_freq.dtype == torch.float64
            assert_close(read.inv_freq, loaded.inv_freq, rtol=0, atol=0)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_every_family(family: str, tmp_path: Path) -> None:
    assert_the_same(models.tiny(family), tmp_path)


@pytest.mark.parametrize("rope_type", models.SCALED)
def test_every_scaling(rope_type: str, tmp_path: Path) -> None:
    assert_the_same(models.tiny_scaled(rope_type), tmp_path)


def test_a_length_that_config_json_does_not_say_is_not_transformers_default(tmp_path: Path) -> None:
    models.tiny().config.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    said = json.loads(file.read_text())
    assert rope_config(AutoConfig.from_pretrained(tmp_path)).train_length == models.TRAIN_LENGTH
    del said["max_position_embeddings"]
    file.write_text(json.dumps(said))
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.max_position_embeddings == 2048
    assert config_geometry(config).train_length is None
