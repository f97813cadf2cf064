"""What the items of a task got, written as arrays and read back."""

from __future__ import annotations

import numpy as np
import pytest

from rope_eval.results.samples import arrays_of, scores_of, sums_of

ITEMS = ["2:b", "10:a", "3:c"]


def test_scores_are_read_back_by_the_items_names() -> None:
    columns = {
        "acc,none": {"10:a": 0.5, "2:b": 1.0, "3:c": 0.0},
        "512,none": {"3:c": 0.25},
        "nll@64,none": {"2:b": (1.5, 0, 7), "10:a": (0.1, 1, 7)},
    }
    arrays = {f"t/{name}": array for name, array in arrays_of(columns, ITEMS).items()}
    assert arrays["t/docs"].tolist() == ["10:a", "2:b", "3:c"]
    assert all(np.isfinite(array).all() for name, array in arrays.items() if name != "t/docs")
    assert "t/acc,none/items" not in arrays
    assert scores_of(arrays, "t", "acc,none") == columns["acc,none"]
    assert scores_of(arrays, "t", "512,none") == {"3:c": 0.25}
    found = scores_of(arrays, "t", "nll@64,none")
    assert {name: tuple(sums) for name, sums in found.items()} == columns["nll@64,none"]
    assert scores_of(arrays, "t", "f1,none") == scores_of({}, "t", "acc,none") == {}
    assert arrays_of({}, ITEMS) == {}


@pytest.mark.parametrize(
    "other", ["Sums(nll=nan, hits=0, tokens=7)", "Sums(nll=1e999, hits=0, tokens=7)", 1.5, "x"]
)
def test_sums_are_all_sums_or_none(other: object) -> None:
    right = "Sums(nll=2.5e-05, hits=3, tokens=7)"
    assert sums_of({"a": right}) == {"a": (2.5e-05, 3, 7)}
    assert "b" not in sums_of({"a": right, "b": other})
    assert sums_of({"b": other}) == {}
