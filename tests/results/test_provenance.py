from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rope_eval.errors import DataError
from rope_eval.results import provenance as provenance_module
from rope_eval.results.provenance import model_fingerprint, provenance, timed

# --- provenance -----------------------------------------------------------------------------


def test_provenance_says_how_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "hf_" + "a1B2" * 8
    monkeypatch.setattr(
        sys, "argv", ["rope-eval", "ppl", f"token={token},x=1", "/hf_models/\udcff"]
    )
    record = provenance(gpu="a GPU")
    assert record["command"] == ["rope-eval", "ppl", "token=hf_***,x=1", "/hf_models/\\udcff"]
    assert set(record["versions"]) == {"python", "rope-eval", "torch", "transformers", "lm-eval"}
    assert record["versions"]["python"] == sys.version.split()[0]
    assert record["machine"]["gpu"] == "a GPU"
    assert record["machine"]["processors"] == os.cpu_count()
    assert record["machine"]["memory_bytes"] > 1 << 28
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", record["started"])
    assert os.uname().nodename not in json.dumps(record)
    json.dumps(record, allow_nan=False)


def test_versions_are_the_installed_ones() -> None:
    assert provenance_module._version("numpy") == np.__version__
    assert provenance_module._version("no-such-package") is None


def test_duration_is_added_also_on_errors() -> None:
    record: dict[str, Any] = {}
    with suppress(ValueError), timed(record) as same:
        time.sleep(0.02)
        raise ValueError
    assert same is record
    assert 0.02 <= record["duration_s"] < 5


def test_commit_of_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments], text=True
        ).strip()

    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.chdir(tmp_path)
    assert provenance()["git_commit"] is None
    git("init", "-q")
    assert provenance()["git_commit"] is None
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "--no-verify", "-m", "one")
    (tmp_path / "untracked").write_text("results")
    commit = git("rev-parse", "HEAD")
    assert provenance()["git_commit"] == commit
    (tmp_path / "file").write_text("two")
    assert provenance()["git_commit"] == f"{commit}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["git_commit"] is None


# --- fingerprints ---------------------------------------------------------------------------


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
    monkeypatch.setattr(provenance_module, "WHOLE_FILE_BYTES", 4)
    monkeypatch.setattr(provenance_module, "HEAD_BYTES", 8)
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
