"""Adapters that change weights are layers of a model; those that put tokens before a text not."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from torch.testing import assert_close
from transformers import PreTrainedModel

from helpers import models
from helpers.families.build import NAMED, build, log_probabilities, token_ids
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.errors import UnsupportedModelError

# peft asks a model what transformers wants asked otherwise
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

NATS = 1e-4
LAYERS = {"target_modules": ["q_proj", "k_proj", "v_proj"]}
OF_WEIGHTS = {
    "LoRA": lambda: peft.LoraConfig(**LAYERS, init_lora_weights=False),
    "DoRA": lambda: peft.LoraConfig(**LAYERS, init_lora_weights=False, use_dora=True),
    "LoRA and a whole head": lambda: peft.LoraConfig(
        target_modules=["q_proj"], init_lora_weights=False, modules_to_save=["lm_head"]
    ),
    "OFT": lambda: peft.OFTConfig(
        target_modules=["q_proj"], init_weights=False, r=2, oft_block_size=0
    ),
}
OF_TOKENS = {
    "PromptTuning": peft.PromptTuningConfig,
    "PrefixTuning": peft.PrefixTuningConfig,
    "PromptEncoder": lambda **a: peft.PromptEncoderConfig(**a, encoder_hidden_size=16),
}


def adapted(model: PreTrainedModel, config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return peft.get_peft_model(model, config).eval()


@pytest.mark.parametrize("kind", OF_WEIGHTS)
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_an_adapter_of_weights_is_scored_as_stock_does(name: str, kind: str) -> None:
    model, ids = build(NAMED[name]), token_ids(60)
    bare = log_probabilities(model, ids)
    model = adapted(model, OF_WEIGHTS[kind]())
    expected = log_probabilities(model, ids)
    assert (expected - bare).abs().max() > 0.01 or "head" in kind
    with patched(model, RopeSpec()):
        assert_close(log_probabilities(model, ids), expected, rtol=0, atol=NATS)
        nll = torch.from_numpy(score_tokens(model, ids[0], chunk_size=16).nll).double()
    wanted = -expected[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
    assert_close(nll, wanted, rtol=0, atol=NATS)


@pytest.mark.parametrize("kind", OF_TOKENS)
def test_an_adapter_of_tokens_is_refused(kind: str) -> None:
    """The scorer would leave its tokens out, and its keys would be turned that never were."""
    config = OF_TOKENS[kind](task_type="CAUSAL_LM", num_virtual_tokens=5)
    model = adapted(models.build(models.config_of("llama")), config)
    with pytest.raises(UnsupportedModelError, match=f"adapter {kind} puts tokens or keys"):
        patched(model, RopeSpec()).__enter__()
