"""What a model's files settle: dtype and commit, as transformers settles them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rope_eval import __version__
from rope_eval.paths import asset
from rope_eval.results.resolved import hub_commit, resolved_dtype, resolved_laws, trained_length
from rope_eval.rope.families import FAMILIES
from rope_eval.rope.spec import RopeSpec

LAB = asset("model_configs") / "lab"


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("said", ["dtype", "torch_dtype", None])
def test_auto_is_what_transformers_takes(tmp_path: Path, stored: str, said: str | None) -> None:
    model = AutoModelForCausalLM.from_pretrained(LAB / "base-20", dtype=getattr(torch, stored))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("dtype")
    if said:
        config[said] = "bfloat16"
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    found = resolved_dtype(str(tmp_path), "auto", "hf")
    assert f"torch.{found}" == str(loaded.dtype)
    assert found == ("bfloat16" if said else stored)
    assert resolved_dtype(str(tmp_path), "float16", "hf") == "float16"
    in_vllm = "bfloat16" if found == "float32" else found  # its own rule: vllm issue 18751
    assert resolved_dtype(str(tmp_path), "auto", "vllm") == in_vllm
    assert hub_commit(str(tmp_path)) is None


@pytest.mark.parametrize("header", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]"])
def test_what_says_nothing_is_auto(tmp_path: Path, header: bytes) -> None:
    folder = tmp_path / "model"
    shutil.copytree(LAB / "base-20", folder)
    (folder / "config.json").write_text("[]")
    (folder / "model.safetensors").write_bytes(header)
    assert resolved_dtype(str(folder), "auto", "hf") == "auto"
    (folder / "config.json").unlink()
    assert resolved_dtype(str(folder), "auto", "hf") == "auto"


def test_what_the_laws_stand_on_is_read_for_a_method_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    values = {"model_type": "llama", "head_dim": 16, "rope_theta": 500000}
    values |= {"max_position_embeddings": 8192, "vocab_size": 77}
    (model / "config.json").write_text(json.dumps(values))
    name, scaled = str(model), RopeSpec(log_scale=True)
    assert resolved_laws(name, RopeSpec(rope_theta=500)) == {}
    own = {"pretrain_theta": 500000, "train_length": 8192, "tune_length": None}
    assert resolved_laws(name, scaled) == own
    assert resolved_laws(name, scaled.replace(train_length=4096)) == own | {"train_length": 4096}
    known = replace(FAMILIES[0], vocab_size=(77,), rope_theta=(5e5,), max_length=(8192,))
    monkeypatch.setattr("rope_eval.rope.families.FAMILIES", (known,))
    assert resolved_laws(name, scaled) == own | {"pretrain_theta": 1e4, "train_length": 2048}
    (model / "config.json").write_text("[")
    for unread in (name, "no/model-of-ours", str(tmp_path / "a.gguf")):
        assert resolved_laws(unread, scaled) == {"rope_eval": __version__}


def test_the_longest_length_of_training(tmp_path: Path) -> None:
    config = {"model_type": "mine", "rope_theta": 1e4, "max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert trained_length(str(tmp_path), RopeSpec()) == 64
    assert trained_length(str(tmp_path), RopeSpec(train_length=32, tune_length=256)) == 256
    assert trained_length("me/nowhere", RopeSpec()) is None
    (tmp_path / "config.json").write_text("[]")
    assert trained_length(str(tmp_path), RopeSpec()) is None
