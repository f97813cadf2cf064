"""OpenCompass in a plan: marks are lm-eval's, its own data sets are stored, failures named."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import fixtures_paper
from rope_eval.backends.hf.loading import encode, load_model, load_tokenizer
from rope_eval.errors import ScoreError, SpecError
from rope_eval.hosts.opencompass.process import Session, parts_in, version_in
from rope_eval.paths import asset
from rope_eval.plans import survey
from rope_eval.plans.plan import Plan
from rope_eval.plans.worker import work
from rope_eval.protocols.tasks import at_hand
from rope_eval.results import frame
from rope_eval.results.store import Store
from rope_eval.scoring.tokens import score_tokens

MODEL = asset("model_configs") / "lab" / "base-1e4"
QUESTIONS = [
    ("What gives light by day?", ["the sun", "the moon stone", "a fish", "sand"], "A"),
    ("What do cows eat?", ["iron", "grass", "books of law", "glass"], "B"),
    ("Where do fish live?", ["in trees", "in the sky above", "in water", "on Mars"], "C"),
]
PLAN = """\
loading: {{device: cpu}}
models: [{model}]
measurements:
  - opencompass: {{datasets: [rope_paper_super_glue, ARC_e_ppl_a450bd, nosuch], data_dir: {data}}}
  - lm_eval: {{tasks: [rope_paper_super_glue], max_length: 16384, metadata: {{data_dir: {data}}}}}
"""


def test_a_plan_runs_its_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixtures_paper.write(tmp_path / "data")
    arc = tmp_path / "cache" / "data" / "ARC" / "ARC-e" / "ARC-Easy-Dev.jsonl"
    arc.parent.mkdir(parents=True)
    arc.write_text("".join(json.dumps(row(*one)) + "\n" for one in QUESTIONS))
    monkeypatch.setenv("COMPASS_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN.format(model=MODEL, data="../data"))
    plan, store = Plan.read(file), Store(tmp_path / "runs")
    parts = [task.name for task, _ in at_hand("paper", "super_glue", "../data")]
    assert len(parts) == 10
    done = work(plan, store)
    assert (done.units, done.cells) == (21, 3), done.failed
    assert not list((tmp_path / "here").iterdir())
    (why,) = done.failed.values()
    assert why == "OpenCompass has no data set 'nosuch'."
    theirs, stock = (
        next(run for run in store.runs() if run.request.get("datasets") == [name])
        for name in ("rope_paper_super_glue", "ARC_e_ppl_a450bd")
    )
    (ours,) = [run for run in store.runs() if run.kind == "lm_eval"]
    assert list(theirs.results["tasks"]) == sorted(parts)
    for name in (f"{part}/{array}" for part in parts for array in ("acc,none", "docs")):
        arrays = [store.arrays(run.key)[name] for run in (theirs, ours)]
        assert np.array_equal(*arrays) and len(arrays[0])
    assert theirs.kind == "opencompass"
    assert theirs.request["opencompass"] == version_in(sys.executable)
    task = stock.results["tasks"]["ARC-e"]
    assert task["n"] == len(QUESTIONS)
    assert task["metrics"] == {
        "accuracy,opencompass": pytest.approx(100 * right() / len(QUESTIONS))
    }
    rows = frame(store)
    (value,) = rows[rows["task"] == "ARC-e"]["value"]
    assert value == task["metrics"]["accuracy,opencompass"]
    assert work(plan, store).units == 0
    standings = list(survey.survey(plan, store))
    assert [one.state for one in standings] == ["done", "done", "failed", "done"]
    assert [one.units for one in standings] == [10, 1, 0, 10]


def test_a_part_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixtures_paper.write(tmp_path / "data")
    (tmp_path / "data" / "super_glue" / "boolq.jsonl").write_text("no JSON\n")
    monkeypatch.chdir(tmp_path)
    with Session(
        sys.executable, "rope_paper_super_glue", {"path": str(MODEL), "device": "cpu"}, "data"
    ) as session:
        with pytest.raises(ScoreError, match="boolq"):
            session.measure("rope_paper_boolq")
        found = session.measure("rope_paper_copa")
        assert found.tasks["rope_paper_copa"]["n"] == len(found.arrays["rope_paper_copa/docs"]) > 0
        folder = session._folder
        os.kill(session._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
        with pytest.raises(ScoreError, match="opencompass ended with -9"):
            session.measure("rope_paper_copa")
    assert not folder.exists()


def test_the_parts_of_a_data_set_of_opencompass() -> None:
    parts = parts_in(sys.executable, "mmlu_ppl_ac766d")
    assert len(parts) == len(set(parts)) == 57
    assert parts[0] == "lukaemon_mmlu_college_biology"
    with pytest.raises(SpecError, match="Did you mean 'mmlu_ppl_ac766d'"):
        parts_in(sys.executable, "mmlu_ppl_ac766")


def row(question: str, choices: list[str], answer: str) -> dict[str, object]:
    labelled = [{"text": text, "label": "ABCD"[i]} for i, text in enumerate(choices)]
    return {"question": {"stem": question, "choices": labelled}, "answerKey": answer}


def right() -> int:
    """Return how many answers are the likeliest choice, by whole passes."""
    model, tokenizer = load_model(str(MODEL), device="cpu"), load_tokenizer(str(MODEL))

    def nll(question: str, choice: str) -> float:
        ids = encode(tokenizer, f"Question: {question}\nAnswer: {choice}")
        return float(score_tokens(model, ids).nll.mean())

    best = [min(range(4), key=lambda i, q=q, c=c: nll(q, c[i])) for q, c, _ in QUESTIONS]  # type: ignore[misc]
    return sum("ABCD"[i] == answer for i, (_, _, answer) in zip(best, QUESTIONS, strict=True))
