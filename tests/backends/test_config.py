"""A config alone says the geometry that its loaded model has."""

import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, PreTrainedModel

from helpers import models
from helpers.configs import RELEASED
from rope_eval.backends.config import config_geometry, rope_config
from rope_eval.backends.hf.anatomy import geometry
from rope_eval.rope.geometry import RopeConfig


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


def test_a_hub_name_is_as_silent_as_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.tiny().config.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    said = json.loads(file.read_text())
    del said["max_position_embeddings"]
    file.write_text(json.dumps(said))
    config = AutoConfig.from_pretrained(tmp_path)
    config._name_or_path, config._commit_hash = "me/model", "abc"
    cache = {("me/model", "config.json", "abc"): str(file)}
    monkeypatch.setattr(
        "rope_eval.backends.config.try_to_load_from_cache",
        lambda name, file, revision: cache[name, file, revision],
    )
    assert config_geometry(config).train_length is None


@pytest.mark.parametrize("name", RELEASED)
def test_a_config_stands_on_the_same_loaded_or_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(RELEASED[name]))
    loaded = rope_config(AutoConfig.from_pretrained(tmp_path))
    assert loaded.laws == RopeConfig.read(tmp_path).laws
