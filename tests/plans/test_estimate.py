"""The time that is left: by operations where they are known, by the kind of unit elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rope_eval.backends.hf import loading
from rope_eval.commands.status import show
from rope_eval.paths import asset
from rope_eval.plans.estimate import Estimate, Remaining, seconds_left
from rope_eval.plans.plan import Plan
from rope_eval.plans.survey import Standing, remaining, survey
from rope_eval.plans.worker import work
from rope_eval.results import provenance
from rope_eval.results.store import Store
from rope_eval.scoring.cost import Cost

MODEL = asset("model_configs") / "lab" / "base-20"
PLAN = f"""\
models: [{MODEL}]
loading: {{device: cpu}}
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [64], docs: 2}}
"""


def cell(
    kind: type, units: int, flops: float | None, *done: tuple[float | None, float]
) -> Remaining:
    return Remaining(kind=kind, units=units, estimate=Estimate(flops=flops, done=done))


def test_without_a_stored_unit_there_is_nothing_to_go_by() -> None:
    assert seconds_left([cell(int, 3, 1e9)]) is None


def test_operations_take_what_they_took() -> None:
    stored = cell(int, 0, 0.0, (1e9, 2.0), (3e9, 4.0))  # 1.5 s a 1e9
    assert seconds_left([stored, cell(int, 2, 8e9)]) == (12.0, 0)
    assert seconds_left([stored, cell(str, 2, 8e9), cell(str, 0, 8e9)]) == (12.0, 0)


def test_units_of_an_unknown_length_take_the_mean_of_their_kind() -> None:
    stored = cell(str, 1, None, (None, 5.0), (None, 7.0))
    assert seconds_left([stored, cell(str, 3, None), cell(int, 9, None)]) == (4 * 6.0, 1)


def test_a_models_config_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(f"{PLAN}settings: [{{}}, {{rope_theta: 500}}, {{linear_factor: 2}}]\n")
    read, built = [], []
    load_config, of = loading.load_config, Cost.of
    monkeypatch.setattr(
        loading, "load_config", lambda name, **more: read.append(name) or load_config(name, **more)
    )
    monkeypatch.setattr(Cost, "of", lambda config: built.append(config) or of(config))
    standings = list(survey(Plan.read(file), Store(tmp_path / "runs")))
    assert [one.state for one in standings] == ["to do"] * 3
    assert (len(read), len(built)) == (1, 1)
    assert len({one.estimate.flops for one in standings}) == 1


def test_only_this_machines_units_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    store = Store(tmp_path / "runs")
    work(Plan.read(file), store)
    file.write_text(PLAN.replace("docs: 2", "docs: 4").replace("[64]", "[64, 128]"))
    made = Plan.read(file)
    (standing,) = survey(made, store)
    assert (standing.units, standing.stored, standing.tokens) == (4, 0, 4 * 128)
    assert seconds_left(remaining([standing])) is None  # none is long enough for this plan
    file.write_text(PLAN.replace("docs: 2", "docs: 4"))
    made = Plan.read(file)
    (standing,) = survey(made, store)
    seconds = [
        run.provenance["duration_s"] for run in store.documents.runs() if run.kind == "document"
    ]
    left = seconds_left(remaining([standing]))
    assert left is not None and left[0] == pytest.approx(sum(seconds))
    monkeypatch.setattr(provenance.os, "cpu_count", lambda: 999)
    (standing,) = survey(made, store)
    assert standing.stored == 2
    assert seconds_left(remaining([standing])) is None


def test_vllm_takes_at_least_weights_keys_and_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN.replace("device: cpu", "backend: vllm, dtype: float16"))
    (one,) = survey(Plan.read(file), Store(tmp_path / "runs"))
    config = json.loads((MODEL / "config.json").read_text())
    numbers = 2 * config["num_hidden_layers"] * 64 * config["num_key_value_heads"]
    size = config["head_dim"]
    assert one.estimate.cache == numbers * size * 2  # bytes of a float16
    assert one.estimate.weights and one.estimate.memory is None
    show(Plan.read(file), Store(tmp_path / "runs"))
    said = capsys.readouterr().out
    assert "of keys and values of its longest text, beside what vllm takes" in said
    file.write_text(PLAN.replace("device: cpu", "backend: vllm, engine: {kv_cache_dtype: fp8}"))
    (one,) = survey(Plan.read(file), Store(tmp_path / "runs"))
    assert one.estimate.cache is None and one.estimate.weights


def test_a_budget_is_planned_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, store = tmp_path / "plan.yaml", Store(tmp_path / "runs")

    def standing(loading: str) -> Standing:
        file.write_text(PLAN.replace("[64]", "[128]").replace("device: cpu", loading))
        (one,) = survey(Plan.read(file), store)
        return one

    free = standing("device: cpu").estimate.memory
    assert free is not None
    ample = standing("device: cpu, memory_budget: 1GiB").estimate.memory
    assert ample == free
    tight = standing(f"device: cpu, memory_budget: {free // 1024 - 1}KiB").estimate.memory
    assert tight is not None and tight < free
    in_turn = standing("device: cpu, offload: true").estimate.memory
    assert in_turn is not None and in_turn < free
    refused = standing("device: cpu, memory_budget: 1MiB")
    assert refused.state == "cannot"
    assert "--memory-budget 1 MiB does not hold 128 tokens" in refused.why
    show(Plan.read(file), store)
    assert "is the least" in capsys.readouterr().out
