"""In-window losses of a plan are the scorer's, at the length that the model was trained at."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.loading import load_model, load_tokenizer
from rope_eval.errors import SpecError
from rope_eval.paths import asset
from rope_eval.plans import survey
from rope_eval.plans.plan import Plan
from rope_eval.plans.worker import work
from rope_eval.report.series import figure_data
from rope_eval.results.store import Store
from rope_eval.scoring.books import long_enough
from rope_eval.scoring.in_window import score_in_windows

MODEL = asset("model_configs") / "lab" / "pretrained"
PLAN = f"""\
loading: {{device: cpu}}
models: [{MODEL}]
settings: [{{}}, {{linear_factor: 2}}]
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [128, 400], docs: 2}}
  - in_window: {{books: builtin-chapters, length: 400, docs: 2}}
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def read(tmp_path: Path, text: str) -> Plan:
    (tmp_path / "plan.yaml").write_text(text)
    return Plan.read(tmp_path / "plan.yaml")


def test_it_is_what_the_scorer_gives(tmp_path: Path, store: Store) -> None:
    plan = read(tmp_path, PLAN)
    assert [one.units for one in survey.survey(plan, store)] == [2, 2, 2, 2]
    assert work(plan, store).units == 8
    assert work(plan, store).units == 0
    runs = [run for run in store.runs() if run.kind == "in_window"]
    tokenizer, model = load_tokenizer(str(MODEL)), load_model(str(MODEL), device="cpu")
    documents = long_enough("builtin-chapters", 400, tokenizer, 2)
    for run in runs:
        assert run.request["window"] == 128
        with patched(model, RopeSpec.from_dict(run.request["rope"])):
            wanted = [score_in_windows(model, ids, 128).nll for _, ids in documents]
        np.testing.assert_allclose(store.arrays(run.key)["nll"], wanted, atol=1e-5)
    assert len(runs) == 2


def test_a_measured_context_is_told_by_it(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(read(tmp_path, PLAN), store)
    data = figure_data("contexts", store, rows=["lab/pretrained"])
    (point,) = data.frame.to_dict("records")
    assert point["reference"].startswith("the same tokens")
    assert 128 <= point["value"] < 200  # arXiv 2310.05209: its bound is T_tune
    assert point["bound"] == point["train_length"] == 128


def test_a_text_shorter_than_a_window_cannot_run(tmp_path: Path, store: Store) -> None:
    plan = read(tmp_path, PLAN.replace("length: 400", "length: 100"))
    said = [one.why for one in survey.survey(plan, store)]
    assert said[-1] == "windows of 128 tokens need longer texts: length is 100"


def test_a_model_that_does_not_say_its_length_is_told_once(tmp_path: Path, store: Store) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    values = json.loads((model / "config.json").read_text())
    del values["max_position_embeddings"]
    (model / "config.json").write_text(json.dumps(values))
    plan = read(tmp_path, PLAN.replace(str(MODEL), str(model)))
    said = [one.why for one in survey.survey(plan, store)]
    assert said[-1] == "the length of its training is not known: give window: …"


@pytest.mark.parametrize(
    ("more", "message"),
    [("length: 400, windows: 64", "Did you mean 'window'"), ("docs: 2", "length")],
)
def test_mistakes(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(tmp_path, PLAN.replace("length: 400, docs: 2", more))
