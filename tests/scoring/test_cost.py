"""The cost of scoring, from a config alone, against what is counted and measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from helpers.families.build import NAMED, config_of
from rope_eval.errors import SpecError
from rope_eval.scoring.cost import Cost


def shape(hidden: int, heads: int, wide: int, vocabulary: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": wide,
        "vocab_size": vocabulary,
    }


WIDE = shape(64, 4, 2048, 300)
LONG = shape(64, 8, 64, 300)
DEEP = shape(512, 8, 512, 300)


def config(sizes: dict[str, int], layers: int = 2, **more: Any) -> LlamaConfig:
    return LlamaConfig(num_hidden_layers=layers, max_position_embeddings=512, **sizes, **more)


@pytest.mark.parametrize("tied", [False, True])
def test_operations_are_those_that_torch_counts(tied: bool) -> None:
    made = config(DEEP, tie_word_embeddings=tied, attn_implementation="eager")
    model = LlamaForCausalLM(made).eval()
    ids = torch.randint(0, 300, (1, 256))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(ids)
    products = 4 * 2 * 8 * 64 * 256 * 255 / 2  # of what is masked, which the scorer leaves out
    assert Cost.of(made).flops(256) + products == pytest.approx(counter.get_total_flops())


def test_where_layers_differ_the_widest_counts() -> None:
    made = config_of(NAMED["gemma4_text"])
    weights = AutoModelForCausalLM.from_config(made).named_parameters()
    queries = {len(w) for name, w in weights if name.endswith("q_proj.weight")}
    assert len(queries) == 2
    assert Cost.of(made).heads * Cost.of(made).head_dim == max(queries)


def test_of_experts_those_count_that_a_token_is_sent_to() -> None:
    sizes = LONG | {"num_hidden_layers": 2, "num_local_experts": 4}
    models = [
        MixtralConfig(num_experts_per_tok=n, num_key_value_heads=2, **sizes) for n in (1, 2, 4)
    ]
    costs = [Cost.of(one) for one in models]
    expert = 3 * 64 * 64  # gate, up and down
    assert costs[1].multiplied - costs[0].multiplied == 2 * expert
    assert costs[2].multiplied - costs[1].multiplied == 2 * 2 * expert
    whole = sum(weight.numel() for weight in MixtralForCausalLM(models[0]).parameters())
    assert {cost.parameters for cost in costs} == {whole}


def test_keys_and_values_are_what_a_cache_holds() -> None:
    made = config(LONG, layers=3, num_key_value_heads=2)
    model = LlamaForCausalLM(made).to(torch.bfloat16)
    with torch.no_grad():
        cache = model(torch.ones(1, 100, dtype=torch.int64), use_cache=True).past_key_values
    held = sum(x.numel() * x.element_size() for one in cache.layers for x in (one.keys, one.values))
    assert Cost.of(made).keys_and_values(100, "bfloat16") == held


def test_a_device_gathers_what_the_others_have() -> None:
    cost = Cost.of(config(LONG, layers=3, num_key_value_heads=2))
    whole = 2 * 3 * 1000 * 2 * 8 * 4  # keys and values, layers, tokens, heads, head_dim, float32
    assert [cost.gathered(1000, "float32", devices) for devices in (1, 2, 4)] == [
        0,
        whole // 2,
        whole * 3 // 4,
    ]


@pytest.mark.parametrize("tied", [False, True])
def test_weights_in_parts_are_those_of_the_largest(tied: bool) -> None:
    made = config(WIDE, layers=6, tie_word_embeddings=tied)
    model = LlamaForCausalLM(made)
    layer = sum(weight.numel() for weight in model.model.layers[0].parameters())
    said = Cost.of(made).weights("float32", 4)
    assert said == pytest.approx(4 * (2 * layer + 300 * 64), rel=1e-3)  # two layers, an embedding
    assert Cost.of(made).weights("float32", 1) == 4 * model.num_parameters()


def test_a_size_is_a_model_of_that_size() -> None:
    eight = Cost.of_size(8_030_000_000)
    assert (eight.layers, eight.hidden, eight.heads, eight.kv_heads, eight.wide) == (
        32,
        4096,
        32,
        8,
        14336,
    )
    assert eight.parameters == 8_030_261_248  # of Llama 3 8B
    assert eight.multiplied == eight.parameters - 128_256 * 4096
    assert Cost.of_size(70 * 10**9).parameters == pytest.approx(70e9, rel=0.03)
    with pytest.raises(SpecError, match="1 parameter or more"):
        Cost.of_size(0)


def test_weights_in_files_are_held_two_layers_at_a_time() -> None:
    sizes = [Cost.of(config(WIDE, layers=n)).weights_in_turn("float32") for n in (1, 2, 6)]
    assert sizes[1] == Cost.of(config(WIDE, layers=2)).weights("float32")
    assert sizes[0] < sizes[1] == pytest.approx(sizes[2], rel=1e-3)
