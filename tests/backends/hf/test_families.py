"""Families and configurations against stock transformers, and the page that says what came of it.

A core of them, one of each kind, is compared anew; `benchmarks/families.py` compares all.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from helpers.families.build import (
    CASES,
    NAMED,
    Case,
    build,
    config_of,
    log_probabilities,
    token_ids,
    twin,
)
from helpers.families.compare import NATS, compare
from helpers.families.page import PAGE, load, page

# warnings of transformers' own, of models that it builds
pytestmark = pytest.mark.filterwarnings("ignore")

CORE = {  # and what each stands for
    "llama": "half-split pairs, every layer alike",
    "llama: yarn": "a config that scales",
    "llama: longrope, short": "factors by length",
    "llama: longrope, long": "factors by length",
    "llama: dynamic": "frequencies that depend on what ran before",
    "mixtral": "experts",
    "gpt_neox": "other names of modules, partial rotation",
    "mistral: window": "windows on every layer",
    "gemma2": "windows on some layers, soft caps",
    "granite_swa": "a base for each layer",
    "gemma3_text": "a base for each type of layer",
    "gemma3n_text": "layers that share keys",
    "gemma4_text": "heads of two widths, a share of the pairs",
    "olmo3": "a scaling for each type of layer",
    "mimo_v2_flash": "values narrower than keys",
    "gpt_oss": "sinks, cos and sin of half the width",
    "glm4": "interleaved pairs, partial rotation",
    "cohere2": "interleaved pairs, layers without rotation",
    "llama4_text": "complex numbers, chunks, temperatures",
    "smollm3": "layers without rotation",
    "hunyuan_v1_dense": "norms after the rotation",
    "deepseek_v3": "rotary dimensions last, permuted",
    "longcat_flash": "two attentions a layer",
    "qwen3_next": "delta-rule layers",
    "bamba": "state-space layers",
    "falcon_h1": "attention beside a state space",
    "lfm2": "convolutions",
    "zaya: windows": "convolutions of queries and keys",
    "deepseek_v32": "a sparse indexer",
    "granitemoehybrid: without rotation": "nothing to rotate",
}
WINDOWS = ("mistral: window", "gemma2", "gemma3_text", "gpt_oss", "llama4_text", "zaya: windows")


def built(name: str) -> Case:
    case = NAMED[name]
    if case.family not in CONFIG_MAPPING:
        pytest.skip(f"this transformers has no {case.family}")
    return case


@pytest.mark.parametrize("name", CORE)
def test_what_was_measured_is_measured_again(name: str) -> None:
    recorded, found = load()["cases"][name], compare(built(name))
    assert found.kind == recorded["kind"], f"{found.where}: {found.reason or found.worst}"
    assert found.worst <= NATS
    assert found.reason == recorded["reason"]
    if found.kind == "exact":
        assert found.left_out == recorded["left_out"]
        assert len(found.differences) + len(found.left_out) >= 18  # nine ways, two settings


def test_every_configuration_was_measured_and_none_is_wrong_or_crashed() -> None:
    cases = load()["cases"]
    assert list(cases) == list(NAMED) == [case.name for case in CASES]
    assert {case["kind"] for case in cases.values()} <= {"exact", "refused"}
    assert all(case["worst"] <= NATS for case in cases.values())
    assert all(case["reason"] for case in cases.values() if case["kind"] == "refused")
    exact = [case for case in cases.values() if case["kind"] == "exact"]
    assert len(exact) >= 190
    assert len({case["family"] for case in exact if not case["variant"]}) >= 97


def test_the_page_is_up_to_date() -> None:
    expected = "python benchmarks/families.py --page > docs/models.md"
    assert PAGE.read_text(encoding="utf-8") == page(load()), expected


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_felt(name: str) -> None:
    """Else a comparison would prove nothing of it."""
    model = build(built(name))
    wide: Any = copy.deepcopy(model.config)
    window = "attention_chunk_size" if name == "llama4_text" else "sliding_window"
    setattr(wide, window, 1000)
    ids = token_ids(80)
    change = log_probabilities(model, ids) - log_probabilities(twin(model, wide), ids)
    assert change.abs().max() > 0.3


@pytest.mark.parametrize("name", ["gemma2: no soft caps", "olmo3: plain", "glm4: yarn"])
def test_a_variant_is_felt(name: str) -> None:
    case = built(name)
    model, ids = build(case), token_ids(80)
    other = twin(model, config_of(NAMED[case.family]))
    assert (log_probabilities(model, ids) - log_probabilities(other, ids)).abs().max() > 0.3
