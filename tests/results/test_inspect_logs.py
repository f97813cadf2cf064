"""Logs of Inspect, read back by Inspect itself."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import lm_eval_files, page_store
from rope_eval.cli import main
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.inspect_logs import NOT_KEPT, export_inspect
from rope_eval.results.store import Store, run_key

inspect_log = pytest.importorskip("inspect_ai.log", reason="the extra inspect is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of inspect_ai's own


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def read(files: list[Path]) -> dict[str, Any]:
    """Return the logs by their tasks, as the viewer finds them."""
    found = inspect_log.list_eval_logs(str(files[0].parent))
    assert len(found) == len(files)
    logs = [inspect_log.read_eval_log(info) for info in found]
    return {log.eval.task: log for log in logs}


def test_items_of_tasks_have_their_scores(store: Store, tmp_path: Path) -> None:
    scores = {"piqa": [1.0, 0.0, 1.0, 1.0], "boolq": [0.0, 1.0], "arc_easy": (0.5, 10)}
    key = page_store.tasks(store, tmp_path / "lm", scores)
    logs = read(export_inspect(store, tmp_path / "logs"))
    assert set(logs) == {"piqa", "boolq"}  # of arc_easy there are no samples
    piqa = logs["piqa"]
    assert piqa.status == "success" and piqa.eval.model == "me/model"
    assert piqa.eval.run_id == key and piqa.eval.metadata["setting"] == "neutral"
    assert piqa.eval.packages == {"lm-eval": "0.4.13", "transformers": "5.23.0"}
    assert piqa.stats.started_at == "1970-01-01T00:16:40+00:00"
    assert piqa.stats.completed_at == "1970-01-01T00:16:41.500000+00:00"
    (score,) = piqa.results.scores
    assert score.metrics["acc"].value == 0.75
    marks = {s.id.partition(":")[0]: s.scores["acc,none"].value for s in piqa.samples}
    assert marks == {"0": 1.0, "1": 0.0, "2": 1.0, "3": 1.0}
    assert piqa.samples[0].input == NOT_KEPT
    assert logs["boolq"].results.total_samples == 2


def test_items_have_their_words_where_samples_hold_them(store: Store, tmp_path: Path) -> None:
    words = {
        "arguments": {"gen_args_0": {"arg_0": "2 + 2 =", "arg_1": {"until": ["\n"]}}},
        "resps": [[" 5"]],
        "target": "4",
    }
    lm_eval_files.write(tmp_path / "lm", {"sums": [0.0]}, words=words)
    (imported,) = read_lm_eval(tmp_path / "lm")
    store.put(imported.run, imported.arrays)
    (log,) = read(export_inspect(store, tmp_path / "logs")).values()
    (sample,) = log.samples
    assert (sample.input, sample.target, sample.choices) == ("2 + 2 =", "4", None)
    assert sample.output.completion == sample.messages[-1].content == " 5"
    assert sample.scores["acc,none"].value == 0.0


def test_items_of_a_choice_have_the_choices(store: Store, tmp_path: Path) -> None:
    asked = {"gen_args_0": {"arg_0": "Is it?", "arg_1": " no"}}
    asked["gen_args_1"] = {"arg_0": "Is it?", "arg_1": " yes"}
    words = {"arguments": asked, "resps": [[["-9.5", "False"]], [["-1", "True"]]], "target": "0"}
    lm_eval_files.write(tmp_path / "lm", {"boolq": [0.0]}, words=words)
    (imported,) = read_lm_eval(tmp_path / "lm")
    store.put(imported.run, imported.arrays)
    (log,) = read(export_inspect(store, tmp_path / "logs")).values()
    (sample,) = log.samples
    assert (sample.input, sample.target, sample.choices) == ("Is it?", " no", [" no", " yes"])
    assert sample.output.completion == " yes"


def test_items_of_opencompass_have_their_answers(store: Store, tmp_path: Path) -> None:
    lm_eval_files.write(tmp_path / "lm", {"obqa": [1.0, 0.0]})
    (imported,) = read_lm_eval(tmp_path / "lm")
    asked = imported.run.request | {"kind": "opencompass"}
    run = dataclasses.replace(imported.run, kind="opencompass", request=asked, key=run_key(asked))
    store.put(run, imported.arrays | {"obqa/predicted": np.array(["B", "no idea"])})
    (log,) = read(export_inspect(store, tmp_path / "logs")).values()
    assert [one.output.completion for one in log.samples] == ["B", "no idea"]
    assert [one.scores["acc,none"].value for one in log.samples] == [1.0, 0.0]
    assert {one.input for one in log.samples} == {NOT_KEPT}


def test_continuations_have_their_texts(store: Store, tmp_path: Path) -> None:
    page_store.continued(store, 10, page_store.NASTY)
    (log,) = read(export_inspect(store, tmp_path / "logs")).values()
    (sample,) = log.samples
    assert (sample.input, sample.target) == ("Once", "upon")
    assert sample.output.completion == page_store.NASTY
    assert sample.messages[-1].content == page_store.NASTY
    assert sample.metadata == {"document": "a book", "context_tokens": 64}
    assert log.eval.model == "me/model, rope_theta=10"
    assert log.eval.model_args == {"rope": {"rope_theta": 10.0}}
    assert log.eval.metadata["proof"] == page_store.PROOF


def test_the_same_store_writes_the_same_files(store: Store, tmp_path: Path) -> None:
    page_store.continued(store, 10, "x")
    first = export_inspect(store, tmp_path / "logs")
    assert export_inspect(store, tmp_path / "logs") == first
    assert [file.name for file in (tmp_path / "logs").iterdir()] == [first[0].name]


def test_the_command(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    given = ["store", "export", "--format", "inspect", "--results", str(store.root), "--json"]
    store.root.mkdir()
    assert main([*given, "-o", str(tmp_path / "logs")]) == 2
    assert "has samples: run tasks or `generation`" in capsys.readouterr().err
    page_store.continued(store, 10, "x")
    assert main([*given, "-o", str(tmp_path / "logs")]) == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert Path(file).is_file() and Path(file).name.startswith("2026-11-26T00-01-01_continuation_")

    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    assert main([*given, "-o", str(tmp_path / "logs")]) == 2
    assert "pip install 'rope-eval[inspect]'" in capsys.readouterr().err
