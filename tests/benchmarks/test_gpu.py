"""benchmarks/gpu.py, in little on a CPU: counts, scores and shares, no times."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.scoring.cost import Cost

ROOT = Path(__file__).parents[2]
SIZES = ("--device", "cpu", "--layers", "2", "--hidden", "64", "--vocabulary", "300")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = importlib.import_module("gpu")
    monkeypatch.setattr(module, "SLICE", (1, 96))
    monkeypatch.setattr(module, "EACH", 64)
    return module


def figures(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, path: Path, *more: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["gpu.py", *SIZES, "--json", str(path), *more])
    gpu.main()
    return json.loads(path.read_bytes())


def test_what_is_written(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "CACHED", 64)
    found = figures(gpu, monkeypatch, tmp_path / "gpu.json", "--tokens", "64,128")
    cost = Cost.of(gpu.shape(2, 64, 300))
    assert (cost.heads, cost.kv_heads, cost.head_dim, cost.wide) == (4, 1, 16, 224)
    assert found["about"]["card"] == "cpu"
    assert found["about"]["parameters"] == cost.parameters
    knobs = {"neutral", "base", "log scale", "per-query NTK", "per-sequence NTK", "xPos"}
    short = {"transformers", "every knob", *knobs}
    assert set(found["scoring"]) == {f"64 {name}" for name in short} | {
        "128 transformers",
        "128 base",
        "128 every knob",
    }
    assert set(found["generation"]) == {
        f"64 {name}" for name in ("transformers", "neutral", "base", "every knob")
    }
    rates = found["ceiling"]["flops"]
    assert rates["attention"] == max(rates["attention_torch"], rates["attention_ours"])
    for key, row in found["scoring"].items():
        tokens = row["tokens"]
        assert key.startswith(f"{tokens} ")
        assert row["tokens_a_second"] * row["seconds"] == pytest.approx(tokens)
        least = cost.product_flops(tokens) / rates["products"]
        least += cost.attention_flops(tokens) / rates["attention"]
        assert row["of_ceiling"] == pytest.approx(least / row["seconds"])
        if "transformers" in key:
            assert "mean_nll" not in row
        else:
            static = found["scoring"][f"{tokens} base"]["seconds"]
            assert row["of_static"] == pytest.approx(row["seconds"] / static)
    for row in found["generation"].values():
        stock = found["generation"]["64 transformers"]["ms"]
        assert row.get("of_stock", 1) == pytest.approx(row["ms"] / stock)


def test_the_scores_are_of_the_setting_and_the_type(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = figures(
        gpu, monkeypatch, tmp_path / "gpu.json", "--tokens", "96", "--parts", "types", "scoring"
    )
    args = gpu.argparse.Namespace(device="cpu", layers=2, hidden=64, vocabulary=300, json=None)
    bench = gpu.Bench(args)
    ids = bench.text(96)
    for name in ("base", "every knob"):
        said = found["types"][name]
        assert (said["layers"], said["tokens"]) == (1, 96)
        nll = {}
        for layers, dtype in ((2, torch.bfloat16), (1, torch.bfloat16), (1, torch.float32)):
            model = bench.model(gpu.shape(layers, 64, 300)).to(dtype)
            with patched(model, RopeSpec.parse(gpu.SETTINGS[name])):
                nll[layers, dtype] = score_tokens(model, ids).nll.astype("float64")
        whole = nll[2, torch.bfloat16].mean()
        assert found["scoring"][f"96 {name}"]["mean_nll"] == pytest.approx(whole, rel=1e-6)
        half, single = nll[1, torch.bfloat16], nll[1, torch.float32]
        assert said["mean_nll_float32"] == pytest.approx(single.mean(), rel=1e-9)
        assert said["largest_difference"] == pytest.approx(abs(half - single).max(), rel=1e-6)
        assert 0 < said["mean_difference"] < said["largest_difference"] < 0.1


def test_a_pass_that_ran_out_of_memory_is_said_and_not_tried_again(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = []

    def forward(_: Any, ids: torch.Tensor) -> None:
        tried.append(len(ids))
        if len(ids) > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu, "forward", forward)
    path = tmp_path / "gpu.json"
    found = figures(gpu, monkeypatch, path, "--tokens", "64,96,128", "--parts", "scoring")
    assert tried == [64, 96]
    assert found["scoring"]["96 transformers"] == {"tokens": 96, "out_of_memory": True}
    assert "128 transformers" not in found["scoring"]
    assert "mean_nll" in found["scoring"]["128 base"]


def test_a_later_run_adds_to_an_earlier_one_of_the_same_shape(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "gpu.json"
    figures(gpu, monkeypatch, path, "--tokens", "72", "--parts", "scoring")
    found = figures(gpu, monkeypatch, path, "--tokens", "80", "--parts", "scoring")
    assert {row["tokens"] for row in found["scoring"].values()} == {72, 80}
    held = path.read_bytes()
    with pytest.raises(SystemExit, match="name another file"):
        figures(gpu, monkeypatch, path, "--tokens", "80", "--layers", "1")
    assert path.read_bytes() == held


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
def test_without_a_gpu_it_says_what_to_do(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit) as stopped:
        gpu.main()
    assert stopped.value.code == 2
    assert "--device cpu" in capsys.readouterr().err
