"""One document over processes, against one process: every knob, the work, and what is sent."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import models
from helpers.families.build import NAMED, build
from helpers.many import together
from rope_eval import RopeSpec, TokenScores, patched, score_tokens
from rope_eval.backends.hf.attention import ATTRIBUTE
from rope_eval.errors import ScoreError, UnsupportedModelError
from rope_eval.scoring import tokens
from rope_eval.scoring.processes import Processes
from rope_eval.scoring.sharded import Deal, dealt, score_lengths_over, score_tokens_over
from rope_eval.scoring.tokens import score_lengths

CHUNK = 8
EVERY_KNOB = (
    "dynamic_ntk=per_query,reference_length=5,xpos=true,log_scale=true,linear_factor=2,ntk_alpha=2"
)
SETTINGS = (
    "",
    "rope_theta=500",
    "log_scale=true,reference_length=3",
    "dynamic_ntk=per_query,reference_length=7.3",
    "dynamic_ntk=per_sequence,reference_length=16,xpos=true",
    "dynamic_ntk=per_sequence,ntk_formula=continuous",
    "xpos=true,reference_length=3",
    "beyond_critical=clip,train_length=20",
    "beyond_critical=drop,log_scale=true,reference_length=3",
    "rerope_window=6",
    "self_extend_window=8,self_extend_group=4",
    "dual_chunk_size=12",
    EVERY_KNOB,
)
CASES = (
    *(("llama", text, 130) for text in SETTINGS),
    *(("llama", EVERY_KNOB, length) for length in (2, 3, 5, 6, 18, 67)),
    *((family, EVERY_KNOB, 70) for family in ("llama_multi_query", "qwen3", "phi", "stablelm")),
    *(("mixed", text, 70) for text in ("", "layers=all,rope_theta=500", EVERY_KNOB)),
)
LENGTHS = (2, 20, 60)
SCORED_BY_BASE = "dynamic_ntk=per_sequence,reference_length=16"


def model_of(name: str) -> Any:
    return models.mixed() if name == "mixed" else models.tiny(name)


def spec_of(name: str, text: str) -> RopeSpec:
    return models.fitted(text, models.pairs_that_turn(model_of(name)))


def all_scores(processes: Processes) -> list[TokenScores]:
    found = []
    for name, text, length in CASES:
        model, ids = model_of(name), models.token_ids(length)[0]
        with patched(model, spec_of(name, text)):
            found.append(score_tokens_over(processes, model, ids, chunk_size=CHUNK))
    return found


@functools.cache
def found_by(size: int) -> list[list[TokenScores]]:
    return together(size, all_scores)


def in_the_same_chunks(model: Any, ids: Tensor, size: int) -> TokenScores:
    """Return the scores of one process whose chunks are those of several, under a setting."""
    if len(ids) <= size:
        return score_tokens(model, ids)
    deal = dealt(getattr(model, ATTRIBUTE), len(ids) - 1, size, CHUNK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "chunks_of", lambda *_: list(deal.parts))
        return score_tokens(model, ids)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_scores_are_those_of_one_process(size: int, case: tuple[str, str, int]) -> None:
    """To the bit of one process with the same chunks, and to rounding of one with its own."""
    name, text, length = case
    model, ids = model_of(name), models.token_ids(length)[0]
    with patched(model, spec_of(name, text)):
        expected = score_tokens(model, ids, chunk_size=CHUNK)
        same = in_the_same_chunks(model, ids, size)
    for scores in (of_one[CASES.index(case)] for of_one in found_by(size)):
        assert len(scores.nll) == length - 1
        np.testing.assert_allclose(scores.nll, expected.nll, rtol=0, atol=1e-4)
        assert np.array_equal(scores.hit, expected.hit)
        if length > 16 * size:  # a product of fewer rows is computed in another order
            assert np.array_equal(scores.nll, same.nll)


@pytest.mark.parametrize("text", SETTINGS[1:])
def test_each_knob_is_felt(text: str) -> None:
    place = {case: i for i, case in enumerate(CASES)}
    with_it, without = (found_by(2)[1][place["llama", t, 130]].nll for t in (text, ""))
    assert np.abs(with_it - without).max() > 1  # nats


@pytest.mark.parametrize("size", [2, 4])
def test_one_pass_for_each_base(size: int) -> None:
    model, ids = models.tiny(), models.token_ids(60)[0]
    spec = RopeSpec.parse(SCORED_BY_BASE)

    def work(processes: Processes) -> Any:
        with patched(model, spec):
            return score_lengths_over(processes, model, ids, LENGTHS, chunk_size=CHUNK)

    with patched(model, spec):
        expected = score_lengths(model, ids, LENGTHS, chunk_size=CHUNK)
    for found in together(size, work):
        assert list(found) == list(LENGTHS)
        for length, scores in found.items():
            np.testing.assert_allclose(scores.nll, expected[length].nll, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    model, ids = copy.deepcopy(models.tiny()).to(dtype), models.token_ids(80)[0]

    def work(processes: Processes) -> Any:
        with patched(model, RopeSpec.parse(EVERY_KNOB)):
            return score_tokens_over(processes, model, ids, chunk_size=CHUNK)

    with patched(model, RopeSpec.parse(EVERY_KNOB)):
        expected = in_the_same_chunks(model, ids, 2)
    assert all(np.array_equal(found.nll, expected.nll) for found in together(2, work))


# ---- layers that are more than keys and values -------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # transformers' own, of models that it builds
@pytest.mark.parametrize("name", ["gemma3n_text", "gpt_oss", "deepseek_v3"])
def test_layers_that_share_keys_have_sinks_or_cache_what_keys_are_made_of(name: str) -> None:
    model, ids = build(NAMED[name]), models.token_ids(50)[0]

    def work(processes: Processes) -> Any:
        with patched(model, RopeSpec(rope_theta=500.0)):
            return score_tokens_over(processes, model, ids, chunk_size=CHUNK)

    with patched(model, RopeSpec(rope_theta=500.0)):
        expected = score_tokens(model, ids, chunk_size=CHUNK)
    for found in together(2, work):
        np.testing.assert_allclose(found.nll, expected.nll, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_state_that_goes_from_token_to_token_is_refused() -> None:
    model = build(NAMED["qwen3_next"])
    with patched(model, RopeSpec()), pytest.raises(UnsupportedModelError, match="share out doc"):
        score_tokens_over(Processes(rank=0, size=2), model, models.token_ids(9)[0])


def test_a_score_that_is_no_number_ends_all_alike() -> None:
    model, ids = copy.deepcopy(models.tiny("phi")), models.token_ids(60)[0].clamp(max=59)
    ids[12] = 60
    with torch.no_grad():
        model.lm_head.bias[60] = float("-inf")

    def work(processes: Processes) -> str:
        with patched(model, RopeSpec()), pytest.raises(ScoreError) as error:
            score_tokens_over(processes, model, ids, chunk_size=CHUNK)
        return str(error.value)

    with pytest.raises(ScoreError) as expected:
        score_tokens(model, ids, chunk_size=CHUNK)
    assert together(2, work) == [str(expected.value)] * 2


# ---- the work, and what is sent ----------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("T", [8, 9, 13, 64, 999, 4096, 100_000])
@pytest.mark.parametrize("text", ["", "dynamic_ntk=per_query,reference_length=7.3"])
def test_every_token_is_dealt_once_and_every_process_has_some(size: int, T: int, text: str) -> None:
    with patched(models.tiny(), RopeSpec.parse(text)) as model:
        deal = dealt(getattr(model, ATTRIBUTE), T, size, 512)
    shares = [deal.share(rank) for rank in range(size)]
    dealt_out = [part for share in shares for part in share]
    assert all(shares)
    assert sorted(t for part in dealt_out for t in range(T)[part]) == list(range(T))
    assert max(part.stop - part.start for part in dealt_out) <= 512
    for turn in deal.turns:
        assert turn == sorted(turn, key=lambda one: one[1].start)
        assert len({rank for rank, _ in turn}) == len(turn)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize(("text", "even"), [("", 1.0), ("dynamic_ntk=per_query", 1.03)])
def test_the_work_is_even(size: int, text: str, even: float) -> None:
    with patched(models.tiny(), RopeSpec.parse(text)) as model:
        deal = dealt(getattr(model, ATTRIBUTE), 32_768, size, 2048)
    assert sum(deal.work) == 32_768 * 32_769 // 2
    assert max(deal.work) / min(deal.work) <= even
    plain = Deal(
        tuple(slice(i, i + 32_768 // size) for i in range(0, 32_768, 32_768 // size)), size
    )
    assert max(plain.work) / min(plain.work) > 2.9  # one stretch of the text for each


@pytest.mark.parametrize("size", [2, 4])
def test_what_is_sent_is_what_the_formula_says(size: int) -> None:
    """(P − 1) / P · T · 2 · M · H · itemsize to each process for a layer, and its scores."""
    model, T = models.tiny(), 128
    ids = models.token_ids(T + 1)[0]
    config = model.config
    row = 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads) * 4

    def work(processes: Processes) -> tuple[int, int]:
        with patched(model, RopeSpec()):
            score_tokens_over(processes, model, ids, chunk_size=CHUNK)
        return processes.received, processes.exchanges

    scores = T * (size - 1) // size * (4 + 1)  # float32 and bool of each token
    layers = config.num_hidden_layers * T * (size - 1) // size * row
    turns = T // (CHUNK * size)
    exchanges = config.num_hidden_layers * turns + 2
    assert together(size, work) == [(layers + scores, exchanges)] * size
    with patched(model, RopeSpec()):
        deal = dealt(getattr(model, ATTRIBUTE), T, size, CHUNK)
    assert deal.received(row) * config.num_hidden_layers == layers
