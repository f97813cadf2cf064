"""`rope-eval compare`: intervals against published and hand-computed ones, and the command."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import lm_eval_files
from helpers.book_runs import put_sums
from rope_eval.commands import compare as command
from rope_eval.errors import DataError, SpecError, StoreError
from rope_eval.protocols.columns import TASKS
from rope_eval.report.choice import Choice
from rope_eval.report.compare import compare
from rope_eval.report.measured import table_of
from rope_eval.report.runs import rows_of
from rope_eval.report.sides import side, sides
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.stats import (
    Z,
    mean_variance,
    newcombe,
    paired_bootstrap,
    ratio_bootstrap,
    wilson,
)
from rope_eval.results.store import Store
from rope_eval.scores import Sums

# --- intervals ------------------------------------------------------------------------------------


def test_wilson() -> None:
    assert wilson(0.0, 10) == pytest.approx((0.0, Z**2 / (10 + Z**2)))
    assert wilson(1.0, 10) == pytest.approx((10 / (10 + Z**2), 1.0))
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998a


@pytest.mark.parametrize(
    ("a", "n", "b", "m", "low", "high"),
    [  # Newcombe 1998, Table II, method 10
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 20, -0.1611, 0.2775),
        (10, 10, 0, 20, 0.6791, 1.0000),
    ],
)
def test_newcombe(a: int, n: int, b: int, m: int, low: float, high: float) -> None:
    assert newcombe(a / n, n, b / m, m) == pytest.approx((low, high), abs=5e-5)
    assert newcombe(b / m, m, a / n, n) == pytest.approx((-high, -low), abs=5e-5)


def test_paired_bootstrap() -> None:
    # 60 items better, 20 worse, 320 alike: mean 0.1, variance (80/400 - 0.01) / 400
    one = np.array([1.0] * 60 + [-1.0] * 20 + [0.0] * 320)
    spread = Z * math.sqrt(0.19 / 400)
    assert paired_bootstrap([one]) == pytest.approx((0.1 - spread, 0.1 + spread), abs=0.003)
    assert paired_bootstrap([one]) == paired_bootstrap([np.random.default_rng(0).permutation(one)])
    # with a part that does not vary: as uncertain as 7 of all items are, about its own mean
    two = paired_bootstrap([one, np.zeros(7)])
    variance = 80 / 407 - (40 / 407) ** 2
    spread = Z * math.sqrt(0.19 / 400 + variance / 7) / 2
    assert two == pytest.approx((0.05 - spread, 0.05 + spread), abs=0.04)
    # of one item each: the interval is that of the plain bootstrap of the items
    each = paired_bootstrap([np.array([x]) for x in one])
    assert each == pytest.approx(paired_bootstrap([one]), abs=0.003)


def test_mean_variance() -> None:
    assert mean_variance([(0.5, 100), (0.5, 25)]) == pytest.approx((0.0025 + 0.01) / 4)
    assert mean_variance([(1.0, 8)]) == pytest.approx(0.9 * 0.1 / 8)  # all right is no certainty


# --- sides ----------------------------------------------------------------------------------------


def put(results: Path, folder: Path, tasks: dict[str, Any], **given: Any) -> str:
    lm_eval_files.write(folder, tasks, **given)
    (imported,) = read_lm_eval(folder)
    Store(results).put(imported.run, imported.arrays)
    return imported.run.key


def test_a_run_against_the_paper(tmp_path: Path) -> None:
    results = tmp_path / "runs"
    tasks = {"rope_paper_gsm": (0.10, 100), "rope_paper_piqa": [1.0] * 90 + [0.0] * 10}
    key = put(results, tmp_path / "a", tasks)
    store = Store(results)
    found = compare(side(key, store), side("paper:LLaMA2 7B/base=10000", store))
    piqa, gsm = found.differences
    assert (piqa.column, gsm.column) == ("PIQA", "GSM")
    assert (piqa.baseline, piqa.score) == pytest.approx((75.95, 90.0))
    low, high = newcombe(0.9, 100, 0.7595, 1838)
    assert piqa.interval == pytest.approx((100 * low, 100 * high))
    assert piqa.method == "binomial"
    assert piqa.beyond_noise
    low, high = newcombe(0.1, 100, 0.0, 100)  # Table 5's 0.00: an interval all the same
    assert gsm.interval == pytest.approx((100 * low, 100 * high))
    assert gsm.difference == pytest.approx(10.0)
    assert "MMLU" in found.not_compared
    assert len(found.not_compared) == 15
    assert side("paper:LLaMA2 7B", store).scores["GSM"].value == 0.0
    assert side("paper:13B/base=500, log-scaled", store).scores["GSM"].value == 0.11


def test_means_of_parts(tmp_path: Path) -> None:
    results = tmp_path / "runs"
    tasks = dict.fromkeys(TASKS["paper"]["MMLU"], (0.5, 100))
    put(results, tmp_path / "a", tasks)
    put(results, tmp_path / "b", dict(list(tasks.items())[:2]), model_args="pretrained=me/other")
    store = Store(results)
    whole, two = side("me/model", store), side("me/other", store)
    (found,) = compare(whole, side("paper:LLaMA2 7B", store)).differences
    spread = 100 * Z * math.sqrt(2 * 57 * 0.0025) / 57  # the paper's N of parts is not printed
    assert found.interval == pytest.approx((50 - 46.78 - spread, 50 - 46.78 + spread))
    assert "the paper's taken as spread as these" in found.method
    (found,) = compare(two, whole).differences
    spread = 100 * Z * math.sqrt(0.0025 / 2 + 0.0025 / 57)
    assert found.interval == pytest.approx((-spread, spread))
    assert found.notes == (
        "200 items against 5700",
        "run: mean of 2 of 57 parts",
        "baseline: 5700 of 14042 items",
    )


def test_parts_of_one_item_have_an_interval_with_a_width(tmp_path: Path) -> None:
    results = tmp_path / "runs"
    tasks = TASKS["paper"]["MMLU"]
    a = {task: [float(i % 3 == 0)] for i, task in enumerate(tasks)}  # 19 of 57
    b = {task: [float(i % 3 == 1)] for i, task in enumerate(tasks)}  # 19 others
    put(results, tmp_path / "a", a, model_args="pretrained=me/a")
    put(results, tmp_path / "b", b, model_args="pretrained=me/b")
    store = Store(results)
    (found,) = compare(side("me/a", store), side("me/b", store)).differences
    assert found.method == "paired bootstrap, 57 of 57 parts from the items of all"
    spread = 100 * Z * math.sqrt(2 / 3 / 57)  # 38 differences of ±1
    assert found.interval == pytest.approx((-spread, spread), abs=2)
    assert not found.beyond_noise


def test_what_was_not_asked_alike_is_said(tmp_path: Path) -> None:
    results = tmp_path / "runs"
    for name, shots, template, dtype in (("a", 0, None, "float16"), ("b", 10, "<|user|>", "auto")):
        file = lm_eval_files.write(
            tmp_path / name, {"piqa": (0.5, 1838)}, model_args=f"pretrained=me/{name},dtype={dtype}"
        )
        record = json.loads(file.read_text())
        record |= {"n-shot": {"piqa": shots}, "chat_template": template}
        file.write_text(json.dumps(record))
        (imported,) = read_lm_eval(tmp_path / name)
        Store(results).put(imported.run)
    store = Store(results)
    both = side("me/a", store, "lm_eval"), side("me/b", store, "lm_eval")
    with pytest.raises(DataError, match=r"PIQA: not asked alike: num_fewshot 0 against 10, chat_t"):
        compare(*both)
    (found,) = compare(*both, allow_unlike=True).differences
    digest = hashlib.sha256(b"<|user|>").hexdigest()[:8]
    assert found.notes == (
        "num_fewshot 0 against 10",
        f"chat_template none against {digest}",
        "dtype float16 against auto",
    )
    caption = table_of(rows_of(store), "3", "lm_eval").caption
    assert "not asked alike: num_fewshot 0: me/a (PIQA)." in caption
    assert "not asked alike: num_fewshot 10: me/b (PIQA)." in caption
    assert f"not asked alike: chat_template {digest}: me/b (PIQA)." in caption


def test_a_score_that_is_no_number_is_named_with_its_reason(tmp_path: Path) -> None:
    results = tmp_path / "runs"
    tasks = {"rope_paper_gsm": (math.nan, 100), "rope_paper_toefl": (0.5, 269)}
    put(results, tmp_path / "a", tasks, model_args="pretrained=me/a")
    put(results, tmp_path / "b", {"rope_paper_gsm": (math.nan, 100)}, model_args="pretrained=me/b")
    store = Store(results)
    found = compare(side("me/a", store), side("paper:LLaMA2 7B", store))
    assert [d.column for d in found.differences] == ["TOEFL"]
    assert found.not_compared["GSM"] == "me/a: its score is not a number"
    assert found.not_compared["QuALITY"] == "me/a: not run"
    with pytest.raises(DataError, match=r"no column in common: none against .*not a number"):
        compare(side("me/b", store), side("me/a", store))


def test_paired_where_both_have_the_same_items(tmp_path: Path) -> None:
    results = tmp_path / "runs"
    a = [1.0] * 60 + [0.0] * 20 + [1.0] * 320
    b = [0.0] * 60 + [1.0] * 20 + [1.0] * 320
    put(results, tmp_path / "a", {"rope_paper_piqa": a}, model_args="pretrained=me/a")
    put(results, tmp_path / "b", {"rope_paper_piqa": b}, model_args="pretrained=me/b")
    put(results, tmp_path / "c", {"rope_paper_piqa": b[:399]}, model_args="pretrained=me/c")
    store = Store(results)
    (found,) = compare(side("me/a", store), side("me/b", store)).differences
    assert found.method == "paired bootstrap"
    spread = 100 * Z * math.sqrt(0.19 / 400)
    assert found.interval == pytest.approx((10 - spread, 10 + spread), abs=0.3)
    (found,) = compare(side("me/a", store), side("me/c", store)).differences
    assert found.method == "binomial"  # other items
    (found,) = compare(side("me/a", store), side("me/a", store)).differences
    assert (found.method, found.difference, found.beyond_noise) == ("binomial", 0.0, False)


def test_protocols(tmp_path: Path) -> None:
    results = tmp_path / "runs"
    put(results, tmp_path / "a", {"piqa": (0.8, 1838)})
    store = Store(results)
    ours, paper = (side(name, store, "lm_eval") for name in ("me/model", "paper:LLaMA2 7B"))
    with pytest.raises(DataError, match="PIQA: not asked alike: protocol lm_eval against paper"):
        compare(ours, paper)
    (found,) = compare(ours, paper, allow_unlike=True).differences
    assert found.notes == ("protocol lm_eval against paper",)
    with pytest.raises(DataError, match="no column in common: none against Lambada"):
        compare(side("me/model", store), side("paper:LLaMA2 7B", store))


def test_what_is_not_there(tmp_path: Path) -> None:
    results = tmp_path / "runs"
    put(results, tmp_path / "a", {"rope_paper_piqa": [1, 0]}, model_args="pretrained=me/model")
    put(results, tmp_path / "b", {"rope_paper_piqa": [1, 1]}, model_args="pretrained=x/a/model")
    put(results, tmp_path / "c", {"rope_paper_piqa": [1, 0, 0]}, model_args="pretrained=y/b/model")
    store = Store(results)
    with pytest.raises(SpecError, match="Did you mean 'paper:LLaMA2 7B/base=500'"):
        side("paper:LLaMA2 7B/base=501", store)
    with pytest.raises(DataError, match=r"names no run .*Did you mean 'me/model'"):
        side("me/modl", store)
    with pytest.raises(DataError, match="'model' names several runs"):
        side("model", store)


# --- the command ----------------------------------------------------------------------------------


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["compare", *words])
    status: int = args.run(args)
    return status


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "runs"
    key = put(results, tmp_path / "a", {"rope_paper_gsm": (0.04, 100)})
    words = (key[:6], "--baseline", "paper:LLaMA2 7B/NTK dynamic", "--results", str(results))

    assert run(*words) == 0
    low, high = newcombe(0.04, 100, 0.09, 100)
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("GSM"))
    interval = f"[{100 * low:.2f}, {100 * high:.2f}]"
    assert line.split(maxsplit=4) == ["GSM", "9.00", "4.00", "-5.00", interval]
    assert out.startswith(f"{key[:6]}, points\n\ncolumn ")
    assert f"binomial: {key[:6]} (GSM)." in out
    why = f"not compared ({key[:6]}: not run): {key[:6]}"
    assert f"{why} (TOEFL, TopicRet, QuALITY, Coursera)." in out.replace("\n", " ")

    assert run(*words, "--fail-if-worse", "5") == 0
    assert run(*words, "--fail-if-worse", "4.9", "--format", "markdown") == 1
    out = capsys.readouterr().out
    assert "| GSM " in out
    assert "is worse by more than 4.9 points: GSM" in out

    assert run(*words, "--json", "--fail-if-worse", "1") == 1
    (facts,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert facts["worse"] == ["GSM"]
    assert facts["columns"][0] == {
        "column": "GSM",
        "unit": "points",
        "baseline": 9.0,
        "run": 4.0,
        "difference": -5.0,
        "interval": [100 * low, 100 * high],
        "beyond_noise": False,
        "method": "binomial",
        "notes": [],
    }
    with pytest.raises(SpecError, match="0 or more points, got -1"):
        run(*words, "--fail-if-worse", "-1")


def test_the_mark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "runs"
    put(results, tmp_path / "a", {"rope_paper_gsm": (0.5, 100)})
    run("me/model", "--baseline", "paper:LLaMA2 7B", "--results", str(results))
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("GSM"))
    assert line.endswith("  *")


def test_tasks_that_both_have_and_no_table(tmp_path: Path) -> None:
    results = tmp_path / "runs"
    metrics = {"niah_single_1": "4096,none", "arc_easy": "acc_norm,none"}
    for name, ruler in (("a", [1.0] * 10), ("b", [1.0] * 5 + [0.0] * 5)):
        tasks = {"niah_single_1": ruler, "arc_easy": (0.5, 100)}
        args = f"pretrained=me/{name}"
        put(results, tmp_path / name, tasks, metrics=metrics, model_args=args)
    store = Store(results)
    found = {d.column: d for d in compare(side("me/a", store), side("me/b", store)).differences}
    assert set(found) == {"niah_single_1 4096", "arc_easy acc_norm"}
    ruler = found["niah_single_1 4096"]
    assert (ruler.difference, ruler.method) == (50.0, "paired bootstrap")
    assert ruler.interval == pytest.approx((20, 80), abs=0.1)  # 10 draws of 0 or 100
    assert found["arc_easy acc_norm"].difference == 0


# --- sums over documents --------------------------------------------------------------------------


def put_books(store: Store, model: str, nats: dict[str, float], **changes: Any) -> None:
    """Store whole books of 64 and 128 tokens; half of a document's nats are of its first half."""
    documents = {
        name: [
            Sums(nll=n / 2, hits=int(n / 4), tokens=63),
            Sums(nll=n, hits=int(n / 2), tokens=127),
        ]
        for name, n in nats.items()
    }
    put_sums(store, model, documents, **changes)


