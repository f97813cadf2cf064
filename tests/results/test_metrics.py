"""What a metric is by its name."""

from __future__ import annotations

from typing import Any

import pytest

from rope_eval.results.metrics import better, is_fraction, measurement_of, part_of_item


@pytest.mark.parametrize(
    ("task", "measurement"),
    [
        ("ruler_vt", "ruler"),
        ("longbench2_table", "longbench"),
        ("lab_retrieval", "retrieval"),
        ("pg19_cumulative", "perplexity"),
        ("arc_easy", "task"),
    ],
)
def test_what_a_task_measures(task: str, measurement: str) -> None:
    assert measurement_of(task) == measurement


@pytest.mark.parametrize(
    ("metric", "said", "way"),
    [
        ("perplexity@4096,none", None, "lower"),
        ("nll@512", None, "lower"),
        ("bits_per_byte,none", None, "lower"),
        ("word_perplexity,none", None, "lower"),
        ("acc_norm,none", None, "higher"),
        ("512", None, "higher"),
        ("accuracy_depth_0@512,none", None, "higher"),
        ("16384,none", None, "higher"),
        ("documents,none", None, None),
        ("bleu,none", True, "higher"),
        ("acc,none", False, "lower"),
    ],
)
def test_which_way_is_better(metric: str, said: bool | None, way: str | None) -> None:
    assert better(metric, said) == way


def test_fractions() -> None:
    metrics = ("acc,none", "accuracy@64", "exact_match,x", "greedy@9", "8192,none")
    metrics += ("accuracy_depth_0.5@64,none",)
    assert all(map(is_fraction, metrics))
    assert not any(map(is_fraction, ("f1,none", "nll@64,none", "perplexity", "accordance,none")))


@pytest.mark.parametrize(
    ("task", "item", "part"),
    [
        ("longbench_lcc_e", {"length": 3999}, "0-4k"),
        ("longbench_lcc_e", {"length": 7999}, "4-8k"),
        ("longbench_lcc_e", {"length": 8000}, "8k+"),
        ("longbench_lcc_e", {"length": "8000"}, None),
        ("longbench_lcc_e", {}, None),
        ("longbench_lcc_e", None, None),
        ("longbench_lcc", {"length": 8000}, None),
        ("longbench2_table", {"length": "long"}, "long"),
        ("longbench2_table", {"length": "wide"}, None),
        ("mine_e", {"length": 8000}, None),
    ],
)
def test_the_part_of_an_item(task: str, item: Any, part: str | None) -> None:
    assert part_of_item(task, item) == part
