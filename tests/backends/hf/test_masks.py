"""The pattern of a call is that of its layers, in every row and at every query, or is refused."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.masking_utils import (
    and_masks,
    causal_mask_function,
    padding_mask_function,
    sliding_window_causal_mask_function,
)

from helpers.families.build import NAMED, build, config_of, log_probabilities, token_ids
from helpers.families.compare import padded_forward
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf import masks
from rope_eval.backends.hf.layers import FULL, Pattern
from rope_eval.backends.hf.proof import prove
from rope_eval.errors import UnsupportedModelError

NATS = 1e-4
CHUNKS, WINDOWS = "llama4_text", "mistral: window"

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own, of models that it builds


def with_images() -> PreTrainedModel:
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = CONFIG_MAPPING["gemma3"](
        text_config=config_of(NAMED["gemma3_text"]).to_dict(),
        vision_config=vision | {"num_attention_heads": 2, "image_size": 28, "patch_size": 14},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, x in model.named_parameters():
            if x.ndim == 2 and "language_model" in name:
                torch.nn.init.normal_(x, std=1.5 / x.shape[1] ** 0.5)
    return model.eval().float()


@pytest.mark.parametrize("name", [CHUNKS, WINDOWS])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_first_row_may_be_a_padded_one(name: str, side: str) -> None:
    model = build(NAMED[name])
    rows = [token_ids(n, seed=i)[0] for i, n in enumerate((23, 80, 41))]
    expected = padded_forward(model, rows, side)
    with patched(model, RopeSpec()):
        found = padded_forward(model, rows, side)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=0, atol=NATS)


def test_chunks_are_counted_from_a_texts_beginning() -> None:
    """transformers counts them in slots: positions that begin in one would be another pattern."""
    model, ids = build(NAMED[CHUNKS]), token_ids(40)
    chunk = model.config.attention_chunk_size
    with patched(model, RopeSpec()):
        with pytest.raises(UnsupportedModelError, match="must count from 0"):
            log_probabilities(model, ids, position_ids=torch.arange(7, 47)[None])
        border = torch.arange(chunk, chunk + 40)[None]
        found = log_probabilities(model, ids, position_ids=border)
    expected = log_probabilities(model, ids, position_ids=border)
    assert_close(found, expected, rtol=0, atol=NATS)


class TestImages:
    def kinds(self, *, image: bool) -> Tensor:
        kinds = torch.zeros(1, 40, dtype=torch.int64)
        if image:
            kinds[0, 5:12] = 1
        return kinds

    def test_a_text_is_scored_as_stock_does(self) -> None:
        model, ids = with_images(), token_ids(40)
        expected = log_probabilities(model, ids)
        assert prove(model, RopeSpec(rope_theta=500.0)).moves["rope_theta"] > 1e-3
        with patched(model, RopeSpec()):
            given: Any = {"token_type_ids": self.kinds(image=False)}
            assert_close(log_probabilities(model, ids, **given), expected, rtol=0, atol=NATS)
            nll = torch.from_numpy(score_tokens(model, ids[0], chunk_size=16).nll)
        wanted = -expected[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
        assert_close(nll.double(), wanted, rtol=0, atol=NATS)
        assert torch.equal(log_probabilities(model, ids), expected)  # none of ours is left in it

    def test_an_image_that_sees_itself_whole_is_refused(self) -> None:
        model, ids = with_images(), token_ids(40)
        with (
            patched(model, RopeSpec()),
            pytest.raises(UnsupportedModelError, match="attention to both sides"),
        ):
            log_probabilities(model, ids, token_type_ids=self.kinds(image=True))


def test_a_mask_function_is_asked_at_length_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of the same code and numbers sees the same keys; a tensor may change."""
    asked: list[Any] = []
    pattern_of = masks.pattern_of

    def counted(function: Any) -> Pattern | None:
        asked.append(function)
        return pattern_of(function)

    monkeypatch.setattr(masks, "pattern_of", counted)
    monkeypatch.setattr(masks, "_KNOWN", {})
    for window in (7, 7, 8, 7):
        function = sliding_window_causal_mask_function(window)
        assert masks._is_written(function, Pattern(window=window))
        assert not masks._is_written(function, Pattern(window=9))
        assert not masks._is_written(function, FULL)
        assert not masks._is_written(function, Pattern(chunk=7))
    assert len(asked) == 2
    padding = padding_mask_function(torch.ones(1, 40, dtype=torch.bool))
    for other in (
        and_masks(causal_mask_function, padding),
        functools.partial(causal_mask_function),
        lambda batch, head, q, k, size=7: (k <= q) & (k > q - size),
    ):
        assert masks._written(other) is None
        assert not masks._is_written(other, FULL)