@pytest.fixture
def books(tmp_path: Path) -> Store:
    store = Store(tmp_path / "runs")
    put_books(store, "me/a", {"x": 130.0, "y": 150.0, "z": 190.0})
    put_books(store, "me/b", {"x": 127.0, "y": 140.0, "z": 160.0}, dtype="bfloat16")
    return store


def test_perplexity_is_compared_over_documents(books: Store) -> None:
    found = {d.column: d for d in compare(side("me/a", books), side("me/b", books)).differences}
    assert list(found) == [
        "mine perplexity@64",
        "mine accuracy@64",
        "mine perplexity@128",
        "mine accuracy@128",
    ]
    whole = found["mine perplexity@128"]
    assert whole.score == pytest.approx(math.exp(470 / 381))
    assert whole.baseline == pytest.approx(math.exp(427 / 381))
    assert (whole.unit, whole.difference) == ("nats", pytest.approx(43 / 381))
    apart = np.array([3.0, 10.0, 30.0])
    assert whole.interval == pytest.approx(ratio_bootstrap(apart, np.full(3, 127.0)))
    assert whole.interval == pytest.approx((3 / 127, 30 / 127), rel=1e-6)  # 1 of 27 draws each
    assert (whole.method, whole.beyond_noise) == ("paired bootstrap, 3 documents", True)
    assert whole.notes == ("dtype float32 against bfloat16",)
    hits = found["mine accuracy@128"]
    assert (hits.unit, hits.difference) == ("points", pytest.approx(100 * 22 / 381))
    comparison = compare(side("me/a", books), side("me/b", books))
    assert comparison.worse(nats=0.1135) == ["mine perplexity@64"]
    assert comparison.worse(points=1) == []
    assert compare(side("me/b", books), side("me/a", books)).worse(points=5, nats=0) == [
        "mine accuracy@64",
        "mine accuracy@128",
    ]


