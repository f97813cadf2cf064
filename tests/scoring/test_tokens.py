"""The layer-by-layer scorer against the plain forward, and the kernels under it."""

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from helpers import models
from rope_eval import RopeSpec, TokenScores, patched, score_tokens
from rope_eval.backends.hf.attention import ATTRIBUTE
from rope_eval.backends.hf.kernels import Scores, causal_attention, masked_attention
from rope_eval.errors import DataError, LengthError, ScoreError, SpecError
from rope_eval.scoring.texts import token_nll

NATS = 1e-4
METHODS = [
    "",
    "rope_theta=500,linear_factor=2",
    "yarn_factor=4,log_scale=true",
    "xpos=true,reference_length=3,log_scale=true",
    "beyond_critical=clip,train_length=20",
    "beyond_critical=drop,log_scale=true",
    "dynamic_ntk=per_query,reference_length=16",
    "dynamic_ntk=per_query,reference_length=7.3,xpos=true,beyond_critical=clip",
    "dynamic_ntk=per_query,reference_length=5,xpos=true,log_scale=true,linear_factor=2,ntk_alpha=2",
    "dynamic_ntk=per_sequence,reference_length=16,xpos=true",
    "dynamic_ntk=per_sequence,ntk_formula=continuous,log_scale=true",
    "dynamic_yarn=continuous,mscale=3,attn_temperature=llama4,floor_scale=8,attn_scale=0.5",
    "longrope_factors=1:1:1:1:1:1:1:1/1:1.5:2:3:4:6:8:9,longrope_ratio=4,train_length=40",
    "drope=true,softmax_scale=0.4,scalable_softmax=0.6",
]
HARDEST = METHODS[8]


def forward_scores(model: PreTrainedModel, input_ids: Tensor) -> npt.NDArray[np.float64]:
    return models.nll(models.log_probabilities(model, input_ids[None]), input_ids[None])[0].numpy()


def assert_scores(found: TokenScores, nll: npt.NDArray[Any], tolerance: float = NATS) -> None:
    np.testing.assert_allclose(found.nll, nll, rtol=0, atol=tolerance)


# ---- against the plain forward -----------------------------------------------------------------


@pytest.mark.parametrize("text", METHODS)
@pytest.mark.parametrize("length", [2, 3, 17, 33, 90])
def test_equals_the_plain_forward(text: str, length: int) -> None:
    model, input_ids = models.tiny(), models.token_ids(length)[0]
    with patched(model, RopeSpec.parse(text)):
        expected = forward_scores(model, input_ids)
        assert_scores(score_tokens(model, input_ids), expected)


@pytest.mark.parametrize("family", [f for f in models.FAMILIES if f != "llama"])
@pytest.mark.parametrize("text", ["", METHODS[2], HARDEST, METHODS[10]])
def test_every_family_equals_the_plain_forward(family: str, text: str) -> None:
    model, input_ids = models.tiny(family), models.token_ids(70)[0]
    with patched(model, RopeSpec.parse(text)):
        expected = forward_scores(model, input_ids)
        assert_scores(score_tokens(model, input_ids, chunk_size=24), expected)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_a_stock_model_is_scored_as_it_is(family: str) -> None:
    model, input_ids = models.tiny(family), models.token_ids(70)[0]
    assert_scores(score_tokens(model, input_ids), forward_scores(model, input_ids))
    assert not hasattr(model, ATTRIBUTE)


@pytest.mark.parametrize("rope_type", models.SCALED)
def test_a_config_that_scales_its_frequencies(rope_type: str) -> None:
    model, input_ids = models.tiny_scaled(rope_type), models.token_ids(70)[0]
    assert_scores(score_tokens(model, input_ids), forward_scores(model, input_ids))


@pytest.mark.parametrize("text", METHODS)
@pytest.mark.parametrize("chunk_size", [1, 7, 16, 64, 500])
def test_the_size_of_chunks_changes_nothing(text: str, chunk_size: int) -> None:
    model, input_ids = models.tiny(), models.token_ids(75)[0]
    with patched(model, RopeSpec.parse(text)):
        whole = score_tokens(model, input_ids)
        found = score_tokens(model, input_ids, chunk_size=chunk_size)
    assert_scores(found, whole.nll)
    assert (found.hit == whole.hit).all()


def test_what_comes_back() -> None:
    model, input_ids = models.tiny(), models.token_ids(400)[0]
    scores = score_tokens(model, input_ids)
    assert (scores.nll.dtype, scores.hit.dtype) == (np.float32, np.bool_)
    assert scores.nll.shape == scores.hit.shape == (399,)
    log_p = models.log_probabilities(model, input_ids[None])[0, :-1]
    assert (scores.hit == (log_p.argmax(-1) == input_ids[1:]).numpy()).all()
    assert 0 < scores.hit.sum() < 399


