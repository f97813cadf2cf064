"""A config alone says the geometry that its loaded model has."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, PreTrainedModel

from helpers import models
from helpers.configs import RELEASED
from helpers.families.build import NAMED, config_of, empty
from rope_eval.backends.config import rope_config
from rope_eval.backends.hf.probe import geometry
from rope_eval.backends.vllm.geometry import FULL, check_supported, config_geometry
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.geometry import RopeConfig
from rope_eval.rope.rotary import inverse_frequencies


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


@pytest.mark.parametrize(
    "name",
    [
        "mixtral",
        "gemma2",
        "gemma3_text",
        "gemma3_text: linear on the full layers",
        "gpt_oss",
        "granite",
        "olmo3",
        "glm4",
        "cohere2",
    ],
)
def test_families_that_no_list_names(name: str, tmp_path: Path) -> None:
    assert_the_same(empty(config_of(NAMED[name])), tmp_path)


def test_each_type_of_layer_has_its_own() -> None:
    config = config_of(NAMED["gemma3_text: linear on the full layers"])
    full, sliding = (config_geometry(config, kind) for kind in (FULL, "sliding_attention"))
    assert (full.rope_type, full.rope_theta) == ("linear", 1000000.0)
    assert (sliding.rope_type, sliding.rope_theta) == ("default", 10000.0)
    assert full.inv_freq is not None
    assert_close(full.inv_freq, inverse_frequencies(1e6, 16) / 4, rtol=1e-6, atol=0)
    assert_close(full.frequencies(500.0), inverse_frequencies(500.0, 16) / 4, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("deepseek_v3", "deepseek_v3 models have multi-head latent attention"),
        ("granite_swa", "granite_swa models have a base for each layer"),
        ("qwen3_5_text", "qwen3_5_text models have linear attention"),
        ("gptj", "gptj models have no rope_parameters"),
    ],
)
def test_families_are_refused_by_their_config_alone(name: str, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        check_supported(config_of(NAMED[name]))


def test_sections_and_images_are_refused() -> None:
    sections: Any = SimpleNamespace(model_type="x", rope_parameters={"mrope_section": [2, 1, 1]})
    images: Any = SimpleNamespace(model_type="x", text_config=object())
    for config, message in ((sections, "x models have multi-section"), (images, "more than text")):
        with pytest.raises(UnsupportedModelError, match=message):
            check_supported(config)


@pytest.mark.parametrize("rope_type", models.SCALED)
def test_another_base_of_a_config_that_scales(rope_type: str) -> None:
    loaded, read = (
        geometry(models.tiny_scaled(rope_type)),
        config_geometry(models.tiny_scaled(rope_type).config),
    )
    assert_close(read.frequencies(500.0), loaded.frequencies(500.0), rtol=0, atol=0)
