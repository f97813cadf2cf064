"""`rope-eval attention`: the table, JSON and the figure of a model, and its mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import models
from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.loading import encode, load_model
from rope_eval.cli import main
from rope_eval.scoring.attention_profile import bin_edges
from rope_eval.scoring.attention_scores import attention_by_distance
from studies.scaling_laws.recipes.model import build_tokenizer

SPEC = "rope_theta=500,dynamic_ntk=per_query,reference_length=40"
TEXTS = {"a": "The quick brown fox. " * 10, "b": "short", "c": "Jumps over the lazy dog. " * 8}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("model")
    config = models.config_of(
        "llama", vocab_size=257, bos_token_id=256, eos_token_id=256, pad_token_id=256
    )
    models.build(config).save_pretrained(directory)
    build_tokenizer().save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("books")
    for name, text in TEXTS.items():
        (folder / f"{name}.txt").write_text(text)
    return str(folder)


def facts_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["attention", *words, "--json"]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_documents_are_pooled(
    checkpoint: str, books: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", checkpoint, "--books", books, "--length", "100", "--documents", "2")
    facts = facts_of(capsys, *words, "--rope", SPEC, "--bins", "6", "--device", "cpu")
    assert facts["documents"] == ["a", "c"]
    assert facts["rope"] == RopeSpec.parse(SPEC).to_dict()
    assert (facts["critical_dimension"], facts["rotary_dim"]) == (4, 16)
    assert facts["train_length"] == models.TRAIN_LENGTH

    edges = bin_edges(99, 6)
    with patched(load_model(checkpoint, device="cpu"), RopeSpec.parse(SPEC)) as model:
        profiles = [
            attention_by_distance(
                model,
                encode(build_tokenizer(), TEXTS[name])[:100],
                first_pair_beyond=2,
                bin_edges=edges,
            )
            for name in ("a", "c")
        ]
    pooled = profiles[0] + profiles[1]
    assert [bin_["from"] for bin_ in facts["bins"]] == list(edges[:-1])
    assert [bin_["to"] + 1 for bin_ in facts["bins"]] == list(edges[1:])
    heads = 2 * 4  # layers, heads
    assert [bin_["count"] for bin_ in facts["bins"]] == (pooled.counts * heads).tolist()
    for i, part in enumerate(("before", "beyond")):
        means = [bin_[part]["mean"] for bin_ in facts["bins"]]
        stds = [bin_[part]["std"] for bin_ in facts["bins"]]
        assert means == pytest.approx(pooled.mean()[i])
        assert stds == pytest.approx(pooled.std()[i])
        second = [bin_[part]["mean"] for bin_ in facts["layers"][1]]
        assert second == pytest.approx(pooled.layer(1).mean()[i])
    assert np.abs(pooled.mean()).max() > 0.1


def test_the_table_and_the_figure(
    checkpoint: str, books: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "figure.png"
    words = ["attention", "--model", checkpoint, "--books", books, "--length", "100"]
    words += ["--bins", "4", "--spacing", "linear"]
    facts = facts_of(capsys, *words[1:])
    assert main([*words, "--output", str(figure)]) == 0
    shown = capsys.readouterr().out
    assert "dims 1 … 4" in shown
    assert "dims 5 … 16" in shown
    for bin_ in facts["bins"]:
        (line,) = [x for x in shown.splitlines() if f"{bin_['from']} … {bin_['to']}" in x]
        assert f"{bin_['before']['mean']:.3f}" in line
        assert f"{bin_['beyond']['std']:.3f}" in line
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_no_model_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attention", "--length", "100"]) == 2
    assert "give a model: --model DIR, or --config NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--length", "1"], "--length must be 2 tokens or more, got 1"),
        (["--length", "4x"], "got '4x'"),
        (["--length", "100", "--documents", "0"], "--documents must be 1 or more, got 0"),
        (["--length", "100", "--bins", "0"], "--bins must be 1 or more, got 0"),
        (["--length", "100", "--documents", "3"], r"has 2 (of 3): ask for shorter lengths"),
        (["--length", "100", "--rope", "rope_teta=5"], "Did you mean 'rope_theta'"),
        (["--length", "100", "--output", "figure.bmp"], "must end in .png, .pdf, .svg"),
        (["--length", "100", "--output", "nowhere/f.png"], "there is no folder nowhere"),
        (["--length", "100", "--model", "./nowhere"], "there is no model directory ./nowhere"),
    ],
)
def test_mistakes_exit_with_2(
    checkpoint: str,
    books: str,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["attention", "--model", checkpoint, "--books", books, *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
