"""Layers without rotation: a plain checkpoint under the setting is that of SmolLM3's config."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import PreTrainedModel

from helpers.families.build import (
    NAMED,
    Case,
    build,
    config_of,
    empty,
    log_probabilities,
    token_ids,
    twin,
)
from helpers.families.compare import in_pieces, padded_forward
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.proof import prove
from rope_eval.errors import SpecError
from rope_eval.rope.config_form import config_of_spec, spec_of_config
from rope_eval.rope.geometry import RopeConfig

NATS = 1e-4
TOKENS = 60
HEAT = {"attn_scale": 1.0, "floor_scale": 4}
FULL, CHUNKED = ({"layer_types": [f"{kind}_attention"] * 4} for kind in ("full", "chunked"))
COLD = {"attn_temperature_tuning": False}
EVERY = {"no_rope_layers": [1] * 4}
HOT = "attn_temperature=llama4,attn_scale=1,floor_scale=4"
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    # a family, what the plain config and the one that asks have, and the setting
    "every second": (
        "smollm3",
        EVERY,
        {"no_rope_layers": None, "no_rope_layer_interval": 2},
        "nope_every=2",
    ),
    "a list": (
        "smollm3",
        EVERY,
        {"no_rope_layers": [0, 1, 1, 0]},
        "nope_layers=0:3",
    ),
    "more than it has": (
        "smollm3",
        {"no_rope_layers": [1, 0, 1, 1]},
        {"no_rope_layers": [1, 0, 0, 1]},
        "nope_layers=2",
    ),
    "yarn beside": (
        "smollm3: yarn",
        EVERY,
        {"no_rope_layers": [1, 1, 0, 1]},
        "nope_layers=2",
    ),
    "chunks": (
        "llama4_text: no norms of queries and keys",
        {**EVERY, **COLD, **CHUNKED},
        {"no_rope_layers": [1, 0, 1, 1], **COLD, **CHUNKED},
        "nope_layers=1",
    ),
    "Llama 4's temperature": (
        "llama4_text",
        COLD,
        {"attn_temperature_tuning": True, **HEAT},
        HOT,
    ),
    "layers and temperature": (
        "llama4_text: no norms of queries and keys",
        {**EVERY, **COLD, **FULL},
        {"no_rope_layers": [1, 0, 1, 0], "attn_temperature_tuning": True, **HEAT, **FULL},
        f"nope_every=2,{HOT}",
    ),
}


def model_of(name: str, changes: dict[str, Any]) -> PreTrainedModel:
    case = NAMED[name]
    return build(Case(family=case.family, variant=case.variant, fields={**case.fields, **changes}))


def changed(model: PreTrainedModel, name: str, changes: dict[str, Any]) -> PreTrainedModel:
    """The same weights under a config with other words."""
    case = NAMED[name]
    fields = {**case.fields, **changes}
    return twin(model, config_of(Case(family=case.family, fields=fields)))


@pytest.mark.parametrize("name", CASES)
def test_a_plain_model_under_the_setting_is_the_stock_model_of_the_config(name: str) -> None:
    family, plain, asks, text = CASES[name]
    model = model_of(family, plain)
    stock, spec = changed(model, family, asks), RopeSpec.parse(text)
    row, short = token_ids(TOKENS)[0], token_ids(23, seed=1)[0]
    expected, alone = (log_probabilities(stock, x[None])[0] for x in (row, short))
    assert (expected - log_probabilities(model, row[None])[0]).abs().max() > 0.3
    with patched(stock, RopeSpec()):
        assert_close(log_probabilities(stock, row[None])[0], expected, rtol=0, atol=NATS)
    with patched(model, spec):
        assert_close(log_probabilities(model, row[None])[0], expected, rtol=0, atol=NATS)
        for side in ("left", "right"):
            found = padded_forward(model, [row, short], side)
            assert_close(found[0], expected, rtol=0, atol=NATS)
            assert_close(found[1], alone, rtol=0, atol=NATS)
        assert_close(in_pieces(model, row)[0], expected, rtol=0, atol=NATS)
        nll = -expected[:-1].gather(-1, row[1:, None])[:, 0]
        for chunk in (7, 4096):
            scores = torch.from_numpy(score_tokens(model, row, chunk_size=chunk).nll).double()
            assert_close(scores, nll, rtol=0, atol=NATS)
    assert all(moved > 0 for moved in prove(model, spec).moves.values())


@pytest.mark.parametrize("name", CASES)
def test_the_setting_of_a_config_and_the_config_of_a_setting(name: str) -> None:
    family, plain, asks, text = CASES[name]
    case = NAMED[family]
    says, theirs = (
        RopeConfig(config_of(Case(family=case.family, fields=case.fields | some)).to_dict(), "")
        for some in (plain, asks)
    )
    if "yarn" in family:
        with pytest.raises(SpecError, match="must be that of a plain checkpoint"):
            config_of_spec(RopeSpec.parse(text), says)
        return
    words = config_of_spec(RopeSpec.parse(text), says)
    for word in ("no_rope_layers", "attn_temperature_tuning", "attn_scale", "floor_scale"):
        assert {**says.values, **words}.get(word) == theirs.values.get(word)
    said = {"more than it has": "nope_layers=1:2", "Llama 4's temperature": f"nope_every=2,{HOT}"}
    assert spec_of_config(theirs) == RopeSpec.parse(
        f"rope_theta={theirs.rope_theta},{said.get(name, text)}"
    )


def test_ministral_is_mistral_under_the_setting_of_its_config() -> None:
    theirs = build(NAMED["ministral3"])
    spec = spec_of_config(RopeConfig(theirs.config.to_dict(), ""))
    assert (spec.attn_temperature, spec.attn_scale, spec.floor_scale) == ("ministral3", 0.1, 32)
    plain = {**NAMED["mistral"].fields, "rms_norm_eps": theirs.config.rms_norm_eps}
    model = empty(config_of(Case(family="mistral", fields=plain)))
    model.load_state_dict(theirs.state_dict())
    expected = log_probabilities(theirs, token_ids(80))
    with patched(model, spec):
        assert_close(log_probabilities(model, token_ids(80)), expected, rtol=0, atol=NATS)
    with patched(model, spec.replace(attn_scale=0.4)):
        assert (log_probabilities(model, token_ids(80)) - expected).abs().max() > 0.05
    with pytest.raises(SpecError, match="own: its config has llama_4_sc"), patched(theirs, spec):
        pass


def test_a_config_of_another_family_does_not_say_it() -> None:
    plain = RopeConfig({"model_type": "llama", "num_hidden_layers": 4, "rope_theta": 10.0}, "")
    for text in ("nope_every=2", "nope_layers=1", HOT):
        with pytest.raises(SpecError, match="no rope_type of transformers says"):
            config_of_spec(RopeSpec.parse(text), plain)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope_every=1", "nope_every must be a finite number 2 or more, got 1"),
        ("nope_every=2,nope_layers=1", "both say which layers do not rotate: give one"),
        ("nope_every=2,drope=true", "nope_every has no meaning beside drope"),
        ("nope_layers=1.5", "nope_layers must be a whole number, got 1.5"),
        ("nope_layers=2:4", "nope_layers counts from 0, and this checkpoint has 4 layers: got 4"),
        ("nope_layers=1:3", "keeps no layer from rotating: none of decoder layers 1, 3 rotates"),
        (HOT, "would be put on top of the checkpoint's own: its config has attn_temperature_tun"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text: str, message: str) -> None:
    model = model_of("llama4_text", {})  # its layers 1 and 3 do not rotate, 0 and 2 see chunks
    with pytest.raises(SpecError, match=message), patched(model, RopeSpec.parse(text)):
        pass


def test_a_list_is_a_set_of_numbers() -> None:
    for given in ("3:1:3", [1, 3], (3, 1)):
        assert RopeSpec(nope_layers=given).nope_layers == (1, 3)
    assert RopeSpec(nope_layers=2) == RopeSpec(nope_layers="2") == RopeSpec(nope_layers=[2])
