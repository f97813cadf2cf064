"""What is refused of a checkpoint's files before anything is built of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rope_eval.backends.checkpoint import INDEX, check_checkpoint, check_index
from rope_eval.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    return tmp_path


def refusal(folder: Path, **allowed: bool) -> str:
    with pytest.raises(DataError) as said:
        check_checkpoint(str(folder), **allowed)
    return str(said.value)


def index(folder: Path, *files: str) -> None:
    weight_map = {f"w{i}": file for i, file in enumerate(files)}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_a_folder_that_can_be_loaded(folder: Path) -> None:
    check_checkpoint(str(folder))
    index(folder, "model.safetensors", "model.safetensors")
    check_checkpoint(str(folder))


@pytest.mark.parametrize(
    "file", ["../other/model.safetensors", "/tmp/model.safetensors", "sub/x.safetensors", ".."]
)
def test_an_index_that_leaves_the_folder(folder: Path, file: str) -> None:
    index(folder, "model.safetensors", file)
    assert f"takes weights from {file!r}, outside the model's folder" in refusal(folder)
    assert "outside the model's folder" in refusal(folder, allow_pickle=True)


def test_an_index_that_brings_pickles_in(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"")
    index(folder, "model.safetensors", "pytorch_model.bin")
    assert "from 'pytorch_model.bin', and loading a pickle can run code" in refusal(folder)
    check_checkpoint(str(folder), allow_pickle=True)


def test_an_index_of_files_that_are_not_there(folder: Path) -> None:
    index(folder, "model-00001-of-00002.safetensors")
    assert "names model-00001-of-00002.safetensors, which is not there" in refusal(folder)
    check_index(folder / INDEX, fetched=False)  # of the hub: fetched by what it names


@pytest.mark.parametrize("content", [[], {}, {"weight_map": []}, {"weight_map": {"w": 5}}, None])
def test_an_index_that_is_none(folder: Path, content: Any) -> None:
    (folder / INDEX).write_text(json.dumps(content))
    assert "is not an index of weights" in refusal(folder)


def test_an_adapter_is_no_model(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    said = refusal(folder)
    assert "holds an adapter of some/base beside a model" in said
    assert "move adapter_* elsewhere" in said
    (folder / "config.json").unlink()
    said = refusal(folder)
    assert "is an adapter of some/base, not a model: merge it" in said
    assert "peft=DIR" in said


@pytest.mark.parametrize(
    "other", ["training_args.bin", "adapter_model.bin", "optimizer.pt", "rng_state.pth"]
)
def test_files_beside_a_model_are_not_its_weights(folder: Path, other: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / other).write_bytes(b"")
    for allow_pickle in (False, True):
        said = refusal(folder, allow_pickle=allow_pickle)
        assert said.endswith(f"has no weights: no *.safetensors file ({other} holds none)")


def test_pickles_under_an_adapters_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert "has its weights in pytorch_model.bin alone, and loading a pickle" in refusal(folder)
    check_checkpoint(str(folder), allow_pickle=True)
