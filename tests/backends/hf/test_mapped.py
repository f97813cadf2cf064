"""Position maps in attention: combined, in pieces, padded, generated and scored, they are exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from helpers import brute_force, models
from helpers.rows import PIECES, assert_greedy, in_pieces, padded, rows_of
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.attention import sequence_lengths
from rope_eval.backends.hf.kernels import Scores, causal_attention
from rope_eval.backends.hf.merged import merged_attention
from rope_eval.backends.hf.proof import prove
from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope import position_maps as maps
from rope_eval.rope.methods import METHODS
from rope_eval.scoring.attention_scores import attention_by_distance

NATS = 1e-4
MAPS = [text for method in METHODS if method.maps_positions for text in method.examples]
TOGETHER = [
    "rerope_window=12,log_scale=true,reference_length=20,rope_theta=500",
    "leaky_rerope_window=9,leaky_rerope_factor=3,dynamic_ntk=per_query,reference_length=11",
    "self_extend_window=12,self_extend_group=4,dynamic_ntk=per_query,reference_length=7.3,"
    "log_scale=true",
    "dual_chunk_size=10,dual_chunk_limit=14,yarn_factor=4,log_scale=true,reference_length=16",
    "dual_chunk_size=7,dynamic_ntk=per_query,reference_length=12.5,beyond_critical=drop",
    "string_shift=10,string_window=3,rotated_share=0.5,ntk_alpha=2",
    "string_shift=10,string_window=3,attention_factor=1",
]
SEQUENCE = [
    "rerope_window=12,dynamic_ntk=per_sequence,reference_length=16,log_scale=true",
    "dual_chunk_size=8,dynamic_ntk=per_sequence,ntk_formula=continuous",
]


def expected(text: str, tokens: Tensor, length: int | None = None) -> Tensor:
    spec = RopeSpec.parse(text)
    found = brute_force.log_probabilities(models.tiny(), spec, tokens.tolist(), length)
    return torch.from_numpy(found)


@pytest.mark.parametrize("text", TOGETHER + SEQUENCE)
def test_combined_it_is_the_brute_force(text: str) -> None:
    ids = models.token_ids(97)
    with patched(models.tiny(), RopeSpec.parse(text)) as model:
        found = models.log_probabilities(model, ids)[0]
    assert_close(found, expected(text, ids[0]), rtol=0, atol=NATS)


@pytest.mark.parametrize(
    "text",
    [
        "rerope_window=300",
        "leaky_rerope_window=70,leaky_rerope_factor=2,dynamic_ntk=per_query,reference_length=90",
        "self_extend_window=256,self_extend_group=8",
        "string_shift=257,string_window=40",
        "dual_chunk_size=260",
    ],
)
def test_blocks_of_full_size_are_the_brute_force(text: str) -> None:
    ids = models.token_ids(700)
    with patched(models.tiny(), RopeSpec.parse(text)) as model:
        found = models.log_probabilities(model, ids)[0]
    assert_close(found, expected(text, ids[0]), rtol=0, atol=NATS)


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("text", MAPS + TOGETHER)
@torch.no_grad()
def test_pieces_through_a_cache_equal_one_pass(text: str, pieces: str) -> None:
    ids = models.token_ids(75, rows=2)
    with patched(models.tiny(), RopeSpec.parse(text)) as model:
        whole = models.log_probabilities(model, ids)
        found = in_pieces(model, ids, PIECES[pieces])
    assert_close(found, whole, rtol=0, atol=NATS)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("text", MAPS + TOGETHER + SEQUENCE)
@torch.no_grad()
def test_padded_rows_equal_rows_alone(text: str, side: str) -> None:
    rows = rows_of([75, 41, 33, 1, 16])
    ids, mask = padded(rows, side)
    with patched(models.tiny(), RopeSpec.parse(text)) as model:
        found = models.log_probabilities(model, ids, attention_mask=mask)
        assert found.isfinite().all()
        for i, row in enumerate(rows):
            alone = models.log_probabilities(model, row[None])[0]
            assert_close(found[i, mask[i].bool()], alone, rtol=0, atol=NATS)
        if side == "left" and text not in SEQUENCE:
            pieced = in_pieces(model, ids, PIECES["mixed"], mask)
            for i in range(len(rows)):
                chosen = mask[i].bool()
                assert_close(pieced[i, chosen], found[i, chosen], rtol=0, atol=NATS)


@pytest.mark.parametrize("text", SEQUENCE)
@torch.no_grad()
def test_rows_whose_lengths_are_known_and_differ(text: str) -> None:
    ids, lengths = models.token_ids(40, rows=3), [40, 65, 200]
    spec = RopeSpec.parse(text)
    with patched(models.tiny(), spec) as model, sequence_lengths(model, torch.tensor(lengths)):
        found = models.log_probabilities(model, ids)
        pieced = in_pieces(model, ids, [10, 1, 20, 9])
    assert_close(pieced, found, rtol=0, atol=NATS)
    for row, length in enumerate(lengths):
        assert_close(found[row], expected(text, ids[row], length), rtol=0, atol=NATS)


@pytest.mark.parametrize("text", MAPS + TOGETHER)
@torch.no_grad()
def test_generation_alone_and_in_a_padded_batch(text: str) -> None:
    rows = rows_of([29, 12, 1, 31])
    ids, mask = padded(rows, "left")
    with patched(models.tiny(), RopeSpec.parse(text)) as model:
        out = model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
        for i, row in enumerate(rows):
            assert_greedy(model, out[i, 31 - len(row) :], len(row))


@pytest.mark.parametrize("text", MAPS + TOGETHER + SEQUENCE)
def test_the_scorer_in_chunks_is_one_pass(text: str) -> None:
    row = models.token_ids(97)[0]
    nll = -expected(text, row)[:-1].gather(-1, row[1:, None])[:, 0]
    with patched(models.tiny(), RopeSpec.parse(text)) as model:
        for chunk in (7, 32, 4096):
            found = torch.from_numpy(score_tokens(model, row, chunk_size=chunk).nll).double()
            assert_close(found, nll, rtol=0, atol=NATS)


@pytest.mark.parametrize("text", [MAPS[0], TOGETHER[2]])
@torch.no_grad()
def test_a_layer_with_a_window_stays_as_it_is(text: str) -> None:
    """Of the two layers of a Qwen2, the map is on the first alone: its windows do not matter."""
    ids = models.token_ids(60)
    with patched(models.mixed(), RopeSpec.parse(text)) as model:
        found = models.log_probabilities(model, ids)
        neutral_layer = model.model.layers[1].self_attn._rope_eval.rotary
        assert neutral_layer.position_map is None
        assert_close(in_pieces(model, ids, [20, 1, 39]), found, rtol=0, atol=NATS)
    with pytest.raises(SpecError, match="needs layers that see all before"):
        patched(models.mixed(), RopeSpec.parse(f"{text},layers=all")).__enter__()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("changed", [{}, {"softcap": 5.0}, {"sinks": torch.ones(4)}])
def test_merged_is_a_softmax_of_the_whole(dtype: torch.dtype, changed: dict[str, object]) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, heads, 50, width, generator=generator, dtype=torch.float64).to(dtype)
        for heads, width in ((4, 16), (2, 16), (2, 12))
    )
    position_map = maps.Windowed(7, lambda t: t, lambda s: s, exact=0)
    qs, ks = (q, q * 0.5), (k, k * -1.5)
    scores = Scores(scale=0.3, **changed)  # type: ignore[arg-type]
    found = merged_attention(qs, ks, v, scores, list(position_map.blocks(0, 50)), 0)
    t = torch.arange(50)
    near = t[:, None] - t < 7
    products = [
        a.double() @ b.double().repeat_interleave(2, 1).transpose(2, 3) * 0.3
        for a, b in zip(qs, ks, strict=True)
    ]
    whole = torch.where(near, *products)
    if scores.softcap:
        whole = 5.0 * (whole / 5.0).tanh()
    whole = whole.masked_fill(t[:, None] < t, -torch.inf)
    sinks = torch.full((2, 4, 50, 1), 1.0 if scores.sinks is not None else -torch.inf)
    weights = torch.cat((whole, sinks.double()), -1).softmax(-1)[..., :-1]
    wanted = weights @ v.double().repeat_interleave(2, 1)
    bound = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 0.03}[dtype]
    assert found.dtype == dtype
    assert_close(found.double(), wanted, rtol=0, atol=bound)


def test_gradients_through_a_merge_are_refused() -> None:
    with patched(models.tiny(), RopeSpec.parse(MAPS[0])) as model:
        with pytest.raises(UnsupportedModelError, match="gradients through a position map"):
            model(models.token_ids(40))
        model(models.token_ids(16)).logits.sum().backward()  # within the window nothing is merged
    model.zero_grad(set_to_none=True)


def test_gradients_past_a_cache_are_right() -> None:
    """The past and the diagonal are merged where no gradient is wanted, and only there."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 8, generator=generator).double() for n in (5, 12, 12))
    found, wanted = [], []
    for some, query in ((found, q.clone()), (wanted, q.clone())):
        key = k.clone().requires_grad_()
        query.requires_grad_()
        if some is found:
            out = causal_attention(query, key, v, Scores(scale=0.5))
        else:
            seen = torch.ones(5, 12).tril(7) > 0
            out = (query @ key.mT * 0.5).masked_fill(~seen, -torch.inf).softmax(-1) @ v
        out.square().sum().backward()
        some += [query.grad, key.grad]
    assert_close(found, wanted)


@torch.no_grad()
def test_what_is_refused() -> None:
    with patched(models.tiny(), RopeSpec.parse(MAPS[0])) as model:
        for positions in (torch.arange(5, 45), torch.arange(40) % 20):
            with pytest.raises(UnsupportedModelError, match="count from 0"):
                model(models.token_ids(40), position_ids=positions[None])
        with pytest.raises(SpecError, match="a position map has another distance"):
            attention_by_distance(
                model, models.token_ids(40)[0], first_pair_beyond=4, bin_edges=[0, 10, 20]
            )


@pytest.mark.parametrize(
    "text",
    [
        "rerope_window=512",
        "leaky_rerope_window=512,leaky_rerope_factor=16",
        "self_extend_window=1024,self_extend_group=8",
        "dual_chunk_size=2560",
        "dual_chunk_size=2560,dual_chunk_limit=3000",
        "string_shift=1352",
        "string_shift=1352,string_window=128",
    ],
)
def test_a_map_of_thousands_of_tokens_is_proven_in_twelve(text: str) -> None:
    proof = prove(models.tiny(), RopeSpec.parse(text))
    assert all(move > 1e-3 for move in proof.moves.values())
    assert set(proof.moves) == set(RopeSpec.parse(text).to_dict())
