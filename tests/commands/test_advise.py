"""`rope-eval advise` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rope_eval.cli import main
from rope_eval.paths import asset

LAB = asset("model_configs") / "lab"


def test_words_and_a_plan_that_runs_dry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--model", str(LAB / "pretrained"), "--target-length", "512", "--plan", "check.yaml"]
    assert main(["advise", *words]) == 0
    out = capsys.readouterr().out
    assert "pre-trained at 128 tokens with a base of 10000" in out
    assert "The base to take" in out and "rope-eval tune --model" in out
    assert "--rope dual_chunk_size=80" in out
    assert "note: pretrain_theta 10000: the config's own base" in out
    file = tmp_path / "check.yaml"  # of 18 cells two are enough: a tokenizer and a book for each
    text = file.read_text()
    start, end = text.index("- {ntk_alpha"), text.index("measurements")
    file.write_text(text[:start] + text[end:])
    assert main(["run", "check.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "2 cells: 2 to do" in out
    assert main(["advise", *words]) == 2
    assert "is there already" in capsys.readouterr().err


def test_json_has_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--config lab/base-1e6 --target-length 1k --tune-length 256 --json"
    assert main(["advise", *words.split()]) == 0
    found = json.loads(capsys.readouterr().out)
    assert round(found["bound"]) == 726
    assert (found["train_length"], found["pretrain_theta"], found["base"]) == (128, 1e4, 1e6)
    assert found["tuning"]["length"] == 256
    assert found["laws"]["train_length"]["value"] == 128
    assert [one["setting"] for one in found["untuned"]][:1] == ["ntk_alpha=8"]


def test_a_row_is_known_by_its_name_and_stays_one(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    words = ["--model", "lab/pretrained", "--target-length", "256", "--plan", str(plan)]
    assert main(["advise", *words]) == 0
    assert "- {row: lab/pretrained}" in plan.read_text()


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        ({"model_type": "gpt2", "n_embd": 768, "n_head": 12}, "", "has no rope_theta and head_dim"),
        (
            {"hidden_size": 64, "num_attention_heads": 1, "rope_parameters": {"full": {}, "w": {}}},
            "",
            "for each type of layer",
        ),
        (
            {"hidden_size": 64, "num_attention_heads": 1, "rope_theta": 1e4},
            "",
            "advice needs train_length",
        ),
        ({"rope_theta": 1e4}, "--rope log_scale=true", "not of one under log_scale"),
        ({"rope_theta": 1e4}, "--books pg19", "--plan FILE"),
    ],
)
def test_what_cannot_be_said_is_refused(
    config: dict[str, object],
    words: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    given = ["advise", "--model", str(tmp_path), "--target-length", "8k", *words.split()]
    assert main(given) == 2
    assert message in capsys.readouterr().err