def test_many_rows_of_logits_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, input_ids = models.tiny(), models.token_ids(90)[0]
    whole = score_tokens(model, input_ids)
    monkeypatch.setattr("rope_eval.scoring.logits.LOGITS_AT_ONCE", 7 * models.VOCABULARY)
    found = score_tokens(model, input_ids)
    assert_scores(found, whole.nll, 1e-5)
    monkeypatch.setattr("rope_eval.scoring.logits.LOGITS_AT_ONCE", 1)
    assert_scores(score_tokens(model, input_ids), whole.nll, 1e-5)


@pytest.mark.parametrize("formula", ["octave", "continuous"])
def test_per_sequence_takes_the_length_of_the_whole_document(formula: str) -> None:
    model, input_ids = models.tiny(), models.token_ids(33)[0]
    text = f"dynamic_ntk=per_sequence,reference_length=32,ntk_formula={formula}"
    plain = score_tokens(model, input_ids)
    with patched(model, RopeSpec.parse(text)):
        within, beyond = score_tokens(model, input_ids[:32]), score_tokens(model, input_ids)
        expected = forward_scores(model, input_ids)
    assert_scores(within, plain.nll[:31])
    assert_scores(beyond, expected)
    assert np.abs(beyond.nll[:31] - within.nll).mean() > (0.3 if formula == "octave" else 1e-3)


@pytest.mark.parametrize(
    "text", [t for t in METHODS if RopeSpec.parse(t).base_changes != "per_sequence"]
)
def test_the_scores_of_a_prefix_are_a_prefix_of_the_scores(text: str) -> None:
    model, input_ids = models.tiny(), models.token_ids(90)[0]
    with patched(model, RopeSpec.parse(text)):
        whole = score_tokens(model, input_ids)
        for length in (2, 16, 17, 50):
            assert_scores(score_tokens(model, input_ids[:length]), whole.nll[: length - 1])


@pytest.mark.parametrize("text", METHODS)
def test_what_was_scored_before_changes_nothing(text: str) -> None:
    model, spec = models.tiny(), RopeSpec.parse(text)
    short, long = models.token_ids(30)[0], models.token_ids(120)[0]
    with patched(model, spec):
        fresh = score_tokens(model, short)
    with patched(model, spec):
        before = score_tokens(model, long)
        models.log_probabilities(model, models.token_ids(50, rows=2))
        again = score_tokens(model, short)
        after = score_tokens(model, long)
    assert np.array_equal(fresh.nll, again.nll)
    assert np.array_equal(before.nll, after.nll)


@pytest.mark.parametrize(
    ("dtype", "mean"), [(torch.float16, 0.02), (torch.bfloat16, 0.15), (torch.float64, 1e-5)]
)
@pytest.mark.parametrize("text", ["", HARDEST])
def test_other_precisions(dtype: torch.dtype, mean: float, text: str) -> None:
    model, input_ids = models.tiny(), models.token_ids(80)[0]
    lower = copy.deepcopy(model).to(dtype)
    spec = RopeSpec.parse(text)
    with patched(model, spec), patched(lower, spec):
        expected = score_tokens(model, input_ids).nll
        found = score_tokens(lower, input_ids, chunk_size=16)
        forward = forward_scores(lower, input_ids)
    assert found.nll.dtype == np.float32
    assert np.abs(found.nll - expected).mean() < mean
    assert np.abs(found.nll - forward).mean() < mean


# ---- errors, and what is left behind -----------------------------------------------------------


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 5), ()])
def test_too_few_tokens(shape: tuple[int, ...]) -> None:
    with pytest.raises(LengthError, match="a row of at least 2 tokens, got shape"):
        score_tokens(models.tiny(), torch.ones(shape, dtype=torch.long))


@pytest.mark.parametrize("chunk_size", [0, -1])
def test_a_chunk_has_tokens(chunk_size: int) -> None:
    with pytest.raises(SpecError, match="chunk_size must be a whole number of 1 or more"):
        score_tokens(models.tiny(), torch.arange(4), chunk_size=chunk_size)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_an_error(value: float) -> None:
    model = copy.deepcopy(models.tiny())
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 5] = value
    with pytest.raises(ScoreError, match="the score of token 1 is nan: the run has failed") as e:
        score_tokens(model, models.token_ids(20)[0])
    assert e.value.exit_code == 1
    assert not hasattr(model, ATTRIBUTE)


def test_one_bad_score_is_named() -> None:
    model, input_ids = copy.deepcopy(models.tiny("phi")), models.token_ids(20)[0].clamp(max=59)
    input_ids[12] = 60
    with torch.no_grad():
        model.lm_head.bias[60] = float("-inf")
    with pytest.raises(ScoreError, match=r"of token 12 is inf.*1 of 19 scores are not numbers"):
        score_tokens(model, input_ids)


@pytest.mark.parametrize("training", [False, True])
def test_the_mode_is_restored(training: bool) -> None:
    model = copy.deepcopy(models.tiny()).train(training)
    score_tokens(model, models.token_ids(20)[0])
    assert all(module.training == training for module in model.modules())


