"""`rope-eval estimate` through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import models
from rope_eval.cli import main
from rope_eval.commands.estimate import parse_size
from rope_eval.errors import SpecError
from rope_eval.scoring.cost import Cost
from rope_eval.scoring.forecast import scoring
from rope_eval.scoring.machine import Machine

RATES = ["--flops", "1e12", "--bandwidth", "1e11"]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["estimate", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_directory_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = models.config_of("llama")
    config.save_pretrained(tmp_path)
    words = ["--model", str(tmp_path), "--tokens", "1k,1m", "--dtype", "float16", *RATES]
    facts = said(capsys, *words, "--chunk-size", "512")
    one = scoring(Cost.of(config), 1 << 20, Machine.given(1e12, 1e11), "float16", chunk_size=512)
    assert list(facts["scoring"]) == ["1024", "1048576"]
    assert facts["scoring"]["1048576"]["seconds"] == one.seconds
    assert facts["scoring"]["1048576"]["memory"] == one.memory
    assert facts["machine"]["measured"] is False
    assert facts["generation"] == {}
    changing = said(
        capsys, *words, "--chunk-size", "512", "--rope", "dynamic_ntk=per_query,train_length=64"
    )
    assert changing["scoring"]["1048576"]["memory"] > one.memory  # keys are held unrotated too


def test_a_size_over_devices_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["estimate", "--parameters", "8b", "--tokens", "1m", "--devices", "8", *RATES]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "8.03 G parameters, 32 layers of 4096, bfloat16" in out
    assert "8 devices, queries split" in out
    assert "give --link" in out
    received = 2 * 32 * (1 << 20) * 8 * 128 * 2 * 7 // 8
    assert f"{received / 1e9:.3g} GB" in out
    assert main([*words, "--link", "1e10"]) == 0
    assert "give --link" not in capsys.readouterr().out


def test_the_machine_is_measured_where_no_rate_is_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def measured(cost: Cost, dtype: str, **more: Any) -> Machine:
        asked.append((cost.parameters, dtype, more))
        return Machine.given(2e12, 3e11)

    monkeypatch.setattr("rope_eval.scoring.machine.measured", measured)
    facts = said(capsys, "--config", "lab/base-1e6", "--tokens", "1k", "--generate", "16")
    assert asked == [(631_936, "float32", {"device": "cpu", "link": None})]
    assert facts["machine"]["products"] == 2e12 and facts["machine"]["measured"] is True
    assert facts["chunk_size"] == 2048
    assert facts["generation"]["1024"]["tokens"] == 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a model"),
        (["--parameters", "8b", "--config", "lab/base-20"], "leave one out"),
        (["--parameters", "8b", "--flops", "1e12"], "go together"),
        (["--parameters", "8b", *RATES, "--device", "cpu"], "leave one out"),
        (["--parameters", "8b", *RATES, "--devices", "2", "--generate", "4"], "split=layers"),
        (["--parameters", "8x", *RATES], "such as 8b"),
        (["--config", "lab/base-21", *RATES], "lab/base-2"),
    ],
)
def test_what_cannot_be_estimated(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", "--tokens", "1k", *words]) == 2
    assert message in capsys.readouterr().err


def test_sizes() -> None:
    assert [parse_size(text) for text in ("8b", "1.5B", "135m", "7")] == [
        8_000_000_000,
        1_500_000_000,
        135_000_000,
        7,
    ]
    for text in ("", "0", "b", "1e9", "101t", "-8b"):
        with pytest.raises(SpecError):
            parse_size(text)
