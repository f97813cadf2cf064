"""All findings in a folder and in the terminal: verdicts, tables, figures, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.lab_store import TRAIN, put_curve, read_laboratory, recipe, step, whole_store
from rope_eval.errors import StoreError
from rope_eval.report.figures import style
from rope_eval.results.store import Store
from studies.scaling_laws import document
from studies.scaling_laws.verdicts import Grade

FILES = {
    "bases.png",
    "heatmap.png",
    "bound.png",
    "pivots.png",
    "critical-base.png",
    "methods.png",
    "attention.png",
    "beyond-critical.png",
    "periods.png",
    "extending.png",
    "retrieval.png",
    "retrieval-lengths.png",
    "retrieval-distances.png",
    "findings.json",
    "findings.md",
}


def test_everything_is_written(store: Store, tmp_path: Path) -> None:
    whole_store(store)
    put_curve(store, recipe("broken", 77, TRAIN), step(1), error="out of memory")
    lab = read_laboratory(store)
    found = document.find_all(lab)
    for one in found:
        parts = {part.split(" ", 1)[1] for part in one.verdict.split(", ")}
        assert parts <= set(Grade) or one.verdict == "no claim to check"
    assert {f.name for f in found if not f.checks} == {"periods", "seeds"}
    assert all(bool(f.criterion) == bool(f.checks) for f in found)
    out = tmp_path / "out"
    written = document.write_findings(lab, out, found)
    assert {path.name for path in written} == FILES and len(written) == len(FILES)
    for path in written:
        data = path.read_bytes()
        if path.suffix == ".png":
            assert data.startswith(b"\x89PNG") and 5_000 < len(data) < 150_000, path.name
            width = int.from_bytes(data[16:20], "big")
            assert width == round(style.WIDTH * style.DPI)
    text = (out / "findings.md").read_text()
    assert "NaN" not in text and "nan" not in text.split()
    for one in found:
        assert f"## {one.title}" in text and f"**Verdict: {one.verdict}.**" in text
    assert "documents of 4096 tokens, in 3 disjoint sets" in text
    assert "lab-curve of broken (as trained): out of memory" in text
    facts = json.loads((out / "findings.json").read_text(), parse_constant=pytest.fail)
    assert set(facts["findings"]) == set(document.CLAIMS)
    assert facts["findings"]["bound"]["numbers"]["fits"]["all"]["points"] == 6
    terminal = document.summary_table(found)
    assert all(f.name in terminal and f.verdict in terminal for f in found)
    again = tmp_path / "again"
    document.write_findings(lab, again)
    for name in FILES:
        assert (again / name).read_bytes() == (out / name).read_bytes(), name


def test_another_scale(store: Store, tmp_path: Path) -> None:
    whole_store(store, train=512)
    lab = read_laboratory(store, "gpu")
    assert lab.train_length == 512 and lab.multiples(32, 64) == (16384,)
    found = {f.name: f for f in document.find_all(lab)}
    assert found["retrieval"].verdict == found["attention"].verdict == "not measured"
    assert found["bases"].missing is None and found["methods"].missing is None
    written = {path.name for path in document.write_findings(lab, tmp_path / "out")}
    assert "bases.png" in written and "retrieval.png" not in written
    assert "not measured: no retrieval probes" in (tmp_path / "out" / "findings.md").read_text()


def test_a_single_curve_breaks_nothing(store: Store, tmp_path: Path) -> None:
    put_curve(store, recipe("pretrained", 1e4), step(200))
    lab = read_laboratory(store)
    found = document.find_all(lab)
    assert {f.name for f in found if f.missing is None} == {"periods"}
    assert "not measured" in document.summary_table(found)
    document.write_findings(lab, tmp_path / "out")


def test_curves_too_short_for_a_window_are_not_measured(store: Store, tmp_path: Path) -> None:
    for base in (20.0, 300.0, 1e4, 1e5):
        put_curve(store, recipe(f"base-{base:g}", base, TRAIN), step(200), lengths=[64, 128, 512])
    lab = read_laboratory(store)
    found = {f.name: f for f in document.find_all(lab)}
    assert "not measured at the lengths of a window" in (found["bound"].missing or "")
    assert found["bases"].missing is None and found["pivots"].missing is None
    document.write_findings(lab, tmp_path / "out")


def test_a_folder_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    put_curve(store, recipe("pretrained", 1e4), step(200))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Give another folder"):
        document.write_findings(read_laboratory(store), tmp_path / "file" / "out")