def test_only_documents_that_both_have(books: Store) -> None:
    put_books(books, "me/c", {"y": 150.0, "z": 190.0, "w": 1.0, "v": 2.0})
    put_books(books, "me/one", {"z": 200.0})
    put_books(books, "me/none", {"v": 200.0})
    put_books(books, "me/far", {"x": 9.0}, books="others")
    a = side("me/a", books)
    found = {d.column: d for d in compare(side("me/c", books), a).differences}
    some = found["mine perplexity@128"]
    assert some.method == "2 documents that differ by the same: no interval"
    assert some.notes == ("2 documents shared of 4 and 3",)
    assert some.score == pytest.approx(math.exp(340 / 254))
    one = compare(side("me/one", books), a).differences[2]
    assert (one.method, one.interval) == ("one document: no interval", None)
    assert one.difference == pytest.approx(10 / 127)
    assert not one.beyond_noise
    with pytest.raises(DataError, match="mine perplexity@64: no document in common"):
        compare(side("me/none", books), a)
    with pytest.raises(DataError, match="no column in common: others perplexity@64, others acc"):
        compare(side("me/far", books), a)


def test_the_newest_run_of_the_same_books(books: Store) -> None:
    put_books(books, "me/a", {"x": 130.0, "y": 150.0}, lengths=[64, 128])
    newest = side("me/a", books).pooled["mine perplexity@128"].sums()
    assert set(newest) in ({"x", "y"}, {"x", "y", "z"})  # of one run, not of both


