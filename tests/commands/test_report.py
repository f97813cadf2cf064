"""`rope-eval report`: the page of a plan that ran, and of a folder of runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers import page_store
from rope_eval.cli import main
from rope_eval.plans.plan import Plan
from rope_eval.results.store import Store

PLAN = """\
models: [lab/pretrained]
settings: [{}, {linear_factor: 4}]
measurements:
  - perplexity: {books: builtin-chapters, lengths: [64, 128], docs: 2}
"""


def test_the_page_of_the_embedded_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "embedded"]) == 0
    page_store.curve(Store(), 7)  # of another plan
    capsys.readouterr()

    assert main(["report", "embedded", "-o", "page.html"]) == 0
    said = capsys.readouterr().out
    cells = len(Plan.read(Path("embedded")).cells)
    assert f"{cells} cells of the plan: {cells} done; {cells} runs, {cells} of them" in said
    html = Path("page.html").read_text(encoding="utf-8")
    assert len(html.encode()) < 5e6
    found = set(re.findall('data-figure="figure-([a-z-]+)"', html))
    scores = {"curves-perplexity", "curves-accuracy", "curves-local-loss", "methods-perplexity"}
    assert found >= scores | {"attention"}
    assert "<h4>the text itself</h4>" in html
    assert "lab/pretrained" in html and "linear_factor=4" in html and "me/model" not in html

    assert main(["report", "-o", "page.html", "--no-figures"]) == 0
    assert f"{cells + 1} runs, {cells + 1} of them proven; none failed." in capsys.readouterr().out
    html = Path("page.html").read_text(encoding="utf-8")
    assert "me/model" in html and 'data-figure="' not in html


def test_a_plan_that_did_not_run_says_what_is_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.replace("{}, {linear_factor: 4}", "{rope_theta: 500}, {p_rope: 2}"))
    assert main(["report", str(plan), "--results", str(tmp_path), "--format", "markdown"]) == 2
    plan.write_text(PLAN)
    assert main(["report", str(plan), "--results", str(tmp_path), "--format", "markdown"]) == 0
    printed = capsys.readouterr().out
    assert "⚠️ 2 cells of the plan: 2 to do; 0 runs, 0 of them proven" in printed
    assert "| lab/pretrained | " in printed


def test_where_and_how_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = page_store.full(tmp_path)
    given = ["report", "--results", str(store.root)]
    assert main(given) == 2
    assert "-o report.html" in capsys.readouterr().err
    assert main(["report", "--results", str(tmp_path / "none"), "-o", "x.html"]) == 2
    assert "there is no folder of runs" in capsys.readouterr().err
    assert main([*given, "-o", str(tmp_path / "no" / "x.html")]) == 2
    assert "make it first" in capsys.readouterr().err
    assert main([*given, "-o", str(tmp_path / "x.md")]) == 0
    assert (tmp_path / "x.md").read_text(encoding="utf-8").startswith("## ")


def test_the_page_of_a_plan_has_its_own_runs_unless_all_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = Path("one.yaml"), Path("other.yaml")
    one.write_text(PLAN)
    other.write_text(PLAN.replace("[64, 128]", "[32]"))
    assert main(["run", "one.yaml"]) == main(["run", "other.yaml"]) == 0
    capsys.readouterr()
    for words, runs in (("one.yaml", 2), ("other.yaml", 2), ("one.yaml --all", 4)):
        assert main(["report", *words.split(), "--format", "markdown"]) == 0
        assert f"2 cells of the plan: 2 done; {runs} runs, " in capsys.readouterr().out
    one.write_text(PLAN.replace("builtin-chapters", "/nowhere"))  # another machine's books
    assert main(["report", "one.yaml", "--format", "markdown"]) == 0
    assert "2 cells of the plan: 2 cannot; 4 runs, " in capsys.readouterr().out
    assert main(["report", "--all", "--format", "markdown"]) == 2
    assert "--all goes with a plan" in capsys.readouterr().err
