"""Caches, pieces, padding and batches: however a row is computed, its scores are the same."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import PreTrainedModel

from helpers import brute_force, models
from helpers.rows import PIECES, assert_greedy, in_pieces, padded, rows_of
from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.attention import sequence_lengths

NATS = 1e-4
STATIC = [  # the same at whatever length it is asked
    "",
    "rope_theta=500,linear_factor=2",
    "yarn_factor=4,log_scale=true",
    "xpos=true,reference_length=3,log_scale=true",
    "drope=true,scalable_softmax=0.5",
    "cope=6,resonance=true,attention_factor=1.4,attn_temperature=llama4,floor_scale=8,attn_scale=1",
    "beyond_critical=clip,train_length=20",
    "beyond_critical=drop",
    "dynamic_ntk=per_query,reference_length=16",
    "dynamic_ntk=per_query,reference_length=7.3,xpos=true",
    "dynamic_ntk=per_query,reference_length=12.5,log_scale=true,beyond_critical=clip",
    "dynamic_ntk=per_query,reference_length=5,xpos=true,log_scale=true,linear_factor=2,ntk_alpha=2",
    "dynamic_ntk=per_query,rope_theta=40000,beyond_critical=drop",
]
SEQUENCE = [
    "dynamic_ntk=per_sequence,reference_length=16",
    "dynamic_ntk=per_sequence,reference_length=16,xpos=true,log_scale=true",
    "dynamic_ntk=per_sequence,ntk_formula=continuous",
    "dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=2,reference_length=12,xpos=true",
    "dynamic_yarn=octave,train_length=16,mscale=3",
    "longrope_factors=1:1:1:1:1:1:1:1/1:1.5:2:3:4:6:8:9,train_length=16,longrope_ratio=4",
]
LENGTHS = [75, 41, 33, 1, 16]


@contextlib.contextmanager
def under(model: PreTrainedModel, text: str, lengths: list[int] | None = None) -> Iterator[None]:
    """Patch; and for the methods that ask for it, tell the lengths of the whole sequences."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(patched(model, RopeSpec.parse(text)))
        if lengths is not None and text in SEQUENCE:
            stack.enter_context(sequence_lengths(model, torch.tensor(lengths)))
        yield


# ---- pieces through a cache --------------------------------------------------------------------


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("text", STATIC)
def test_pieces_through_a_cache_equal_one_pass(text: str, pieces: str) -> None:
    model, input_ids = models.tiny(), models.token_ids(75, rows=2)
    with under(model, text):
        whole = models.log_probabilities(model, input_ids)
        found = in_pieces(model, input_ids, PIECES[pieces])
    assert_close(found, whole, rtol=0, atol=NATS)


@pytest.mark.parametrize("family", [f for f in models.FAMILIES if f != "llama"])
def test_pieces_in_every_family(family: str) -> None:
    model, input_ids = models.tiny(family), models.token_ids(75)
    with under(model, STATIC[-2]):
        whole = models.log_probabilities(model, input_ids)
        found = in_pieces(model, input_ids, PIECES["mixed"])
    assert_close(found, whole, rtol=0, atol=NATS)


@pytest.mark.parametrize("text", SEQUENCE)
@pytest.mark.parametrize("pieces", ["mixed", "past_the_border"])
def test_pieces_of_a_sequence_whose_length_is_known(text: str, pieces: str) -> None:
    model, input_ids, length = models.tiny(), models.token_ids(75), 130
    expected = brute_force.log_probabilities(
        model, RopeSpec.parse(text), input_ids[0].tolist(), length
    )
    with under(model, text), sequence_lengths(model, torch.tensor([length])):
        whole = models.log_probabilities(model, input_ids)
        found = in_pieces(model, input_ids, PIECES[pieces])
    assert_close(whole[0], torch.from_numpy(expected), rtol=0, atol=NATS)
    assert_close(found, whole, rtol=0, atol=NATS)


@pytest.mark.parametrize("text", SEQUENCE)
def test_rows_whose_lengths_are_known_and_differ(text: str) -> None:
    model, input_ids = models.tiny(), models.token_ids(40, rows=3)
    lengths = torch.tensor([40, 65, 200])
    with under(model, text), sequence_lengths(model, lengths):
        whole = models.log_probabilities(model, input_ids)
        found = in_pieces(model, input_ids, [10, 1, 20, 9])
    assert_close(found, whole, rtol=0, atol=NATS)
    for row, length in enumerate(lengths.tolist()):
        expected = brute_force.log_probabilities(
            model, RopeSpec.parse(text), input_ids[row].tolist(), length
        )
        assert_close(whole[row], torch.from_numpy(expected), rtol=0, atol=NATS)


