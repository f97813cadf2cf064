"""What a plan says of loading is done by every measurement, or refused by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rope_eval.paths import asset
from rope_eval.plans.plan import Plan
from rope_eval.plans.survey import survey
from rope_eval.plans.worker import work
from rope_eval.results.store import Store

MODEL = asset("model_configs") / "lab" / "base-20"
WHOLE = "memory_budget plans whole documents"


@pytest.mark.parametrize(
    ("measurement", "loading", "why"),
    [
        ("lm_eval: {tasks: [builtin_cumulative], limit: 1}", "memory_budget: 8GiB", WHOLE),
        ("retrieval: {lengths: [64], depths: [0], samples: 1}", "memory_budget: 8GiB", WHOLE),
        ("attention: {length: 64}", "memory_budget: 8GiB", WHOLE),
        ("in_window: {length: 128, window: 64}", "memory_budget: 8GiB", WHOLE),
        ("generation: {length: 64, tokens: 2}", "memory_budget: 8GiB", WHOLE),
        ("opencompass: {datasets: [a]}", "memory_budget: 8GiB", "leave memory_budget and offload"),
        ("opencompass: {datasets: [a]}", "offload: true", "leave memory_budget and offload out"),
    ],
)
def test_what_is_not_done_is_refused(
    tmp_path: Path, measurement: str, loading: str, why: str
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        f"loading: {{device: cpu, {loading}}}\nmodels: [{MODEL}]\n"
        f"measurements:\n  - {measurement}\n"
    )
    plan, store = Plan.read(file), Store(tmp_path / "runs")
    done = work(plan, store)
    assert done.units == 0
    (said,) = done.failed.values()
    assert why in said


def test_a_budget_is_that_of_whole_documents(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        f"loading: {{device: cpu, memory_budget: 8GiB}}\nmodels: [{MODEL}]\nmeasurements:\n"
        "  - perplexity: {books: builtin, lengths: [64]}\n"
    )
    plan, store = Plan.read(file), Store(tmp_path / "runs")
    assert work(plan, store).units == 1
    (run,) = store.runs()
    assert run.provenance["ran"][0]["memory"]["budget"] == 8 << 30
    assert [one.state for one in survey(plan, store)] == ["done"]
