"""Models that no list names: served in the layers that take the setting, or refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from helpers import models
from helpers.families import build as families
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.loading import load_model
from rope_eval.backends.vllm.engine import check_applied, score_texts
from rope_eval.backends.vllm.layers import find_rotaries
from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.scores import TokenScores

NATS = 1e-4
TEXTS = [models.token_ids(n)[0].tolist() for n in (33, 100, 150)]
MIXTURE = "dynamic_ntk=per_sequence,reference_length=40,rope_theta=500,log_scale=true,xpos=true"
TIED = {"tie_word_embeddings": True}  # vLLM's model has no other head

YARN = {
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 16,
    }
}


def hugging_face(model: Path, spec: str) -> list[TokenScores]:
    return scores(load_model(str(model), dtype="float32", device="cpu"), spec)


def scores(model: PreTrainedModel, spec: str) -> list[TokenScores]:
    with patched(model, RopeSpec.parse(spec)):
        return [score_tokens(model, torch.tensor(text)) for text in TEXTS]


def worst(ours: list[TokenScores], theirs: list[TokenScores]) -> float:
    return max(float(np.abs(a.nll - b.nll).max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("name", "changes", "layers"),
    [
        ("mixtral", {}, "2 of 2"),
        ("qwen3_moe", {}, "2 of 2"),
        ("granite", {}, "2 of 2"),
        ("gemma2", TIED, "2 of 4"),  # one table, which only the full layers see changed
        ("gemma3_text", {}, "2 of 4"),
        ("gemma3_text: linear on the full layers", {}, "2 of 4"),
        ("mistral: window", {}, "2 of 2"),  # windows alone: all take the setting
        ("glm4", {}, "2 of 2"),  # interleaved pairs in a part of the head
        # by transformers' code: each once, as vLLM changes its classes for the whole process
        ("olmo2", {}, "2 of 2"),
        ("olmo3", {}, "2 of 4"),  # a table for each type of layer
        ("phi", {}, "2 of 2"),
        ("smollm3", {}, "2 of 2"),  # and two layers that do not turn
        ("starcoder2", {}, "2 of 2"),
        ("glm", {}, "2 of 2"),
    ],
)
def test_scores_are_those_of_the_hugging_face_backend(
    any_checkpoint: Callable[..., Path],
    engine: Callable[..., Any],
    name: str,
    changes: dict[str, Any],
    layers: str,
) -> None:
    model = any_checkpoint(name, **changes)
    neutral, theirs = hugging_face(model, ""), hugging_face(model, MIXTURE)
    assert worst(theirs, neutral) > 0.5
    assert worst(score_texts(engine(model, ""), TEXTS), neutral) < NATS
    llm = engine(model, MIXTURE)
    assert worst(score_texts(llm, TEXTS), theirs) < NATS
    assert check_applied(llm, RopeSpec.parse(MIXTURE)) == layers
    runner = llm.llm_engine.model_executor.driver_worker.worker.model_runner
    assert len(find_rotaries(runner.get_model())) == 1  # its layers share the tables


NOPE = "nope_every=2,rope_theta=500,attn_temperature=llama4,attn_scale=1,floor_scale=16"


@pytest.mark.parametrize(
    ("name", "layers"),
    [("mixtral", "2 of 2"), ("gemma2", "2 of 4"), ("glm4", "2 of 2")],
)
def test_layers_are_kept_from_rotating(
    any_checkpoint: Callable[..., Path], engine: Callable[..., Any], name: str, layers: str
) -> None:
    model = any_checkpoint(name, **(TIED if name == "gemma2" else {}))
    for spec in (NOPE, f"{MIXTURE},nope_layers=1"):
        theirs = hugging_face(model, spec)
        rotating = RopeSpec.parse(spec).replace(nope_every=None, nope_layers=None)
        assert worst(theirs, hugging_face(model, str(rotating))) > 0.3
        llm = engine(model, spec)
        assert worst(score_texts(llm, TEXTS), theirs) < NATS
        assert check_applied(llm, RopeSpec.parse(spec)) == layers


def test_gpt_oss_without_its_experts(
    any_checkpoint: Callable[..., Path],
    engine: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sinks, windows, yarn. The experts give nothing: vLLM's CPU build cannot run them."""
    from vllm.model_executor.models.gpt_oss import TransformerBlock

    class Nothing(nn.Module):
        def __init__(self, *_: Any, **__: Any):
            super().__init__()

        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(x)

    monkeypatch.setattr(TransformerBlock, "mlp_cls", Nothing)
    model: Any = load_model(str(any_checkpoint("gpt_oss", **YARN)), dtype="float32", device="cpu")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.experts.down_proj.zero_()
            layer.mlp.experts.down_proj_bias.zero_()
    weights = {name: x for name, x in model.state_dict().items() if ".mlp." not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    expected = {spec: scores(model, spec) for spec in ("", MIXTURE)}
    assert worst(*expected.values()) > 0.5
    for spec, theirs in expected.items():
        llm = engine(tmp_path, spec)
        assert worst(score_texts(llm, TEXTS), theirs) < NATS
        assert check_applied(llm, RopeSpec.parse(spec)) == "2 of 4"


@pytest.mark.parametrize("spec", ["rope_theta=500", "linear_factor=4,log_scale=true"])
def test_all_layers_where_it_is_asked(
    any_checkpoint: Callable[..., Path], engine: Callable[..., Any], spec: str
) -> None:
    """Gemma 3 has a table for each type of layer."""
    model = any_checkpoint("gemma3_text")
    whole = f"{spec},layers=all"
    llm, theirs = engine(model, whole), hugging_face(model, whole)
    assert worst(score_texts(llm, TEXTS), theirs) < NATS
    assert worst(theirs, hugging_face(model, spec)) > 0.1
    assert check_applied(llm, RopeSpec.parse(whole)) == "4 of 4"


@pytest.mark.parametrize(
    ("name", "changes", "error", "message"),
    [
        ("llama", {"head_dim": 16}, UnsupportedModelError, "of 32, .* this model has 16: use back"),
        ("arcee", {"enforce_eager": False}, SpecError, "arcee models .* with enforce_eager=True"),
        ("deepseek_v3", {}, UnsupportedModelError, "deepseek_v3 models have multi-head latent"),
        ("gpt_neox", {}, UnsupportedModelError, "gpt_neox models are not served: without a Rop"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused_before_loading(
    tmp_path: Path,
    engine: Callable[..., Any],
    name: str,
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    case = families.NAMED[name]
    eager = {n: changes.pop(n) for n in ("enforce_eager",) if n in changes}
    fields = {**case.fields, "hidden_size": 128, **changes}
    config = families.config_of(families.Case(family=case.family, fields=fields))
    config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name]]
    config.save_pretrained(tmp_path)
    with pytest.raises(error, match=message) as caught:
        engine(tmp_path, "rope_theta=500", **eager)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cohere2", r"has windows of \[13, None, 13, None\] .* says \[12, None, 12, None\]"),
        ("hunyuan_v1_dense", "turns in a way that is not known"),  # a norm after it
    ],
)
def test_a_model_that_is_built_otherwise_is_refused_after_loading(
    any_checkpoint: Callable[..., Path], engine: Callable[..., Any], name: str, message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        engine(any_checkpoint(name), "rope_theta=500")
    assert "backend=hf" in str(caught.value)


def scaled(self: Any, positions: Tensor, hidden_states: Tensor) -> Any:
    """Multiply queries after they turned, as a norm would."""
    q, k, v = self.qkv_proj(hidden_states)[0].split([self.q_size, self.kv_size, self.kv_size], -1)
    q, k = self.rotary_emb(positions, q, k)
    return self.o_proj(self.attn(2 * q, k, v))[0]


def kept(self: Any, positions: Tensor, hidden_states: Tensor) -> Any:
    """Turn by an embedding that is held elsewhere."""
    q, k, v = self.qkv_proj(hidden_states)[0].split([self.q_size, self.kv_size, self.kv_size], -1)
    q, k = self.elsewhere[0](positions, q, k)
    return self.o_proj(self.attn(q, k, v))[0]


def own(self: Any, positions: Tensor, hidden_states: Tensor) -> Any:
    """Turn without an embedding."""
    q, k, v = self.qkv_proj(hidden_states)[0].split([self.q_size, self.kv_size, self.kv_size], -1)
    return self.o_proj(self.attn(q * positions[:, None].cos(), k, v))[0]


@pytest.mark.parametrize(
    ("forward", "base", "message"),
    [
        (scaled, 10000.0, "changes queries or keys after they turned"),
        (kept, 10000.0, "vLLM's own rotary embedding was called"),
        (own, 10000.0, "turns 0 times by its rotary embedding"),
        (None, 10100.0, "turns by another table"),
    ],
)
def test_layers_that_do_otherwise_than_they_seem_are_refused(
    checkpoint: Callable[..., Path],
    engine: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    forward: Callable[..., Any] | None,
    base: float,
    message: str,
) -> None:
    from vllm.model_executor.models.llama import LlamaAttention

    init = LlamaAttention._init_rotary_emb

    def based(self: Any, config: Any, quant_config: Any) -> None:
        other = copy.deepcopy(config)
        other.rope_parameters["rope_theta"] = base
        init(self, other, quant_config)
        self.elsewhere = [self.rotary_emb]

    monkeypatch.setattr(LlamaAttention, "_init_rotary_emb", based)
    if forward is not None:
        monkeypatch.setattr(LlamaAttention, "forward", forward)
    with pytest.raises(UnsupportedModelError, match=message):
        engine(checkpoint(), "rope_theta=500")
