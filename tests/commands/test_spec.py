"""`rope-eval spec` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import models
from rope_eval.cli import main

YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}


def directory(folder: Path, **changes: object) -> str:
    models.config_of("llama", **changes).save_pretrained(folder)
    return str(folder)


def test_a_config_as_a_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = directory(tmp_path, rope_parameters=YARN)
    assert main(["spec", "--model", model]) == 0
    assert capsys.readouterr().out == "rope_theta=500,yarn_factor=4,train_length=16\n"
    assert main(["spec", "--model", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "rope_theta": 500.0,
        "yarn_factor": 4.0,
        "train_length": 16,
    }


def test_a_setting_as_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = directory(tmp_path)
    words = ["spec", "--model", model, "--to-config", "--rope"]
    assert main([*words, "rope_theta=500,yarn_factor=4,train_length=16"]) == 0
    said = json.loads(capsys.readouterr().out)["rope_parameters"]
    assert {word: said[word] for word in YARN} == YARN
    assert main([*words, "cope=4"]) == 2
    assert "no rope_type of transformers says cope" in capsys.readouterr().err


def test_a_row_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spec", "--config", "llama2-7b/base-500-log"]) == 0  # it needs no checkpoint
    made = "pretrain_theta=10000,train_length=4096,tune_length=4096"
    assert capsys.readouterr().out == f"rope_theta=500,log_scale=True,{made}\n"
    words = ["spec", "--config", "lab/base-1e6", "--rope", "yarn_factor=4"]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("rope_theta=1000000,yarn_factor=4,")
    assert main([*words, "--to-config"]) == 0
    said = json.loads(capsys.readouterr().out)["rope_parameters"]
    assert (said["factor"], said["original_max_position_embeddings"]) == (4, 128)
    assert said["rope_theta"] == 1e6


def test_a_list_from_a_file_as_it_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.json").write_text("[1, 2.5]")
    assert main(["spec", "--rope", f"longrope_factors=@{tmp_path}/f.json"]) == 0
    assert capsys.readouterr().out == "longrope_factors=1:2.5\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to-config", "--rope", "yarn_factor=2"], "give --model DIR"),
        (["--model", ".", "--rope", "yarn_factor=2"], "give one"),
        (["--model", ".", "--config", "lab/base-1e6"], "give one, or --to-config"),
        (["--model", "./nowhere"], "there is no model directory ./nowhere"),
    ],
)
def test_what_it_cannot_do(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spec", *words]) == 2
    assert message in capsys.readouterr().err
