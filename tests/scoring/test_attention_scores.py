"""Attention scores by relative position against the whole T × T of a float64 brute force."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import PreTrainedModel

from helpers import brute_force, models
from helpers.families import by_layer
from helpers.families.table import WINDOW
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.attention import ATTRIBUTE, rotary_of
from rope_eval.errors import LengthError, SpecError
from rope_eval.scoring import attention_scores
from rope_eval.scoring.attention_profile import AttentionProfile
from rope_eval.scoring.attention_scores import attention_by_distance

T = 75  # odd, past the 32 tokens of training and past two octaves of the reference length
EDGES = (0, 1, 2, 5, 20, 33, 74)
TOLERANCE = 2e-5  # of a mean score: float32 hidden states, over scores of about 1
CASES = [
    ("llama", ""),
    ("llama_multi_query", "rope_theta=500"),
    ("phi", "rope_theta=500"),
    ("phi3", ""),
    ("qwen3", "linear_factor=2"),
    ("stablelm_parallel", "log_scale=true,reference_length=20"),
    ("llama", "dynamic_ntk=per_query,reference_length=20"),
    ("llama", "dynamic_ntk=per_sequence,reference_length=20"),
    ("llama", "xpos=true,reference_length=5"),
    ("llama", "beyond_critical=clip"),
    ("llama", "beyond_critical=drop"),
    (
        "phi",
        "rope_theta=500,log_scale=true,dynamic_ntk=per_query,xpos=true,reference_length=20",
    ),
]


BY_LAYER = [  # a kind of geometry, a setting, how far its layers see
    ("mistral: window", "log_scale=true,reference_length=20", WINDOW),
    ("gemma2", "rope_theta=500", T),
    ("gpt_oss", "xpos=true,reference_length=5", T),
    ("glm", "beyond_critical=clip", T),
    ("cohere2", "rope_theta=500", WINDOW),  # of whose layers those with windows alone rotate
    ("smollm3", "dynamic_ntk=per_query,reference_length=20", T),
    ("deepseek_v3", "beyond_critical=drop", T),
]


def measured(
    family: str | PreTrainedModel, spec: str, ids: torch.Tensor, **arguments: Any
) -> tuple[AttentionProfile, int]:
    model = models.tiny(family) if isinstance(family, str) else family
    with patched(model, RopeSpec.parse(spec)):
        first = rotary_of(model).critical_dimension // 2
        given: dict[str, Any] = {"first_pair_beyond": first, "bin_edges": EDGES} | arguments
        return attention_by_distance(model, ids, **given), first


def whole_matrices(
    model: PreTrainedModel,
    spec: str,
    ids: torch.Tensor,
    first: int,
    monkeypatch: pytest.MonkeyPatch,
) -> npt.NDArray[np.float64]:
    """Return the scores of all queries but the last token's, [L, N, 2, T − 1, T − 1].

    L are the layers that take the setting.
    """
    rows: list[npt.NDArray[np.float64]] = []

    class Recording(brute_force.Method):
        def scores(
            self,
            q: brute_force.Array,
            k: brute_force.Array,
            t: int,
            length: int,
            softmax_scale: float,
        ) -> brute_force.Array:
            F = self.d // 2
            pair = np.full(self.head_dim, -1)
            pair[self.layer.canonical(np.arange(self.head_dim))[: 2 * F]] = [*range(F), *range(F)]
            parts = [
                super(Recording, self).scores(q * chosen, k, t, length, softmax_scale)
                for chosen in ((pair >= 0) & (pair < first), pair >= first)
            ]
            row = np.full((len(q), 2, len(ids) - 1), np.nan)
            row[:, :, :t] = np.stack(parts, axis=1)
            if self.taken:
                rows.append(row)
            return super().scores(q, k, t, length, softmax_scale)

    monkeypatch.setattr(brute_force, "Method", Recording)
    tokens = ids[:-1].tolist()
    brute_force.log_probabilities(model, RopeSpec.parse(spec), tokens, length=len(ids))
    layers = np.stack(rows).reshape(-1, len(tokens), *rows[0].shape)
    return layers.transpose(0, 2, 3, 1, 4)


@pytest.mark.parametrize(("family", "spec"), CASES)
def test_against_the_whole_matrix(family: str, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_whole_matrix(models.tiny(family), spec, T, monkeypatch)


@pytest.mark.parametrize(("kind", "spec", "reach"), BY_LAYER)
def test_of_the_layers_that_take_the_setting(
    kind: str, spec: str, reach: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_whole_matrix(by_layer.model_of(kind), spec, reach, monkeypatch)


def assert_whole_matrix(
    model: PreTrainedModel, spec: str, reach: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = models.token_ids(T)[0]
    profile, first = measured(model, spec, ids, block_size=16, chunk_size=23)
    scores = whole_matrices(model, spec, ids, first, monkeypatch)
    distance = np.arange(T - 1)[:, None] - np.arange(T - 1)
    for i, (low, high) in enumerate(pairwise(EDGES)):
        here = scores[..., (distance >= low) & (distance < min(high, reach))]
        assert profile.counts[i] == here.shape[-1]
        if not here.size:
            continue
        per_head = profile.sums[..., i] / profile.counts[i]
        assert per_head == pytest.approx(here.mean(-1), abs=TOLERANCE)
        assert profile.mean()[:, i] == pytest.approx(here.mean((0, 1, 3)), abs=TOLERANCE)
        assert profile.std()[:, i] == pytest.approx(here.std((0, 1, 3)), abs=TOLERANCE)
    seen = np.minimum(np.arange(1, T), reach)
    assert profile.counts.sum() == seen.sum()  # every query with every key it sees
    assert profile.std()[:, 0].min() > 0.1 or "drop" in spec


def test_the_parts_are_felt_apart() -> None:
    """Only the part beyond has turned off under drop, and clip changes it past training alone."""
    ids = models.token_ids(T)[0]
    one_bin = {"bin_edges": (0, T)}
    dropped, _ = measured("llama", "beyond_critical=drop", ids, **one_bin)
    assert dropped.squares[:, :, 1] == pytest.approx(0.0, abs=0.0)
    assert dropped.squares[:, :, 0].min() > 1
    plain, _ = measured("llama", "", ids)
    clipped, _ = measured("llama", "beyond_critical=clip", ids)
    first_layer = (0, slice(None))
    assert clipped.sums[first_layer][:, 0] == pytest.approx(plain.sums[first_layer][:, 0])
    assert np.abs(clipped.sums - plain.sums)[first_layer][:, 1, -1].max() > 0.1


@pytest.mark.parametrize("block_size", [1, 7, 74, 1000])
def test_the_block_size_changes_nothing(block_size: int) -> None:
    ids = models.token_ids(T)[0]
    whole, _ = measured("llama", "dynamic_ntk=per_query,reference_length=20", ids)
    blocks, _ = measured(
        "llama", "dynamic_ntk=per_query,reference_length=20", ids, block_size=block_size
    )
    assert blocks.sums == pytest.approx(whole.sums, rel=1e-6, abs=1e-4)
    assert blocks.squares == pytest.approx(whole.squares, rel=1e-6, abs=1e-4)
    assert np.array_equal(blocks.counts, whole.counts)


def test_no_matrix_of_all_scores_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    original = attention_scores._sums_by_distance

    def seen(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shapes.append(tuple(scores.shape))
        return original(scores)

    monkeypatch.setattr(attention_scores, "_sums_by_distance", seen)
    measured("llama", "", models.token_ids(T)[0], block_size=8)
    assert {(group, rows) for group, rows, _ in shapes} == {(2, 8), (2, (T - 1) % 8)}
    assert max(columns for *_, columns in shapes) == T - 1


def test_bins_need_not_cover_all_positions() -> None:
    ids = models.token_ids(T)[0]
    part, _ = measured("llama", "", ids, bin_edges=(5, 20))
    whole, _ = measured("llama", "", ids)
    assert part.sums[..., 0] == pytest.approx(whole.sums[..., 3])
    assert part.counts.tolist() == [whole.counts[3]]
    beyond, _ = measured("llama", "", ids, bin_edges=(0, 100, 200))
    assert beyond.counts.tolist() == [T * (T - 1) // 2, 0]
    assert np.isnan(beyond.mean()[:, 1]).all()


def test_the_shortest_document() -> None:
    ids = models.token_ids(2)[0]
    profile, _ = measured("llama", "", ids, bin_edges=(0, 1))
    assert profile.counts.tolist() == [1]
    assert profile.squares == pytest.approx(profile.sums**2)
    with pytest.raises(LengthError, match="at least 2 tokens"):
        measured("llama", "", ids[:1])


def test_documents_pool_and_layers_part() -> None:
    a, b = (measured("llama", "", models.token_ids(n)[0])[0] for n in (T, 40))
    both = a + b
    assert both.counts.tolist() == (a.counts + b.counts).tolist()
    weights = np.array([a.counts, b.counts])
    pooled = np.average([a.mean(), np.nan_to_num(b.mean())], axis=0, weights=_wide(weights))
    assert both.mean() == pytest.approx(pooled)
    layers = [both.layer(i) for i in range(len(both.sums))]
    assert np.mean([layer.mean() for layer in layers], axis=0) == pytest.approx(both.mean())
    assert np.abs(layers[0].mean() - layers[1].mean()).max() > 0.01
    with pytest.raises(SpecError, match="other bins"):
        _ = a + measured("llama", "", models.token_ids(T)[0], bin_edges=(0, 3))[0]


def _wide(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.repeat(counts[:, None], 2, axis=1)


def test_a_stock_model_and_its_restoration() -> None:
    model, ids = models.tiny("llama"), models.token_ids(T)[0]
    before = score_tokens(model, ids).nll
    first = 4
    stock = attention_by_distance(model, ids, first_pair_beyond=first, bin_edges=EDGES)
    neutral, _ = measured("llama", "", ids, first_pair_beyond=first)
    assert np.array_equal(stock.sums, neutral.sums)
    assert not hasattr(model, ATTRIBUTE)
    assert np.array_equal(score_tokens(model, ids).nll, before)
    with patched(model, RopeSpec()):
        attentions = getattr(model, ATTRIBUTE).layers
        with pytest.raises(LengthError):
            attention_by_distance(model, ids[:1], first_pair_beyond=first, bin_edges=EDGES)
        for layer, attention in zip(model.model.layers, attentions, strict=True):
            assert getattr(layer.self_attn, ATTRIBUTE) is attention


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_pair_beyond": -1}, "0 to the model's 8 pairs, got -1"),
        ({"first_pair_beyond": 9}, "got 9"),
        ({"bin_edges": (0,)}, "increasing"),
        ({"bin_edges": (0, 4, 4)}, r"got \[0, 4, 4\]"),
        ({"bin_edges": (-1, 4)}, "0 or more"),
        ({"block_size": 0}, "block_size must be 1 or more, got 0"),
    ],
)
def test_what_makes_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        measured("llama", "", models.token_ids(T)[0], **changes)