def test_a_run_of_another_shape_is_named(books: Store) -> None:
    put_books(books, "me/a", {"x": 130.0, "y": 150.0}, bad=True)
    (run,) = (run for run in books.runs() if run.request.get("bad"))
    odd = replace(run, results=run.results | {"by_document": [[{"nll": 1.0}] * 2]})
    books.put(odd, replace=True)
    with pytest.raises(StoreError, match=f"record of run {run.key} is of another shape"):
        compare(side(run.key, books), side("me/b", books))


def put_items(store: Store, model: str, task: str, *given: Any, **more: Any) -> None:
    folder = store.root.parent / f"{model}-{task}"
    lm_eval_files.write_items(folder, task, *given, model_args=f"pretrained={model}", **more)
    (imported,) = read_lm_eval(folder)
    store.put(imported.run, imported.arrays)


def test_nll_of_items_and_other_tokenizers(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for model, nats, tokens in (("a", (2.0, 9.0), 7), ("b", (1.0, 4.0), 7), ("c", (1.0, 4.0), 8)):
        sums = [Sums(nll=nll, hits=0, tokens=tokens) for nll in nats]
        items = [{"nll@64": str(one)} for one in sums]
        put_items(store, model, "retrieval", {"nll@64": sum(nats) / 2 / tokens}, items)
    a, b, c = (side(model, store) for model in "abc")
    (found,) = compare(a, b).differences
    assert (found.column, found.unit) == ("retrieval nll@64", "nats")
    assert (found.score, found.baseline) == pytest.approx((11 / 14, 5 / 14))
    assert found.interval == pytest.approx((1 / 7, 5 / 7))
    assert found.method == "paired bootstrap, 2 items"
    with pytest.raises(DataError, match="retrieval nll@64: other tokens: the tokenizers differ"):
        compare(a, c)


def test_ruler_is_paired_at_each_of_its_lengths(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for model, good in (("a", 1.0), ("b", 0.0)):
        items = [{"512": 1.0}] * 4 + [{"512": good}] * 4 + [{"1024": good}] * 4
        scores = {"4096": -1, "512": 0.5 + good / 2, "1024": good}
        put_items(store, model, "niah_single_1", scores, items)
    found = {d.column: d for d in compare(side("a", store), side("b", store)).differences}
    assert set(found) == {"niah_single_1 512", "niah_single_1 1024"}
    short = found["niah_single_1 512"]
    assert (short.method, short.difference) == ("paired bootstrap", 50.0)
    assert short.notes == ()
    assert found["niah_single_1 1024"].method == "binomial"  # all differ by the same


def test_probes_of_other_depths_are_not_compared(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for model, depths in (("a", [0.5]), ("b", [0, 1])):
        folder = tmp_path / model
        items = [{"accuracy@64": 1.0}, {"accuracy@64": 0.0}]
        file = lm_eval_files.write_items(
            folder, "retrieval", {"accuracy@64": 0.5}, items, model_args=f"pretrained={model}"
        )
        record = json.loads(file.read_text())
        record["configs"]["retrieval"]["metadata"] = {"depths": depths, "probe_seed": 0}
        file.write_text(json.dumps(record))
        (imported,) = read_lm_eval(folder)
        store.put(imported.run, imported.arrays)
    with pytest.raises(DataError, match=r"asked alike: probe depths 0.5, .* against depths 0 1"):
        compare(side("a", store), side("b", store))


def test_books_and_tasks_of_one_row_are_one_side(books: Store, tmp_path: Path) -> None:
    put(books.root, tmp_path / "t", {"mytask": (0.5, 10)}, model_args="pretrained=me/a")
    assert set(side("me/a", books).columns) >= {"mytask acc", "mine perplexity@64"}
    assert set(side("lm_eval:me/a", books).columns) == {"mytask acc"}


def test_columns_and_lengths_are_chosen(books: Store) -> None:
    b = side("me/b", books)
    assert b.chosen(Choice(columns=["accuracy", "mine perplexity"], lengths=[128])).columns == (
        "mine accuracy@128",
        "mine perplexity@128",
    )
    assert b.chosen(Choice(columns=["mine accuracy@64"])).columns == ("mine accuracy@64",)
    with pytest.raises(SpecError, match=r"no column 'perplexty'\. Did you mean 'perplexity'"):
        b.chosen(Choice(columns=["perplexty"]))
    with pytest.raises(SpecError, match="length of 4096: there are 64, 128"):
        b.chosen(Choice(lengths=[4096]))


def test_patterns_of_rows(books: Store) -> None:
    found = sides(["me/*", "paper:LLaMA2 7B", "me/a"], books, "paper", "me/b")
    assert [one.name for one in found] == ["me/a", "paper:LLaMA2 7B"]
    with pytest.raises(SpecError, match=r"no row that was measured 'mi/\*'\. Did you mean 'me/"):
        sides(["mi/*"], books, "paper", "me/b")
    with pytest.raises(DataError, match="names no row but the baseline"):
        sides(["me/b*"], books, "paper", "me/b")


def test_the_command_on_books(books: Store, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("me/*", "--baseline", "me/b", "--results", str(books.root))
    few = (*words, "--columns", "perplexity", "--lengths", "128")
    assert run(*few, "--format", "csv") == 0
    out, err = capsys.readouterr()
    header, line = csv.reader(io.StringIO(out))
    assert header[3:] == [
        "baseline",
        "score",
        "difference",
        "difference low",
        "difference high",
        "*",
    ]
    assert line[:2] == ["me/a", "mine perplexity@128"]
    assert line[3:] == ["3.07", "3.43", "0.1129", "0.0236", "0.2362", "*"]
    assert "dtype float32 against bfloat16: me/a (mine)." in err
    assert "paired bootstrap, 3 documents: me/a (mine)." in err
    assert run(*few, "--fail-if-worse-nats", "0.1") == 1
    assert "me/a is worse by more than 0.1 nats: mine perplexity@128" in capsys.readouterr().out
    assert run(*few, "--fail-if-worse-nats", "0.2", "--fail-if-worse", "0") == 0
    put_books(books, "me/far", {"x": 9.0}, books="others")
    assert run(*few, "--format", "csv") == 0
    out, err = capsys.readouterr()
    assert "me/a,mine perplexity@128" in out
    assert err.startswith("rope-eval: left out: me/far and me/b have no column in common: others ")
    with pytest.raises(DataError, match="me/far and me/b have no column in common"):
        run("me/far", "me/a", *few[1:])
    with pytest.raises(DataError, match="me/far and me/b have no column in common"):
        run("me/f*", *few[1:])
    for style in ("text", "markdown", "latex", "html", "json"):
        assert run(*words, "--format", style) == 0
    with pytest.raises(SpecError, match="--fail-if-worse-nats must be 0 or more nats, got -1"):
        run(*words, "--fail-if-worse-nats", "-1")
