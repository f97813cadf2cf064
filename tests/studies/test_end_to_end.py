"""The laboratory from end to end: train, measure, show; and the law on the shipped weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from rope_eval.cli import main
from rope_eval.hosts.lm_eval import evaluate

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "studies" / "scaling_laws" / "plan-quick.yaml"


def work_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go where the plans' folders are, and leave out lm-eval's own tasks, which take seconds."""
    monkeypatch.chdir(folder)
    (folder / "studies").symlink_to(ROOT / "studies")
    monkeypatch.setattr(
        evaluate, "TaskManager", lambda **options: TaskManager(**options, include_defaults=False)
    )
    evaluate._manager.cache_clear()


def test_train_measure_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work_in(tmp_path, monkeypatch)
    names = ["pretrained", "base-20", "base-81", "base-1e4", "base-1e6"]
    assert main(["lab", "train", "--steps", "2", "--only", *names]) == 0
    assert sorted(path.name for path in Path("lab").iterdir()) == sorted(names)
    assert main(["lab", "text"]) == 0
    tuned = ", ".join(f"lab/{name}" for name in names[1:])
    models = f"[{{model: lab/pretrained, train_length: 128}}, {{models: [{tuned}], train_length: "
    models += "128, tune_length: 128, pretrain_theta: 10000}]"
    text = QUICK.read_text(encoding="utf-8").replace("[{rows: [lab/*]}]", models)
    text = text.replace("docs: 6", "docs: 3").replace("samples: 6", "samples: 3")
    Path("plan.yaml").write_text(text)
    assert main(["run", "plan.yaml"]) == 0
    assert "20 of 20 cells done" in capsys.readouterr().out
    assert main(["lab", "show", "--store", "results/lab-quick"]) == 0
    printed = capsys.readouterr().out
    assert "bases" in printed
    assert "not measured" in printed  # no methods, no other seeds
    facts = json.loads(Path("laboratory/findings.json").read_text(encoding="utf-8"))
    assert facts["checkpoints"] == names
    assert facts["text"]["documents"] == 3
    text = Path("laboratory/findings.md").read_text(encoding="utf-8")
    for picture in Path("laboratory").glob("*.png"):
        assert picture.name in text
    assert len(list(Path("laboratory").glob("*.png"))) >= 6


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Return what the quick plan finds on the shipped checkpoints that were tuned at 128."""
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as monkeypatch:
        work_in(folder, monkeypatch)
        assert main(["lab", "text"]) == 0
        tuned = ("base-20", "base-1e4", "base-1e5", "base-1e6")
        names = ", ".join(f"lab/{name}" for name in ("pretrained", *tuned))
        text = QUICK.read_text(encoding="utf-8").replace("[lab/*]", f"[{names}]")
        Path("plan.yaml").write_text(text)
        assert main(["run", "plan.yaml"]) == 0
        assert main(["lab", "show", "--store", "results/lab-quick", "--output", "found"]) == 0
        facts = json.loads(Path("found/findings.json").read_text(encoding="utf-8"))
        yield facts["findings"]


def test_the_base_of_pre_training_is_the_worst(findings: dict[str, Any]) -> None:
    worst = {row["length"]: row for row in findings["bases"]["numbers"]["worst"]}
    assert set(worst) == {256, 512, 1024}
    for row in worst.values():
        assert (row["rank"], row["of"], row["worst_base"]) == (1, 4, 10_000)
    assert worst[512]["difference"]["interval"][0] > 0.3  # nats a token


def test_the_bound_holds_within_a_factor(findings: dict[str, Any]) -> None:
    points = {row["base"]: row for row in findings["critical-base"]["numbers"]["points"]}
    assert points[10_000]["max_context"]["value"] == pytest.approx(128, rel=0.3)
    assert points[100_000]["max_context"]["value"] == pytest.approx(329, rel=0.3)
    assert points[1_000_000]["max_context"]["value"] > 1.5 * points[100_000]["max_context"]["value"]


def test_what_is_in_the_window_is_retrieved_and_past_the_bound_it_is_not(
    findings: dict[str, Any],
) -> None:
    rows = {row["checkpoint"]: row for row in findings["retrieval"]["numbers"]["checkpoints"]}
    for name in ("base-1e4", "base-1e5", "base-1e6"):
        accuracy = dict(zip(rows[name]["lengths"], rows[name]["accuracy"], strict=True))
        assert accuracy[64] > 0.5
    accuracy = dict(zip(rows["base-1e4"]["lengths"], rows["base-1e4"]["accuracy"], strict=True))
    assert accuracy[512] < 0.2


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("--store nowhere", 2, "run the study's plan first"),
        ("--preset lap", 2, "Did you mean 'lab'"),
        ("--output file/in/the/way", 1, "cannot write to"),
    ],
)
def test_what_cannot_be_shown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    store = [] if "--store" in words else ["--store", str(ROOT / "results" / "lab")]
    assert main(["lab", "show", *store, *words.split()]) == status
    assert message in capsys.readouterr().err