def test_known_lengths_are_forgotten_after_an_exception() -> None:
    model, input_ids = models.tiny(), models.token_ids(40)
    with under(model, SEQUENCE[0]):
        before = models.log_probabilities(model, input_ids)
        with pytest.raises(KeyError), sequence_lengths(model, torch.tensor([200])):
            known = models.log_probabilities(model, input_ids)
            raise KeyError
        assert (known - before).abs().max() > 0.3
        assert torch.equal(models.log_probabilities(model, input_ids), before)


@pytest.mark.parametrize("text", SEQUENCE)
def test_a_step_of_unknown_length_takes_what_has_been_seen(text: str) -> None:
    """Of one layer: deeper ones keep keys of hidden states that an earlier α made."""
    model = models.build(models.config_of("llama", num_hidden_layers=1))
    input_ids = models.token_ids(40)
    with under(model, text):
        found = in_pieces(model, input_ids, [14, 1, 1, 1, 15, 1, 1, 6])
        for seen in (14, 15, 16, 17, 32, 33, 34, 40):
            whole = models.log_probabilities(model, input_ids[:, :seen])
            assert_close(found[:, seen - 1], whole[:, -1], rtol=0, atol=NATS)


# ---- padding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("text", STATIC + SEQUENCE)
def test_padded_rows_equal_rows_alone(text: str, side: str) -> None:
    model, rows = models.tiny(), rows_of(LENGTHS)
    input_ids, mask = padded(rows, side)
    with under(model, text):
        found = models.log_probabilities(model, input_ids, attention_mask=mask)
        position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
        given = models.log_probabilities(
            model, input_ids, attention_mask=mask, position_ids=position_ids
        )
        assert torch.equal(found, given)
        assert found.isfinite().all()
        for i, row in enumerate(rows):
            alone = models.log_probabilities(model, row[None])
            assert_close(found[i, mask[i].bool()], alone[0], rtol=0, atol=NATS)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", [f for f in models.FAMILIES if f != "llama"])
def test_padding_in_every_family(family: str, side: str) -> None:
    model, rows = models.tiny(family), rows_of([50, 20, 33])
    input_ids, mask = padded(rows, side)
    for text in ("", STATIC[-2]):
        with under(model, text):
            found = models.log_probabilities(model, input_ids, attention_mask=mask)
            for i, row in enumerate(rows):
                alone = models.log_probabilities(model, row[None])
                assert_close(found[i, mask[i].bool()], alone[0], rtol=0, atol=NATS)


@pytest.mark.parametrize("text", STATIC)
def test_padded_rows_in_pieces(text: str) -> None:
    model, rows = models.tiny(), rows_of(LENGTHS)
    input_ids, mask = padded(rows, "left")
    with under(model, text):
        found = in_pieces(model, input_ids, PIECES["mixed"], mask)
        for i, row in enumerate(rows):
            alone = models.log_probabilities(model, row[None])
            assert_close(found[i, mask[i].bool()], alone[0], rtol=0, atol=NATS)


@pytest.mark.parametrize("text", [STATIC[-2], *SEQUENCE])
def test_padded_rows_whose_lengths_are_known(text: str) -> None:
    model, rows = models.tiny(), rows_of([40, 20, 33])
    input_ids, mask = padded(rows, "left")
    with under(model, text):
        with sequence_lengths(model, torch.tensor([90, 30, 64])):
            found = models.log_probabilities(model, input_ids, attention_mask=mask)
            pieces = in_pieces(model, input_ids, [25, 1, 1, 13], mask)
        for i, (row, length) in enumerate(zip(rows, (90, 30, 64), strict=True)):
            with sequence_lengths(model, torch.tensor([length])):
                alone = models.log_probabilities(model, row[None])
            assert_close(found[i, mask[i].bool()], alone[0], rtol=0, atol=NATS)
            assert_close(pieces[i, mask[i].bool()], alone[0], rtol=0, atol=NATS)


def test_what_stands_in_the_padding_is_never_seen() -> None:
    model, rows = models.tiny(), rows_of([50, 20])
    input_ids, mask = padded(rows, "left")
    other = torch.where(mask.bool(), input_ids, 7)
    with under(model, STATIC[-2]):
        found = models.log_probabilities(model, input_ids, attention_mask=mask)[mask.bool()]
        again = models.log_probabilities(model, other, attention_mask=mask)[mask.bool()]
    assert torch.equal(found, again)


@pytest.mark.parametrize("text", ["", STATIC[-2], SEQUENCE[1]])
def test_a_row_of_padding_alone_harms_nobody(text: str) -> None:
    model, row = models.tiny(), models.token_ids(40)
    mask = torch.tensor([[1], [0]]).expand(2, 40)
    with under(model, text):
        found = models.log_probabilities(model, row.expand(2, -1), attention_mask=mask)
        alone = models.log_probabilities(model, row)
    assert found.isfinite().all()
    assert_close(found[0], alone[0], rtol=0, atol=NATS)


