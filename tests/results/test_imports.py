"""`rope-eval import`: what lm_eval really writes, and files that are not whole."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers import lm_eval_files
from rope_eval.commands import import_runs as command
from rope_eval.errors import DataError
from rope_eval.paths import asset
from rope_eval.results import frame
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.item_texts import texts_of
from rope_eval.results.samples import scores_of
from rope_eval.results.store import Store
from rope_eval.scores import Sums

TASK = """\
task: tiny
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 3}
"""
ITEMS = [
    {"q": "import", "choices": ["os", "zzzzz"], "answer": 0},
    {"q": "def", "choices": ["f", "§§§§"], "answer": 1},
    {"q": "return", "choices": ["self", "ßßßß"], "answer": 0},
]


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["import", *words])
    status: int = args.run(args)
    return status


def test_what_lm_eval_really_writes(tmp_path: Path) -> None:
    data, out = tmp_path / "items.jsonl", tmp_path / "out"
    data.write_text("\n".join(map(json.dumps, ITEMS)))
    (tmp_path / "tiny.yaml").write_text(TASK.replace("FILE", str(data)))
    checkpoint = asset("model_configs") / "lab" / "base-20"
    words = ["--model=hf", f"--model_args=pretrained={checkpoint}", "--device=cpu"]
    words += ["--tasks=tiny", f"--include_path={tmp_path}", "--limit=2"]
    words += [f"--output_path={out}", "--log_samples"]
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *words],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (imported,) = read_lm_eval(out)
    task = imported.run.results["tasks"]["tiny"]
    assert imported.run.request["model"] == "base-20"
    assert imported.run.results["protocols"] == ["lm_eval"]
    assert task["metrics"]["acc,none"] == 0.5  # the first item right, the second wrong
    assert (task["n"], task["n_all"], task["version"]) == (2, 3, 3)
    assert task["samples"] == ["acc,none"]
    assert imported.arrays["tiny/acc,none"].tolist() == [1, 0]
    names = imported.arrays["tiny/docs"].tolist()
    assert [name.split(":")[0] for name in names] == ["0", "1"]
    texts = texts_of(imported.arrays, "tiny")
    assert [texts[name] for name in names] == [
        {"input": "import", "choices": [" os", " zzzzz"], "target": " os", "answer": " os"},
        {"input": "def", "choices": [" f", " §§§§"], "target": " §§§§", "answer": " f"},
    ]
    assert imported.run.provenance["versions"]["lm-eval"] == "0.4.13"
    assert imported.run.provenance["ran"] == [{"dtype": "float32"}]  # what `auto` came to
    assert imported.run.provenance["started"].startswith("20")


def test_scores_counts_and_samples(tmp_path: Path) -> None:
    lm_eval_files.write(
        tmp_path / "deep" / "er",
        {"rope_paper_piqa": [1, 0, 1, 1], "rope_leval_gsm": (0.25, 8), "piqa": (None, 3)},
        model_args={"pretrained": "/data/mine", "token": "hf_" + "a" * 30, "revision": "v2"},
        answers={"rope_leval_gsm": {"B": 5, "": 3}},
        n_all=10,
    )
    (imported,) = read_lm_eval(tmp_path)
    run = imported.run
    assert run.request["model"] == "mine@v2"
    assert run.request["model_args"]["token"] == "hf_***"
    assert run.request["tasks"] == ["piqa", "rope_leval_gsm", "rope_paper_piqa"]  # and no group
    assert run.results["protocols"] == ["leval", "lm_eval", "paper"]
    tasks = run.results["tasks"]
    assert {name: task["metrics"] for name, task in tasks.items()} == {
        "rope_paper_piqa": {"acc,none": 0.75},
        "rope_leval_gsm": {"acc,none": 0.25},
        "piqa": {"acc,none": None},
    }
    assert tasks["rope_leval_gsm"]["answers"] == {"B": 5, "": 3}
    assert (tasks["rope_paper_piqa"]["n"], tasks["rope_paper_piqa"]["n_all"]) == (4, 10)
    assert set(imported.arrays) == {"rope_paper_piqa/docs", "rope_paper_piqa/acc,none"}
    np.testing.assert_array_equal(imported.arrays["rope_paper_piqa/acc,none"], [1, 0, 1, 1])
    assert run.provenance["started"] == "1970-01-01T00:16:40.000000+00:00"
    assert run.provenance["duration_s"] == 1.5


def test_a_text_of_model_args_and_a_score_that_is_no_number(tmp_path: Path) -> None:
    lm_eval_files.write(
        tmp_path, {"piqa": (math.nan, 3)}, model_args="pretrained=me/model,peft=./lora/adapter"
    )
    (imported,) = read_lm_eval(tmp_path)
    assert imported.run.request["model"] == "me/model + adapter"
    assert imported.run.results["tasks"]["piqa"]["metrics"] == {"acc,none": None}


def test_a_score_that_is_no_mean_of_its_samples_has_none(tmp_path: Path) -> None:
    file = lm_eval_files.write(tmp_path, {"piqa": [1, 0]})
    file.write_text(file.read_text().replace('"acc,none": 0.5', '"acc,none": 0.3'))
    (imported,) = read_lm_eval(tmp_path)
    assert imported.run.results["tasks"]["piqa"]["metrics"] == {"acc,none": 0.3}
    assert imported.run.results["tasks"]["piqa"]["samples"] == []
    assert imported.arrays == {}


def test_a_task_whose_data_was_missing(tmp_path: Path) -> None:
    file = lm_eval_files.write(tmp_path, {"rope_paper_gsm": [0]})
    record = json.loads(file.read_text())
    record["configs"]["rope_paper_gsm"]["metadata"] = {"missing": "no file gsm100.jsonl"}
    record["results"]["rope_paper_gsm"] = {"alias": "rope_paper_gsm", "sample_len": 0}
    record["n-samples"]["rope_paper_gsm"] = {"original": 1, "effective": 0}
    file.write_text(json.dumps(record))
    (imported,) = read_lm_eval(tmp_path)
    task = imported.run.results["tasks"]["rope_paper_gsm"]
    assert (task["metrics"], task["metadata"]) == ({}, {"missing": "no file gsm100.jsonl"})
    assert imported.arrays == {}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, results = tmp_path / "out", tmp_path / "runs"
    lm_eval_files.write(out, {"rope_paper_piqa": [1, 0]})
    words = (str(out), "--results", str(results))
    assert run(*words, "--json") == 0
    (fact,) = json.loads(capsys.readouterr().out)
    assert fact == {
        "key": fact["key"],
        "new": True,
        "model": "me/model",
        "row": None,
        "protocols": ["paper"],
        "tasks": 1,
        "tasks_with_samples": 1,
    }
    store = Store(results)
    assert store.arrays(fact["key"])["rope_paper_piqa/acc,none"].tolist() == [1, 0]

    (tmp_path / "out").rename(tmp_path / "moved")  # the key is that of the content
    run(str(tmp_path / "moved"), "--results", str(results))
    assert capsys.readouterr().out.startswith(f"{fact['key']}  known  me/model  1 task,")
    run(str(tmp_path / "moved"), "--results", str(results), "--row", "lab/base-20")
    assert [stored.results["row"] for stored in store.runs()] == ["lab/base-20"]
    run(str(tmp_path / "moved"), "--results", str(results))  # and it stays so
    assert [stored.results["row"] for stored in store.runs()] == ["lab/base-20"]
    with pytest.raises(DataError, match="Did you mean 'lab/base-20'"):
        run(*words, "--row", "lab/base-2")


def test_folders_and_files_that_are_not_whole(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no results_\*\.json.*--output_path"):
        read_lm_eval(tmp_path)
    file = lm_eval_files.write(tmp_path, {"piqa": [1, 0, 1]})
    whole = file.read_text()
    samples = next(tmp_path.glob("samples_*"))
    lines = samples.read_text().split("\n")[:-1]

    samples.write_text("\n".join(lines[:2]))
    with pytest.raises(DataError, match="2 samples of 3: it is not whole"):
        read_lm_eval(tmp_path)
    samples.write_text("\n".join(lines)[:-5])
    with pytest.raises(DataError, match=r"jsonl:3 is not JSON"):
        read_lm_eval(tmp_path)
    samples.write_text("\n".join([*lines[:2], lines[2].replace("doc_hash", "hash")]))
    with pytest.raises(DataError, match=r"jsonl:3 is not a sample of lm_eval: 'doc_hash'"):
        read_lm_eval(tmp_path)
    samples.unlink()
    for text, message in (
        (whole[:-10], "is not JSON"),
        ("[]", "expected a dict, got list"),
        ('{"results": {}}', "configs is missing: not a results file"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            read_lm_eval(tmp_path)


def test_samples_without_a_filter(tmp_path: Path) -> None:
    lm_eval_files.write(tmp_path, {"piqa": [1, 0, 0]}, old=True)
    (imported,) = read_lm_eval(tmp_path)
    assert imported.arrays["piqa/acc,none"].tolist() == [1, 0, 0]
    file = lm_eval_files.write(tmp_path / "two", {"piqa": [1, 0, 0]}, old=True)
    record = json.loads(file.read_text())
    record["results"]["piqa"]["acc,strict"] = 0.5
    file.write_text(json.dumps(record))
    (imported,) = read_lm_eval(tmp_path / "two")  # which sample is of which filter is not said
    assert imported.arrays == {}
    assert imported.run.results["tasks"]["piqa"]["samples"] == []


def test_an_output_path_that_is_a_file(tmp_path: Path) -> None:
    file = lm_eval_files.write(tmp_path / "out", {"piqa": [1, 0]}, name="mine")
    (tmp_path / "out" / "other.json").write_text("{}")
    runs = [
        read_lm_eval(path)
        for path in (tmp_path, tmp_path / "out", tmp_path / "out" / "mine.json", file)
    ]
    assert len({found.run.key for (found,) in runs}) == 1
    assert runs[0][0].arrays["piqa/acc,none"].tolist() == [1, 0]
    with pytest.raises(DataError, match=r"has no results_\*\.json"):
        read_lm_eval(tmp_path / "out" / "min.json")


def test_a_foreign_file_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm_eval_files.write(tmp_path / "out", {"piqa": [1, 0]})
    (tmp_path / "out" / "results_of_mine.json").write_text("[1]")
    words = (str(tmp_path / "out"), "--results", str(tmp_path / "runs"))
    assert run(*words) == 0
    out, err = capsys.readouterr()
    assert "new    me/model  1 task," in out
    assert err == (
        f"rope-eval: left out: {tmp_path}/out/results_of_mine.json: expected a dict, got list\n"
    )
    (found,) = read_lm_eval(tmp_path / "out" / "results_2026-01-02T03-04-05.678901.json")
    for file in (tmp_path / "out").glob("results_2*"):
        file.write_text("{")
    with pytest.raises(DataError, match="expected a dict"):
        run(*words)
    assert [r.key for r in Store(tmp_path / "runs").runs()] == [found.run.key]


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("config", "rope"), 5, r"config: rope: 5 is not what lm_eval writes there"),
        (("config", "rope"), {"rope_teta": 5}, r"config\.rope: .*Did you mean 'rope_theta'"),
        (("config", "rope"), {"rope_theta": "x"}, r"config\.rope: .*must be a number"),
        (("config", "model_args"), [1], r"config: model_args: \[1\] is not"),
        (("results", "piqa", "acc,none"), 5, r"results\.piqa\.acc,none: want a fraction .* got 5"),
        (("results", "piqa", "acc,none"), -1, "want a fraction from 0 to 1, got -1"),
        (("results", "piqa", "acc,none"), 1e308, "want a fraction"),
        (("results", "piqa", "acc,none"), True, "acc,none: want a number, got True"),
        (("results", "piqa", "acc,none"), [1], r"acc,none: want a number, got \[1\]"),
        (("results", "piqa", "perplexity,none"), "HUGE", "perplexity,none: want a finite number"),
        (("results", "piqa"), 5, r"results\.piqa: expected a dict, got int"),
        (("configs", "piqa"), None, r"configs\.piqa: expected a dict, got NoneType"),
        (("configs", "piqa", "metadata"), "x", "configs.piqa: metadata: 'x' is not"),
        (("n-samples",), [], r"n-samples: \[\] is not"),
        (("n-samples", "piqa", "effective"), 2.5, "n-samples.piqa: effective: 2.5 is not"),
        (("n-samples", "piqa", "effective"), -1, "effective: want 0 or more, got -1"),
        (("n-samples", "piqa", "effective"), 0, "effective: a score of no items"),
        (("n-samples", "piqa", "original"), 10**30, "original: want 0 or more, got 1000000"),
        (("date",), "today", "date: 'today' is not"),
        (("date",), 1e30, "date or total_evaluation_time_seconds: timestamp"),
        (("total_evaluation_time_seconds",), "nan", "total_evaluation_time_seconds: nan seconds"),
        (("task_hashes",), 5, "task_hashes: 5 is not"),
    ],
)
def test_fields_that_lm_eval_does_not_write(
    tmp_path: Path, where: tuple[str, ...], value: Any, message: str
) -> None:
    file = lm_eval_files.write(tmp_path, {"piqa": (0.5, 3)})
    record = json.loads(file.read_text())
    entry = record
    for name in where[:-1]:
        entry = entry[name]
    entry[where[-1]] = value
    file.write_text(json.dumps(record).replace('"HUGE"', "1e999"))
    with pytest.raises(DataError, match=message) as caught:
        read_lm_eval(tmp_path)
    assert str(caught.value).startswith(str(file))


def test_what_is_deep_or_long(tmp_path: Path) -> None:
    file = lm_eval_files.write(tmp_path, {"x" * 300: (0.5, 3)})
    assert read_lm_eval(tmp_path)[0].run.request["tasks"] == ["x" * 300]
    file.write_text("[" * 100000)
    with pytest.raises(DataError, match="is not JSON"):
        read_lm_eval(tmp_path)


def test_the_samples_of_ruler_are_of_a_length_each(tmp_path: Path) -> None:
    items = [{"4096": -1.0, "512": 1.0}, {"4096": -1.0, "512": 0.0}, {"4096": -1.0, "1024": 0.5}]
    scores = {"4096": -1, "512": 0.5, "1024": 0.5}
    lm_eval_files.write_items(
        tmp_path, "niah_single_1", scores, items, higher_is_better={"4096": True}, n_all=9
    )
    (imported,) = read_lm_eval(tmp_path)
    task = imported.run.results["tasks"]["niah_single_1"]
    assert task["counts"] == {"512,none": 2, "1024,none": 1}
    assert task["samples"] == ["1024,none", "512,none"]
    assert task["higher_is_better"] == {"4096": True}
    short, long = (
        scores_of(imported.arrays, "niah_single_1", metric) for metric in ("512,none", "1024,none")
    )
    assert [name[0] for name in short] == ["0", "1"]
    assert list(short.values()) == [1, 0]
    assert {name[0]: float(score) for name, score in long.items()} == {"2": 0.5}
    Store(tmp_path / "runs").put(imported.run, imported.arrays)


def test_longbench_by_the_length_of_its_items(tmp_path: Path) -> None:
    lengths = [10, 3999, 4000, 8000]
    items = [{"score": score} for score in (1.0, 0.5, 0.25, 0.0)]
    docs = [{"length": length} for length in lengths]
    task = "longbench_qasper_e"
    lm_eval_files.write_items(tmp_path, task, {"score": 0.4375}, items, docs=docs)
    (imported,) = read_lm_eval(tmp_path)
    record = imported.run.results["tasks"][task]
    assert record["metrics"] == {
        "score,none": 0.4375,
        "score@0-4k,none": 0.75,
        "score@4-8k,none": 0.25,
        "score@8k+,none": 0.0,
    }
    assert record["counts"] == {"score@0-4k,none": 2, "score@4-8k,none": 1, "score@8k+,none": 1}
    assert list(scores_of(imported.arrays, task, "score@0-4k,none").values()) == [1, 0.5]
    assert len(scores_of(imported.arrays, task, "score,none")) == 4


def test_babilong_has_the_length_that_was_run(tmp_path: Path) -> None:
    """Its results and samples call all lengths ``acc``, and two would be one score."""
    store = Store(tmp_path / "runs")
    wanted = {"4k": "acc@4096,none", "128k": "acc@131072,none", "0k": "acc,none"}
    for date, (length, right) in enumerate({"4k": 3, "128k": 1, "0k": 4}.items()):
        folder = tmp_path / length
        items = [{"acc": float(i < right)} for i in range(4)]
        scores = {"acc": right / 4}
        file = lm_eval_files.write_items(folder, "babilong_qa1", scores, items, date=date + 1.0)
        record = json.loads(file.read_text())
        record["configs"]["babilong_qa1"]["metadata"]["max_seq_lengths"] = length
        file.write_text(json.dumps(record))
        (imported,) = read_lm_eval(folder)
        store.put(imported.run, imported.arrays)
        found, metric = imported.run.results["tasks"]["babilong_qa1"], wanted[length]
        assert found["metrics"] == {metric: right / 4}
        assert found["samples"] == [metric]
        assert sum(scores_of(imported.arrays, "babilong_qa1", metric).values()) == right
    table = frame(store)
    assert [None if pd.isna(n) else n for n in table["length"]] == [4096, 131072, None]
    assert table["value"].tolist() == [0.75, 0.25, 1.0]
    assert set(table["better"]) == {"higher"}


def test_sums_of_items_are_kept(tmp_path: Path) -> None:
    sums = [Sums(nll=2.5, hits=1, tokens=7), Sums(nll=1e-05, hits=0, tokens=7)]
    items = [{"nll@64": str(one), "odd": text} for one, text in zip(sums, "ab", strict=True)]
    lm_eval_files.write_items(tmp_path, "retrieval", {"nll@64": 0.1786, "odd": 1.0}, items)
    (imported,) = read_lm_eval(tmp_path)
    found = scores_of(imported.arrays, "retrieval", "nll@64,none")
    assert [tuple(one) for one in found.values()] == [(2.5, 1, 7), (1e-05, 0, 7)]
    assert imported.run.results["tasks"]["retrieval"]["samples"] == ["nll@64,none"]
