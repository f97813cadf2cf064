"""What identifies a run: its model by content, its request, its key."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from rope_eval.errors import DataError
from rope_eval.paths import asset
from rope_eval.results import identity
from rope_eval.results.identity import (
    differ,
    fingerprint,
    label_of_text,
    model_fingerprint,
    model_label,
    request,
    run_key,
)
from rope_eval.rope.spec import RopeSpec

LAB = asset("model_configs") / "lab"

# --- the request ------------------------------------------------------------------------------


def test_whatever_can_change_a_number_is_in_the_key(tmp_path: Path) -> None:
    given = {"backend": "hf", "dtype": "auto", "lengths": [64]}
    model, rope = str(LAB / "base-20"), RopeSpec(rope_theta=500)
    one = request("cumulative", model, rope, **given)
    assert one == {
        "kind": "cumulative",
        "model": "base-20",
        "fingerprint": model_fingerprint(model),
        "rope": {"rope_theta": 500.0},
        "backend": "hf",
        "dtype": "float32",  # what the config says
        "lengths": [64],
    }
    assert run_key(one) == run_key(
        request("cumulative", model, rope, **given | {"dtype": "float32"})
    )
    weights = tmp_path / "base-20"
    shutil.copytree(LAB / "base-1e6", weights)  # another model under the same name
    others = [
        request("opencompass", model, rope, **given),
        request("cumulative", str(weights), rope, **given),
        request("cumulative", model, RopeSpec(), **given),
        *(
            request("cumulative", model, rope, **given | changed)
            for changed in ({"backend": "vllm"}, {"dtype": "bfloat16"}, {"lengths": [32]})
        ),
    ]
    assert len({run_key(r) for r in (one, *others)}) == len(others) + 1


def test_a_hub_name_has_its_commit(hub: Path) -> None:
    given = {"rope": RopeSpec(), "backend": "hf", "dtype": "auto"}
    first = request("cumulative", "me/model", **given)
    assert (first["commit"], first["dtype"]) == ("1" * 40, "bfloat16")
    other = request("cumulative", "me/other", **given)
    assert (other["commit"], other["dtype"]) == (None, "auto")
    assert request("cumulative", "no name: at all", **given)["commit"] is None
    (hub / "refs" / "main").write_text("2" * 40)
    (hub / "snapshots" / ("1" * 40)).rename(hub / "snapshots" / ("2" * 40))
    second = request("cumulative", "me/model", **given)
    assert second == first | {"commit": "2" * 40}
    assert run_key(first) != run_key(second)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one commit of a model, which says bfloat16."""
    folder = tmp_path / "models--me--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("1" * 40)
    snapshot = folder / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"dtype": "bfloat16"}')
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return folder


def test_an_adapter_has_its_base(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model, base)
    said = json.dumps({"base_model_name_or_path": str(base)})
    (model / "adapter_config.json").write_text(said)
    given = {"rope": RopeSpec(), "backend": "hf", "dtype": "float32"}
    first = request("cumulative", str(model), **given)
    assert first["adapter_base"] == {"fingerprint": model_fingerprint(base), "commit": None}
    (base / "model.safetensors").write_bytes(b"others")
    second = request("cumulative", str(model), **given)
    assert second["fingerprint"] == first["fingerprint"]
    assert run_key(second) != run_key(first)


def test_labels_are_for_eyes() -> None:
    assert model_label(str(LAB / "base-20" / ".." / "base-1e6")) == "base-1e6"
    assert model_label("me/model") == label_of_text("me/model") == "me/model"
    assert label_of_text("./out/final") == label_of_text("a/b/final") == "final"


def test_a_name_is_its_own_fingerprint(tmp_path: Path) -> None:
    assert fingerprint("me/model") == "me/model"
    assert fingerprint(str(tmp_path)) == str(tmp_path)  # no model lies there
    assert fingerprint(str(LAB / "base-20")) == model_fingerprint(LAB / "base-20")


def test_only_contents_can_surely_differ() -> None:
    assert differ("a" * 64, "b" * 64)
    assert not differ("a" * 64, "a" * 64)
    assert not differ("a" * 64, "me/model")
    assert not differ("a" * 64, None)


# --- fingerprints -----------------------------------------------------------------------------


MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors", "modeling.py", "README.md")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    for name in MODEL_FILES:
        (directory / name).write_bytes(name.encode())
    return directory


def test_fingerprint_is_by_content_and_not_by_place(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sorted(model.iterdir(), reverse=True):
        (copy / path.name).write_bytes(path.read_bytes())
        os.utime(copy / path.name, (1, 1))
    assert model_fingerprint(copy) == model_fingerprint(str(model))
    (copy / "README.md").write_text("does not count")
    (copy / "trainer_state.json").write_text("{}")
    (copy / "checkpoint-1").mkdir()
    (copy / "checkpoint-1" / "model.safetensors").write_text("another model")
    assert model_fingerprint(copy) == model_fingerprint(model)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "modeling.py"]
)
def test_fingerprint_sees_every_change_of_content(model: Path, name: str) -> None:
    before = model_fingerprint(model)
    data = (model / name).read_bytes()
    status = (model / name).stat()
    (model / name).write_bytes(data[:-1] + b"!")
    os.utime(model / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert model_fingerprint(model) != before
    (model / name).write_bytes(data)
    assert model_fingerprint(model) == before


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "extra.bin", "merges.txt"])
def test_fingerprint_sees_added_files(model: Path, name: str) -> None:
    before = model_fingerprint(model)
    (model / name).write_bytes(b"x")
    assert model_fingerprint(model) != before


def test_fingerprint_sees_names(model: Path) -> None:
    before = model_fingerprint(model)
    (model / "tokenizer.json").rename(model / "tokenizer.model")
    assert model_fingerprint(model) != before


def test_fingerprint_of_large_weights(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "WHOLE_FILE_BYTES", 4)
    monkeypatch.setattr(identity, "HEAD_BYTES", 8)
    weights = model / "model.safetensors"

    def written(data: bytes, changed: int) -> str:
        weights.write_bytes(data)
        os.utime(weights, ns=(changed, changed))
        return model_fingerprint(model)

    before = written(b"headhead" + b"body", 1)
    assert written(b"headhead" + b"body", 1) == before
    assert written(b"headhead" + b"BODY", 1) == before
    assert written(b"headhead" + b"body", 2) != before
    assert written(b"headHEAD" + b"body", 1) != before
    assert written(b"headhead" + b"body+", 1) != before


def test_fingerprint_needs_a_model(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such model directory"):
        model_fingerprint(tmp_path / "nowhere")
    (model / "model.safetensors").rename(model / "model.gguf")
    with pytest.raises(DataError, match=r"without weights \(\*\.safetensors or \*\.bin\)"):
        model_fingerprint(model)
    (model / "model.bin").touch()
    (model / "config.json").unlink()
    with pytest.raises(DataError, match=r"without config\.json"):
        model_fingerprint(model)