def test_dropout_is_off_while_scoring() -> None:
    model = models.build(models.config_of("llama", attention_dropout=0.5))
    input_ids = models.token_ids(20)[0]
    expected = score_tokens(model, input_ids).nll
    assert np.array_equal(score_tokens(model.train(), input_ids).nll, expected)


def test_an_exception_in_the_middle_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    model, input_ids = copy.deepcopy(models.tiny()).train(), models.token_ids(60)[0]
    with patched(model, RopeSpec.parse(METHODS[9])):
        before = score_tokens(model, input_ids).nll
        plain = models.log_probabilities(model, input_ids[None])
        with monkeypatch.context() as patch:

            def fail(*_: Any, **__: Any) -> None:
                raise MemoryError

            patch.setattr(model.model.layers[1].mlp, "forward", fail)
            with pytest.raises(MemoryError):
                score_tokens(model, input_ids, chunk_size=16)
        attention = getattr(model, ATTRIBUTE)
        assert not attention.keys_are_rotated
        assert attention.lengths is None
        assert model.training
        assert torch.equal(models.log_probabilities(model, input_ids[None]), plain)
        assert np.array_equal(score_tokens(model, input_ids).nll, before)


def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    input_ids = models.token_ids(50)[0]
    score_tokens(models.tiny(), input_ids, chunk_size=10, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) == 10
    assert seen[-1] == 1.0


def test_tokens_are_not_changed() -> None:
    input_ids = models.token_ids(50)[0]
    before = input_ids.clone()
    score_tokens(models.tiny(), input_ids, chunk_size=10)
    assert torch.equal(input_ids, before)
    assert models.tiny().model.embed_tokens.weight.requires_grad


# ---- kernels -----------------------------------------------------------------------------------


def naive(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    q, k, v = q.double(), k.double(), v.double()
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = (q @ k.transpose(-1, -2) * scale).masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize(("Q", "K"), [(1, 1), (1, 40), (40, 40), (2, 40), (39, 40), (17, 600)])
@pytest.mark.parametrize(("B", "N", "M"), [(1, 4, 2), (2, 4, 4), (3, 3, 1)])
def test_causal_attention(
    B: int, N: int, M: int, Q: int, K: int, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    q = torch.randn(B, N, Q, 24).to(dtype)
    room = torch.randn(2, B, M, K + 5, 24).to(dtype)
    k, v = room[0, :, :, :K], room[1, :, :, :K]  # a slice of a longer cache
    before = room.clone()
    mask = torch.ones(Q, K, dtype=torch.bool).tril(K - Q)
    found = causal_attention(q, k, v, Scores(0.7))
    assert found.shape == q.shape
    assert found.dtype == dtype
    assert_close(found.double(), naive(q, k, v, mask, 0.7), rtol=tolerance, atol=tolerance)
    assert torch.equal(room, before)


@pytest.mark.parametrize(("N", "M"), [(4, 2), (4, 4), (3, 1)])
def test_masked_attention(N: int, M: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, N, 9, 16), torch.randn(2, M, 20, 16), torch.randn(2, M, 20, 16)
    mask = torch.rand(2, 1, 9, 20) < 0.5
    mask[..., 0] = True
    assert_close(
        masked_attention(q, k, v, Scores(0.5), mask).double(),
        naive(q, k, v, mask, 0.5),
        rtol=2e-6,
        atol=2e-6,
    )


def test_very_unequal_halves_merge() -> None:
    q = torch.full((1, 1, 2, 8), 10.0)
    k = torch.cat([torch.full((1, 1, 3, 8), 10.0), torch.full((1, 1, 2, 8), -10.0)], dim=2)
    v = torch.randn(1, 1, 5, 8)
    out = causal_attention(q, k, v, Scores(1.0))
    assert_close(out, v[:, :, :3].mean(2, keepdim=True).expand_as(out))
    out = causal_attention(q, -k, v, Scores(1.0))
    assert_close(out[:, :, 0], v[:, :, 3])
    assert_close(out[:, :, 1], v[:, :, 3:].mean(2))


# ---- found by suspicion ------------------------------------------------------------------------


def test_modes_that_differ_by_module_are_restored() -> None:
    model = copy.deepcopy(models.tiny())
    model.model.layers[0].train()
    before = [module.training for module in model.modules()]
    score_tokens(model, models.token_ids(20)[0])
    assert [module.training for module in model.modules()] == before


@pytest.mark.parametrize("token", [models.VOCABULARY, 1 << 40])
def test_a_token_that_the_model_does_not_have(token: int) -> None:
    ids = torch.tensor([0, 5, token])
    with pytest.raises(DataError, match=f"gives token {token}, and the model has 61: is it"):
        score_tokens(models.tiny(), ids)
    with patched(models.tiny(), RopeSpec()) as model, pytest.raises(DataError, match="token"):
        token_nll(model, [(0, 1, 2), (0, token)])
    assert len(score_tokens(models.tiny(), torch.tensor([0, models.VOCABULARY - 1])).nll) == 1
