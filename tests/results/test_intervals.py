"""The intervals of the frame: Wilson's of items, a bootstrap of documents, and none of one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers import lm_eval_files
from helpers.book_runs import put_sums
from rope_eval.results import frame
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.stats import RESAMPLES, SEED, Z, paired_bootstrap, ratio_bootstrap, wilson
from rope_eval.results.store import Store
from rope_eval.scores import Sums, total


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def put_books(store: Store, documents: list[list[Sums]]) -> None:
    put_sums(store, "me/model", {str(i): one for i, one in enumerate(documents)})


def put_items(store: Store, task: str, *given: Any, **more: Any) -> None:
    folder = store.root.parent / task
    lm_eval_files.write_items(folder, task, *given, **more)
    (imported,) = read_lm_eval(folder)
    store.put(imported.run, imported.arrays)


def interval(table: pd.DataFrame, metric: str) -> tuple[float, float]:
    (line,) = table[table["metric"] == metric].to_dict("records")
    return line["low"], line["high"]


def test_a_bootstrap_of_ratios() -> None:
    nats = np.random.default_rng(1).normal(2, 0.5, 50)
    low, high = ratio_bootstrap(7 * nats, np.full(50, 7.0))
    assert (low, high) == pytest.approx(paired_bootstrap([nats]), abs=0.01)  # the other's draws
    spread = Z * nats.std() / math.sqrt(50)
    assert (low, high) == pytest.approx((nats.mean() - spread, nats.mean() + spread), abs=0.01)
    # a long document weighs more than a short one: of two, 1/9 or 3/1 or their pool
    low, high = ratio_bootstrap(np.array([1.0, 3.0]), np.array([9.0, 1.0]))
    assert (low, high) == pytest.approx((1 / 9, 3))


def test_a_bootstrap_in_batches_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.arange(5.0)
    whole = ratio_bootstrap(numbers, np.ones(5))
    monkeypatch.setattr("rope_eval.results.stats._AT_ONCE", 37)
    assert ratio_bootstrap(numbers, np.ones(5)) == whole
    drawn = np.random.default_rng(SEED).multinomial(5, [0.2] * 5, size=RESAMPLES) @ numbers / 5
    assert whole == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_whole_books_are_resampled_by_documents(store: Store) -> None:
    nats = [100.0, 120.0, 140.0]
    documents = [
        [Sums(nll=n / 2, hits=20, tokens=63), Sums(nll=n, hits=int(n) - 90, tokens=127)]
        for n in nats
    ]
    put_books(store, documents)
    assert frame(store)["low"].isna().all()
    assert frame(store)["high"].isna().all()
    table = frame(store, intervals=True)
    of_127 = table[table["length"] == 128]
    low, high = ratio_bootstrap(np.array(nats), np.full(3, 127.0))
    assert interval(of_127, "perplexity") == pytest.approx((math.exp(low), math.exp(high)))
    assert math.exp(low) == pytest.approx(math.exp(100 / 127))  # 3 of 27 draws are the first alone
    hits = ratio_bootstrap(np.array([10.0, 30.0, 50.0]), np.full(3, 127.0))
    assert interval(of_127, "accuracy") == pytest.approx(hits)
    of_63 = table[table["length"] == 64]
    assert interval(of_63, "perplexity")[0] == pytest.approx(math.exp(50 / 63))


def test_one_document_has_no_interval(store: Store) -> None:
    put_books(store, [[Sums(nll=9.0, hits=3, tokens=63)]])
    assert frame(store, intervals=True)["low"].isna().all()


def test_items(store: Store) -> None:
    put_items(
        store,
        "niah_single_1",
        {"4096": -1, "512": 0.75, "1024": 0.0},
        [{"512": score} for score in (1.0, 1.0, 0.5, 0.5)] + [{"1024": 0.0}] * 2,
    )
    put_items(
        store,
        "mine",
        {"rouge": 2.5, "all_alike": 3.0, "bleu": 30.0},
        [{"rouge": x, "all_alike": 3.0, "bleu": 1.0} for x in (1.0, 2.0, 3.0, 4.0)],
        higher_is_better={"rouge": True},
    )
    table = frame(store, intervals=True)
    assert interval(table, "512,none") == pytest.approx(wilson(0.75, 4))
    assert interval(table, "1024,none") == pytest.approx(wilson(0.0, 2))
    assert interval(table, "rouge,none") == pytest.approx(
        ratio_bootstrap(np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4))
    )
    for metric in ("4096,none", "all_alike,none", "bleu,none"):  # not run; alike; no mean of items
        assert np.isnan(interval(table, metric)).all()
    counts = table.set_index("metric")[["n", "n_all"]].loc[["512,none", "1024,none"]]
    assert counts.to_numpy().tolist() == [[4, 4], [2, 2]]
    assert table.set_index("metric")["better"].loc[["rouge,none", "bleu,none"]].tolist() == [
        "higher",
        pd.NA,
    ]


def test_sums_of_a_task(store: Store) -> None:
    sums = [Sums(nll=2.0, hits=1, tokens=7), Sums(nll=9.0, hits=2, tokens=9)]
    put_items(
        store,
        "my_cumulative",
        {"perplexity@64": total(sums).perplexity, "accuracy@64": total(sums).accuracy},
        [{"perplexity@64": str(one), "accuracy@64": str(one)} for one in sums],
    )
    table = frame(store, intervals=True)
    low, high = ratio_bootstrap(np.array([2.0, 9.0]), np.array([7.0, 9.0]))
    assert interval(table, "perplexity@64,none") == pytest.approx((math.exp(low), math.exp(high)))
    tokens = ratio_bootstrap(np.array([1.0, 2.0]), np.array([7.0, 9.0]))
    assert interval(table, "accuracy@64,none") == pytest.approx(tokens)
