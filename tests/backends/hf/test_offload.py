"""Weights that stay in their files give the scores of weights in memory, in less of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from helpers import models
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf import offload
from rope_eval.backends.hf.loading import load_model
from rope_eval.backends.hf.offload import held_bytes
from rope_eval.backends.hf.proof import prove
from rope_eval.errors import DataError, SpecError

HARD = "dynamic_ntk=per_query,reference_length=40,log_scale=true"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Llama of 6 layers and 20 MiB each, its head tied, in many files."""
    folder = tmp_path_factory.mktemp("sharded")
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=512,
        intermediate_size=2700,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=8,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="12MB")
    assert len(list(folder.glob("*.safetensors"))) > 8
    return folder


@pytest.mark.parametrize("family", models.FAMILIES)
def test_scores_are_those_of_the_model_in_memory(family: str, tmp_path: Path) -> None:
    models.tiny(family).save_pretrained(tmp_path, max_shard_size="100KB")
    spec, ids = RopeSpec.parse("log_scale=true,train_length=20"), models.token_ids(200)[0]
    whole, files = load_model(str(tmp_path)), load_model(str(tmp_path), offload=True)
    assert held_bytes(files) < held_bytes(whole) + 2 * sum(x.nbytes for x in whole.parameters())
    assert any(x.is_meta for x in files.parameters())
    with patched(whole, spec):
        expected = score_tokens(whole, ids, chunk_size=64)
    proof = prove(files, spec)
    assert proof.neutral < 1e-4
    assert proof.moves == prove(whole, spec).moves
    with patched(files, spec):
        for _ in range(2):
            found = score_tokens(files, ids, chunk_size=64)
            np.testing.assert_array_equal(found.nll, expected.nll)
    assert any(x.is_meta for x in files.parameters())


def test_each_layer_is_read_once_a_pass_and_the_next_ahead(
    sharded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(sharded), offload=True)
    places = {id(block): i for i, block in enumerate(model.model.layers)}
    read, log = offload._read, []

    def reading(block: torch.nn.Module) -> list[offload._Weights]:
        log.append(places[id(block)])
        return read(block)

    with patched(model, RopeSpec()):
        monkeypatch.setattr(offload, "_read", reading)
        score_tokens(model, torch.arange(100), chunk_size=10)
    assert log == [0, 1, 2, 3, 4, 5]
    assert held_bytes(model) < 3 * 20.5 * (1 << 20)


def test_weights_larger_than_the_limit_are_scored(sharded: Path) -> None:
    limited = """
import json, resource, sys, torch
from rope_eval import patched, RopeSpec, score_tokens
from rope_eval.backends.hf.loading import load_model
from rope_eval.backends.hf.proof import prove
import accelerate, transformers.models.llama.modeling_llama
torch.set_num_threads(1)
torch.randn(512, 512) @ torch.randn(512, 512)
folder, spare, offload = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "offload"
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + spare, size + spare))
model = load_model(folder, offload=offload)
spec = RopeSpec.parse("HARD")
proof = prove(model, spec)
with patched(model, spec):
    print(json.dumps(score_tokens(model, torch.arange(200)).nll.tolist()))
""".replace("HARD", HARD)
    weights = sum(file.stat().st_size for file in sharded.glob("*.safetensors"))
    spare = weights - (8 << 20)

    def run(how: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", limited, str(sharded), str(spare), how],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
            check=False,
        )

    refused = run("whole")
    assert refused.returncode != 0
    assert "memory" in refused.stderr
    done = run("offload")
    assert done.returncode == 0, done.stderr[-2000:]
    model = LlamaForCausalLM.from_pretrained(sharded).eval()
    with patched(model, RopeSpec.parse(HARD)):
        expected = score_tokens(model, torch.arange(200)).nll
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=0, atol=1e-5)


def test_only_plain_safetensors_are_read_in_turn(tmp_path: Path) -> None:
    models.tiny().save_pretrained(tmp_path)
    with pytest.raises(SpecError, match=r"plain safetensors files, and those .* perhaps pickles"):
        load_model(str(tmp_path), offload=True, allow_pickle=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match="are packed"):
        load_model(str(tmp_path), offload=True)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(DataError, match="convert them to safetensors"):
        load_model(str(tmp_path), offload=True)


def test_what_transformers_converted_goes_with_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    models.tiny().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = load_model(str(tmp_path / "model"), offload=True)
    assert list(tmp_path.glob("rope-eval-weights-*"))
    del model
    import gc

    gc.collect()
    assert not list(tmp_path.glob("rope-eval-weights-*"))
