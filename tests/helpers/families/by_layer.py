"""A configuration of each kind of geometry that `brute_force` knows."""

from __future__ import annotations

import functools

from transformers import PreTrainedModel

from helpers.families.build import NAMED, Case, build
from helpers.families.table import Fields

SHORT: Fields = {"max_position_embeddings": 32}  # so that the laws' lengths lie within a row
KINDS: dict[str, Fields] = {  # a family or configuration, and what is changed
    "mistral: window": {},
    "gemma2": {},
    "gemma3_text": {},
    "gemma3_text: linear on the full layers": {},
    "gpt_oss": {},
    "glm": {},
    "smollm3": {},
    "cohere2": {},
    "deepseek_v3": {"first_k_dense_replace": 2},
    "llama4_text": {"moe_layers": []},
    "llama4_text: no temperature": {"moe_layers": []},
    "hunyuan_v1_dense": {},
    "llama: longrope, short": {},
    "llama: longrope, long": {},
}
SCALED = (
    "gemma3_text: linear on the full layers",
    "gpt_oss",
    "llama: longrope, short",
    "llama: longrope, long",
)  # those whose config scales already


@functools.cache
def model_of(name: str) -> PreTrainedModel:
    """Return the shared model of a kind: tests leave it as they found it."""
    case = NAMED[name]
    fields = {**case.fields, **SHORT, **KINDS[name]}
    return build(Case(family=case.family, variant=case.variant, fields=fields))
