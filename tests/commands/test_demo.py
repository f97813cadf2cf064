"""The demo: the law is visible in what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.image import imread

from rope_eval.cli import main
from rope_eval.commands import demo
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


def test_cells_past_the_bound_are_in_brackets() -> None:
    curve = {"lengths": [64, 512], "perplexity": [3.0, 23456.0], "extrapolation_bound": 329.4}
    unknown = curve | {"extrapolation_bound": None}
    _, _, first, second = comparison_table({"a": curve, "b": unknown}).splitlines()
    assert first.split() == ["a", "329", "3.00", "(>", "10^4)"]
    assert second.split() == ["b", "3.00", ">", "10^4"]
