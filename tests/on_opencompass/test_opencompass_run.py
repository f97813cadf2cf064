"""OpenCompass's real command line: both hosts agree, the store has it, and a failure is one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.opencompass_runs import ROOT, TIMEOUT, Hosts, finish, start
from rope_eval.backends.hf.loading import encode, load_model, load_tokenizer
from rope_eval.backends.hf.patch import patched
from rope_eval.catalogue import find
from rope_eval.cli import main
from rope_eval.data.books import read_books
from rope_eval.protocols.datasets import PROMPTS
from rope_eval.results.store import Run, Store
from rope_eval.scores import Sums
from rope_eval.scoring.tokens import score_tokens

LAB = ROOT / "model_configs" / "lab"
TASKS = [f"rope_paper_{entry}" for entry in PROMPTS["paper"] if entry != "mmlu"]
TASKS += [f"rope_paper_mmlu_{subject}" for subject in PROMPTS["mmlu_subjects"]]
SAME = 1e-5  # nats a token: the same arithmetic in another order


# ---- both hosts ---------------------------------------------------------------------------------


def test_both_hosts_ran_every_task(hosts: Hosts) -> None:
    of_opencompass = {name for name in hosts.results if "cumulative" not in name}
    assert of_opencompass == hosts.samples.keys() == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_both_hosts_agree_on_every_item(hosts: Hosts, task: str) -> None:
    theirs, ours = hosts.predictions[task], hosts.samples[task]
    assert len(theirs) == len(ours) > 0
    for prediction, sample in zip(theirs, ours, strict=True):
        prompts = [request["arg_0"] for request in sample["arguments"].values()]
        labels = [key for key in prediction if key.startswith("label: ")]
        if labels:
            assert [prediction[label]["prompt"] for label in labels] == prompts
            means = [float(total) / int(tokens) for ((total, tokens),) in sample["resps"]]
            assert [prediction[label]["PPL"] for label in labels] == pytest.approx(means, abs=SAME)
        else:
            assert [prediction["origin_prompt"]] == prompts
            assert [[prediction["prediction"]]] == sample["resps"]


@pytest.mark.parametrize("task", TASKS)
def test_both_hosts_mark_alike(hosts: Hosts, task: str) -> None:
    items = hosts.results[task]["details"]
    marks = [(item["item"][0], item["mark"][0]) for item in items]
    assert marks == [(f"{s['doc_id']}:{s['doc_hash'][:16]}", s["acc"]) for s in hosts.samples[task]]
    assert hosts.results[task]["accuracy"] == pytest.approx(100 * hosts.scores[task]["acc,none"])


def test_the_files_tell_right_from_wrong(hosts: Hosts) -> None:
    marks = {mark for samples in hosts.samples.values() for mark in (s["acc"] for s in samples)}
    assert marks == {0.0, 1.0}
    texts = {s["resps"][0][0] for s in hosts.samples["rope_paper_nq"]}
    assert all(texts)


# ---- the store ----------------------------------------------------------------------------------


def runs(folder: Path, kind: str) -> list[Run]:
    return [run for run in Store(folder / "results" / "runs").runs() if run.kind == kind]


def test_the_store_has_the_run(hosts: Hosts) -> None:
    (run,) = runs(hosts.folder, "opencompass")
    assert run.status == "done" and run.results["protocols"] == ["paper"]
    assert run.request["rope"] == find("lab/base-1e4").rope.to_dict()
    assert run.provenance["versions"]["opencompass"] == "0.5.4"
    tasks = run.results["tasks"]
    assert {name: task["metrics"]["acc,none"] for name, task in tasks.items()} == pytest.approx(
        {name: hosts.scores[name]["acc,none"] for name in TASKS}
    )
    assert tasks["rope_paper_arc_e"]["n"] == 2
    assert tasks["rope_paper_arc_e"]["metadata"]["config"] == "ARC_e_ppl_a450bd"
    assert tasks["rope_paper_toefl"]["metadata"]["truncation"] == "left"
    assert tasks["rope_paper_toefl"]["metadata"]["truncate_at"] == 16384
    assert sum(tasks["rope_paper_obqa"]["answers"].values()) == 2
    arrays = Store(hosts.folder / "results" / "runs").arrays(run.key)
    predicted = arrays["rope_paper_obqa/predicted"].tolist()
    assert predicted == [p["prediction"] for p in hosts.predictions["rope_paper_obqa"]]


def test_tables_and_comparisons_mix_the_hosts(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(hosts.folder)
    assert main(["import", "lm"]) == 0
    capsys.readouterr()
    assert main(["table", "5", "--source", "runs", "--format", "json"]) == 0
    table = json.loads(capsys.readouterr().out)
    of_host = {row.pop("model"): row for row in table["rows"]}
    assert set(of_host) == {"lab/base-1e4 [lm-eval]", "lab/base-1e4 [OpenCompass]"}
    ours, theirs = of_host.values()
    assert ours == theirs and "protocol paper" in table["caption"]
    baseline = ["--baseline", "lm_eval:lab/base-1e4"]
    assert main(["compare", "opencompass:lab/base-1e4", *baseline, "--json"]) == 0
    (comparison,) = json.loads(capsys.readouterr().out)["comparisons"]
    columns = comparison["columns"]
    assert len(columns) == 17 and all(column["difference"] == 0 for column in columns)
    assert main(["compare", "lab/base-1e4", *baseline]) == 2
    assert "opencompass:ROW" in capsys.readouterr().err


def test_the_books_have_one_curve_of_sums_and_counts(hosts: Hosts) -> None:
    (run,) = runs(hosts.folder, "cumulative")
    row = find("lab/base-1e4")
    checkpoint = row.require_checkpoint()
    (book,) = read_books("builtin")
    ids = encode(load_tokenizer(checkpoint), book.text)[:512]
    with patched(model := load_model(checkpoint), row.rope):
        scores = score_tokens(model, ids)
    wanted = [float(scores.nll[: n - 1].sum(dtype=np.float64)) for n in (256, 512)]
    totals = [Sums(**sums) for sums in run.results["totals"]]
    assert [sums.nll for sums in totals] == pytest.approx(wanted, rel=1e-6)
    assert [sums.tokens for sums in totals] == [255, 511]
    assert [sums.hits for sums in totals] == [int(scores.hit[: n - 1].sum()) for n in (256, 512)]
    assert run.request["harness"] == "opencompass" and run.request["lengths"] == [256, 512]
    assert run.request["documents"] == [{"name": book.name, "sha256": book.digest}]
    (summary,) = (v for k, v in hosts.results.items() if k.startswith("rope_builtin_cumulative"))
    assert summary["perplexity@512"] == pytest.approx(np.exp(wanted[1] / 511))


# ---- failures -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which lab/base-20 is a checkpoint with its weights cut off."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(LAB / "base-20", folder / "cut")
    weights = folder / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (folder / "checkpoints.yaml").write_text("lab/base-20: cut\n")
    (folder / "data").symlink_to(hosts.folder / "data")
    return folder


def test_plain_opencompass_says_which_of_two_models_failed(broken: Path) -> None:
    config_dir = finish(start(broken, "rope-eval", "path", "opencompass")).strip()
    process = start(
        broken,
        *("opencompass", "--models", "scaling_rope_lab_base_1e4", "scaling_rope_lab_base_20"),
        *("--datasets", "rope_paper_toefl", "--config-dir", config_dir),
        *("--summarizer", "rope_eval", "--work-dir", "out"),
        ROPE_EVAL_DATA_DIR="data",
    )
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1, output
    assert "failed work" in output and "lab_base-20_" in output.split("failed work")[1]
    stored = {run.status: run for run in runs(broken, "opencompass")}
    assert stored["done"].results["tasks"]["rope_paper_toefl"]["n"] == 1
    assert stored["failed"].results == {} and "no predictions" in str(stored["failed"].error)
    assert not Store(broken / "results" / "runs").arrays(stored["failed"].key)


def test_a_failed_inference_is_exit_status_1(broken: Path) -> None:
    process = start(
        broken,
        *("rope-eval", "opencompass", "--models", "scaling_rope_lab_base_20"),
        *("--datasets", "rope_paper_toefl", "--data-dir", "data", "--results", "elsewhere"),
        *("--work-dir", "out-infer", "--mode", "infer"),
    )
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1, output
    assert "rope-eval: error: failed work: OpenICLInfer[lab_base-20_" in output
    (log,) = broken.glob("out-infer/*/logs/infer/*/*.out")
    assert "is broken or cut off" in log.read_text()
    assert not (broken / "elsewhere").exists()
