"""SmolLM2-135M: neutral is stock, the law says where it breaks, and a method moves that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from rope_eval.backends.hf.attention import rotary_of
from rope_eval.backends.hf.loading import encode, load_model, load_tokenizer
from rope_eval.backends.hf.patch import patched
from rope_eval.cli import main
from rope_eval.data.books import read_books
from rope_eval.errors import SpecError
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.tokens import score_lengths, score_tokens

BOUND = 12007  # Theorem 2: pre-trained at base 10000 and 2048 tokens, tuned at 8192
DYNAMIC = {"dynamic_ntk": "per_query"}
LENGTHS = (8192, 10240, 11264, 12288)
STEP = 1024


@pytest.fixture(scope="module")
def model(smollm2: Path) -> PreTrainedModel:
    return load_model(str(smollm2), device="cpu")


@pytest.fixture(scope="module")
def ids(smollm2: Path) -> Tensor:
    text = next(iter(read_books("builtin"))).text[:60000]
    return encode(load_tokenizer(str(smollm2)), text)[: LENGTHS[-1]]


@pytest.fixture(scope="module")
def plain(model: PreTrainedModel, ids: Tensor) -> Tensor:
    return nll(model, ids, RopeSpec())


@pytest.fixture
def without_facts(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Yield the model as one of no known family."""
    known, model.config.max_position_embeddings = model.config.max_position_embeddings, 16384
    yield model
    model.config.max_position_embeddings = known


def nll(model: PreTrainedModel, ids: Tensor, spec: RopeSpec) -> Tensor:
    with patched(model, spec):
        return torch.as_tensor(score_tokens(model, ids).nll, dtype=torch.float64)


def test_neutral_is_stock(model: PreTrainedModel, ids: Tensor) -> None:
    lengths = (512, 1024, 2048)
    with torch.inference_mode():
        logits = model(ids[None, : lengths[-1] - 1], use_cache=False).logits[0]
        stock = cross_entropy(logits, ids[1 : lengths[-1]], reduction="none").double()
    with patched(model, RopeSpec()):
        scores = score_lengths(model, ids, lengths)
        with torch.inference_mode():
            ours = model(ids[None, :512], use_cache=False).logits[0]
    log_probs = [some.log_softmax(-1) for some in (ours, logits[:512])]
    torch.testing.assert_close(*log_probs, rtol=0, atol=3e-4)  # rounding: 1.3e-4 of 25 million
    for length, perplexity in zip(lengths, (17.9569, 12.9164, 11.9572), strict=True):
        want = stock[: length - 1].mean()
        found = torch.as_tensor(scores[length].nll, dtype=torch.float64).mean()
        torch.testing.assert_close(found, want, rtol=1e-5, atol=0)
        assert float(found.exp()) == pytest.approx(perplexity, rel=1e-4)


def test_the_law_stands_on_what_is_known_of_the_family(
    smollm2: Path, model: PreTrainedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    with patched(model, RopeSpec()):
        assert round(rotary_of(model).extrapolation_bound) == BOUND
    given = RopeSpec(pretrain_theta=1e4, train_length=2048, tune_length=8192)
    with patched(model, given):
        assert round(rotary_of(model).extrapolation_bound) == BOUND
    assert main(["theory", "--model", str(smollm2), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert round(facts["extrapolation_bound"]) == BOUND
    assert round(facts["critical_base"]) == 90835
    assert facts["laws"]["pretrain_theta"]["value"] == 10000
    assert "SmolLM2" in facts["laws"]["pretrain_theta"]["source"]


def test_it_breaks_a_little_before_the_bound(plain: Tensor) -> None:
    local = [float(step.mean()) for step in plain.split(STEP)]
    assert max(local[7:10]) < 1.9  # to 10,240
    assert local[10] == pytest.approx(3.00, abs=0.02)  # to 11,264
    assert local[11] == pytest.approx(3.66, abs=0.02)
    assert float(plain.mean().exp()) == pytest.approx(11.232, abs=0.01)
    assert float(plain[:8191].mean().exp()) == pytest.approx(10.283, abs=0.01)


def test_dynamic_ntk_mends_what_lies_beyond_the_bound(
    model: PreTrainedModel, ids: Tensor, plain: Tensor
) -> None:
    mended = nll(model, ids, RopeSpec.from_dict(DYNAMIC))
    within = slice(BOUND - 2)  # nothing but where its chunks end differs
    torch.testing.assert_close(mended[within], plain[within], rtol=0, atol=1e-3)
    assert float(mended.mean().exp()) == pytest.approx(10.99, abs=0.01)
    assert mended[BOUND:].mean() < plain[BOUND:].mean() - 0.5


def test_without_facts_a_method_says_from_what_or_is_refused(
    without_facts: PreTrainedModel,
) -> None:
    with patched(without_facts, RopeSpec.from_dict(DYNAMIC)):
        facts = rotary_of(without_facts).laws.to_dict()
    assert facts["pretrain_theta"] == {"value": 1e5, "source": "the config's own base"}
    with (
        pytest.raises(SpecError, match=r"dynamic_ntk.* needs pretrain_theta.*pretrain_theta=…"),
        patched(
            without_facts,
            RopeSpec.from_dict(DYNAMIC | {"tune_length": 16384, "train_length": 8192}),
        ),
    ):
        pass
