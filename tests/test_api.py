"""In Python what the commands do: the same runs, from the same store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rope_eval
from helpers import models
from rope_eval import RopeSpec, Store, compare, curve, patched, score_tokens
from rope_eval.catalogue import find
from rope_eval.cli import main
from rope_eval.errors import LengthError, RopeEvalError

BOOKS = {"books": "builtin-chapters", "documents": 3}
DYNAMIC = {"dynamic_ntk": "per_query"}


def test_a_spec_to_a_curve_in_one_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    plain = curve("lab/base-1e5", lengths=[128, "1k"], store=store, **BOOKS)
    method = curve("lab/base-1e5", DYNAMIC, lengths=[128, "1k"], store=store, **BOOKS)
    assert plain.lengths == (128, 1024)
    assert plain.bound == pytest.approx(329, abs=1)
    assert plain.perplexity[0] == method.perplexity[0]
    assert plain.perplexity[1] > 2 * method.perplexity[1]
    assert list(plain.frame().columns) == ["length", "perplexity", "accuracy"]
    words = ["--books", "builtin-chapters", "--docs", "3", "--lengths", "128,1k"]
    words += ["--config", "lab/base-1e5", "--results", str(tmp_path), "--json"]
    assert main(["ppl", *words]) == 0
    said = capsys.readouterr().out
    assert plain.key in said and '"from_store": true' in said
    found = compare(method, plain, store=store)
    nats = [one for one in found.differences if one.unit == "nats"]
    assert nats[0].difference == 0
    assert nats[-1].difference < -0.5


def test_a_model_is_a_folder_and_a_spec_a_value(tmp_path: Path) -> None:
    folder = find("lab/base-1e5").require_checkpoint()
    spec = RopeSpec(dynamic_ntk="per_query", pretrain_theta=1e4, train_length=128, tune_length=128)
    by_folder = curve(folder, spec, lengths=[256], store=Store(tmp_path / "a"), **BOOKS)
    by_row = curve("lab/base-1e5", DYNAMIC, lengths=[256], store=Store(tmp_path / "b"), **BOOKS)
    assert by_folder.perplexity == by_row.perplexity


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lengths": []}, "a length is"),
        ({"lengths": [128], "rope": {"dynamic_nkt": True}}, "dynamic_ntk"),
        ({"lengths": [128], "backend": "gpu"}, "backend must be one of"),
        ({"lengths": ["9m"]}, "builtin"),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(RopeEvalError, match=words):
        curve("lab/pretrained", store=Store(tmp_path), **given)  # type: ignore[arg-type]
    assert list(tmp_path.glob("*.zip")) == []


def test_a_row_of_tokens_as_a_tokenizer_gives_it() -> None:
    model, ids = models.tiny(), torch.arange(2, 40)
    with patched(model, RopeSpec()):
        one, row = score_tokens(model, ids), score_tokens(model, ids[None])
        assert (one.nll == row.nll).all() and (one.hit == row.hit).all()
        with pytest.raises(LengthError, match=r"\[2, 38\]"):
            score_tokens(model, torch.stack([ids, ids]))


def test_the_public_names_are_there() -> None:
    assert dir(rope_eval) == sorted([*rope_eval.__all__, "__version__"])
    for name in rope_eval.__all__:
        assert getattr(rope_eval, name).__doc__


@pytest.mark.parametrize("order", ["import rope_eval, lm_eval", "import lm_eval.models, rope_eval"])
def test_lm_eval_knows_the_model_once_the_package_is_imported(order: str) -> None:
    program = (
        f"{order}\nfrom lm_eval.api.registry import get_model\nprint(get_model('scaling_rope'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "ScalingRopeLM" in done.stdout