@pytest.mark.parametrize("text", [STATIC[-2], SEQUENCE[1]])
def test_the_company_and_the_order_of_rows_change_nothing(text: str) -> None:
    model, rows = models.tiny(), rows_of([60, 20, 35, 44])
    with under(model, text):
        for order in ([0, 1, 2, 3], [3, 1, 0, 2], [1, 3], [1, 1]):
            input_ids, mask = padded([rows[i] for i in order], "left")
            found = models.log_probabilities(model, input_ids, attention_mask=mask)
            place = order.index(1)
            alone = models.log_probabilities(model, rows[1][None])
            assert_close(found[place, mask[place].bool()], alone[0], rtol=0, atol=NATS)


def test_rows_that_begin_at_different_positions() -> None:
    model, input_ids = models.tiny(), models.token_ids(20, rows=2)
    position_ids = torch.stack([torch.arange(5, 25), torch.arange(30, 50)])
    with under(model, STATIC[-3]):
        found = models.log_probabilities(model, input_ids, position_ids=position_ids)
        for i in range(2):
            alone = models.log_probabilities(
                model, input_ids[i : i + 1], position_ids=position_ids[i : i + 1]
            )
            assert_close(found[i], alone[0], rtol=0, atol=NATS)
    assert (found[0] - found[1]).abs().max() > 0.3


# ---- generate ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", STATIC + SEQUENCE)
def test_greedy_generation_over_borders(text: str) -> None:
    model, input_ids = models.tiny(), models.token_ids(29)
    with under(model, text, lengths=[38]):
        out = model.generate(input_ids, max_new_tokens=9, do_sample=False)
        assert out.shape == (1, 38)
        assert_greedy(model, out[0], 29)


@pytest.mark.parametrize("text", [*STATIC[-4:], *SEQUENCE])
def test_greedy_generation_of_a_left_padded_batch(text: str) -> None:
    model, rows = models.tiny(), rows_of([29, 12, 1, 31])
    input_ids, mask = padded(rows, "left")
    lengths = [len(row) + 6 for row in rows]
    with under(model, text, lengths):
        out = model.generate(input_ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
    assert out.shape == (4, 37)
    for i, row in enumerate(rows):
        with under(model, text, lengths[i : i + 1]):
            assert_greedy(model, out[i, 31 - len(row) :], len(row))


@pytest.mark.parametrize("family", [f for f in models.FAMILIES if f != "llama"])
def test_generation_in_every_family(family: str) -> None:
    model, rows = models.tiny(family), rows_of([31, 15])
    input_ids, mask = padded(rows, "left")
    with under(model, STATIC[-2]):
        out = model.generate(input_ids, attention_mask=mask, max_new_tokens=4, do_sample=False)
        for i, row in enumerate(rows):
            assert_greedy(model, out[i, 31 - len(row) :], len(row))


@pytest.mark.parametrize("text", ["", STATIC[-2], STATIC[-4], SEQUENCE[1]])
@pytest.mark.parametrize("batch", ["alone", "padded"])
def test_beam_search_is_the_same_with_and_without_a_cache(text: str, batch: str) -> None:
    model = models.tiny()
    input_ids, mask = padded(rows_of([29] if batch == "alone" else [29, 13]), "left")
    options: dict[str, Any] = {
        "attention_mask": mask,
        "max_new_tokens": 8,
        "num_beams": 3,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_scores": True,
    }
    with under(model, text, lengths=[37]):
        cached = model.generate(input_ids, use_cache=True, **options)
        uncached = model.generate(input_ids, use_cache=False, **options)
    assert torch.equal(cached.sequences, uncached.sequences)
    assert_close(cached.sequences_scores, uncached.sequences_scores, rtol=0, atol=10 * NATS)


# ---- found by suspicion ------------------------------------------------------------------------


def test_known_lengths_follow_their_beams() -> None:
    model, rows = models.tiny(), rows_of([29, 13])
    input_ids, mask = padded(rows, "left")
    options: dict[str, Any] = {"max_new_tokens": 6, "num_beams": 3, "do_sample": False}
    with under(model, SEQUENCE[0], [90, 30]):
        out = model.generate(input_ids, attention_mask=mask, **options)
    for i, length in enumerate((90, 30)):
        with under(model, SEQUENCE[0], [length]):
            alone = model.generate(rows[i][None], **options)
        assert torch.equal(out[i, 29 - len(rows[i]) :], alone[0])
