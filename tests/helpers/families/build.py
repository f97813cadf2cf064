"""Tiny random models of every family, sharp enough for a change of base to be felt."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import zlib
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from helpers.families.table import FAMILIES, SHAPE, SMALL, VARIANTS, VOCABULARY, Fields

TOKENS = 80  # of the longest row
BASE = 500.0  # what every base is changed to
FELT = 1.0  # nats that the change of base moves a log-probability by, at least
CALM = 1.5e-4  # nats that it is moved by when embeddings are off by one in a million, at most
SHARPER = (0.7, 1.0, 1.6, 2.5)  # what queries and keys are multiplied by until both hold,
SEEDS = 12  # with as many weights
LOGITS = 2.0  # their standard deviation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One configuration of one family."""

    family: str
    variant: str = ""
    fields: Fields = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.family}: {self.variant}" if self.variant else self.family


CASES = [
    *(Case(family=family, fields=fields) for family, fields in FAMILIES.items()),
    *(
        Case(family=family, variant=variant, fields={**FAMILIES[family], **changes})
        for family, variant, changes in VARIANTS
    ),
]
NAMED = {case.name: case for case in CASES}


def config_of(case: Case) -> PreTrainedConfig:
    """Return a case's config; what has no meaning for its class is left out."""
    kind = CONFIG_MAPPING[case.family]
    known = {field.name for field in dataclasses.fields(kind)}
    small = {name: value for name, value in SMALL.items() if name in known}
    if "qk_rope_head_dim" in known:  # head_dim is then what is made of the parts
        small.pop("head_dim", None)
    config: PreTrainedConfig = kind(**copy.deepcopy({**SHAPE, **small, **case.fields}))
    return config


def rebased(config: PreTrainedConfig, base: float = BASE, only: str | None = None) -> Any:
    """Return the config with every base changed, or that of one type of layer.

    Args:
        config: of a case.
        base: the new one.
        only: the type of layer, where the config has a base for each.
    """
    changed: Any = copy.deepcopy(config)
    parameters = changed.rope_parameters
    tables = [p for p in parameters.values() if isinstance(p, dict)] or [parameters]
    if only is not None:
        tables = [parameters[only]]
    for table in tables:
        table["rope_theta"] = base
    if getattr(changed, "layer_rope_theta", None):
        changed.layer_rope_theta = [base] * changed.num_hidden_layers
    return changed


def rotates(config: Any) -> bool:
    """Return whether the config has a base that its model uses."""
    parameters = getattr(config, "rope_parameters", None)
    return bool(parameters) and getattr(config, "position_embedding_type", "rope") == "rope"


def has_tables_by_type(config: Any) -> bool:
    """Return whether each type of layer has rope_parameters of its own."""
    parameters = getattr(config, "rope_parameters", None) or {}
    return any(isinstance(p, dict) for p in parameters.values())


def build(case: Case) -> PreTrainedModel:
    """Return the case's model, its weights by its name alone.

    Tries weights until another base moves a log-probability by `FELT` nats and rounding none by
    much: what a linear layer's state amplifies would hide what is wrong, or look like it.

    Raises:
        ValueError: where that does not come about.
    """
    config = config_of(case)
    model = empty(config)
    initial = {name: x.clone() for name, x in model.state_dict().items()}
    first = zlib.crc32(case.name.encode())
    for seed, sharper in itertools.product(range(first, first + SEEDS), SHARPER):
        model.load_state_dict(initial)
        _fill(model, seed, sharper)
        if (not rotates(config) or felt(model) >= FELT) and unrest(model) <= CALM:
            return model
    raise ValueError(f"{case.name}: no weights are sharp enough and calm enough")


def empty(config: PreTrainedConfig) -> PreTrainedModel:
    """Return a model of the config in evaluation mode, always initialised alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if type(config) in AutoModelForCausalLM._model_mapping:
            model = AutoModelForCausalLM.from_config(copy.deepcopy(config))
        else:  # mistral4 has no place in the mapping
            kind = getattr(transformers, type(config).__name__.replace("Config", "ForCausalLM"))
            model = kind(copy.deepcopy(config))
    if getattr(config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")  # sdpa leaves the caps out before 5.23
    return model.eval().float()


def twin(model: PreTrainedModel, config: PreTrainedConfig) -> PreTrainedModel:
    """Return a stock model of another config with the same weights."""
    other = empty(config)
    other.load_state_dict(model.state_dict())
    return other


def felt(model: PreTrainedModel) -> float:
    """Return how far another base moves a log-probability, in nats."""
    other = twin(model, rebased(model.config))
    ids = token_ids(TOKENS)
    return float((log_probabilities(model, ids) - log_probabilities(other, ids)).abs().max())


def unrest(model: PreTrainedModel) -> float:
    """Return how far embeddings that are off by one in a million move a log-probability."""
    ids = token_ids(TOKENS)
    generator = torch.Generator().manual_seed(0)

    def disturb(_: nn.Module, __: object, out: Tensor) -> Tensor:
        return out * (1 + 1e-6 * torch.randn(out.shape, generator=generator))

    before = log_probabilities(model, ids)
    handle = model.get_input_embeddings().register_forward_hook(disturb)
    try:
        return float((log_probabilities(model, ids) - before).abs().max())
    finally:
        handle.remove()


def token_ids(length: int, seed: int = 0) -> Tensor:
    """Return random tokens ``[1, length]`` without BOS (0) and padding (1)."""
    generator = torch.Generator().manual_seed(1000 * seed + length)
    return torch.randint(2, VOCABULARY, (1, length), generator=generator)


@torch.no_grad()
def log_probabilities(model: PreTrainedModel, input_ids: Tensor, **kwargs: Any) -> Tensor:
    """Return log p of every next token, float64 ``[B, T, V]``."""
    return model(input_ids, use_cache=False, **kwargs).logits.double().log_softmax(-1)


@torch.no_grad()
def _fill(model: PreTrainedModel, seed: int, sharper: float) -> None:
    """Overwrite matrices, and disturb vectors about what they were initialised to."""
    generator = torch.Generator().manual_seed(seed)
    for name, x in model.named_parameters():
        noise = torch.randn(x.shape, generator=generator)
        if x.ndim == 1 or "A_log" in name or "norm" in name:
            x.add_(0.2 * noise)
            if _is_norm_of_queries_or_keys(name):
                x.add_(sharper - 0.5)
        elif "embed" in name:
            x.copy_(noise * (0.25 if "gemma" in model.config.model_type else 1.0))  # it is scaled
        else:
            gain = 1.6 * sharper if _makes_queries_or_keys(name) else 1.2
            x.copy_(noise * gain / math.sqrt(x.shape[-1]))
    head = model.get_output_embeddings()
    head.weight.mul_(LOGITS / model(token_ids(TOKENS), use_cache=False).logits.std())


def _makes_queries_or_keys(name: str) -> bool:
    parts = ("q_proj", "k_proj", "qkv", "query", "key", "q_b_proj", "kv_a_proj", "kv_b_proj")
    return any(part in name for part in parts)


def _is_norm_of_queries_or_keys(name: str) -> bool:
    parts = ("q_norm", "k_norm", "q_layernorm", "k_layernorm", "query_layernorm", "key_layernorm")
    return any(part in name for part in parts)
