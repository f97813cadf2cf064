"""Settings under a geometry of each layer: the brute force against stock, and `patched` against it.

Interleaved pairs, partial and late offsets, windows, chunks, sinks, soft caps, layers that do not
rotate, norms after rotation, tables for each type of layer and for short and long sequences.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from helpers import brute_force
from helpers.families.build import (
    NAMED,
    Case,
    build,
    config_of,
    log_probabilities,
    token_ids,
    twin,
)
from helpers.families.by_layer import KINDS, SCALED, model_of
from helpers.families.compare import in_pieces, padded_forward
from helpers.families.table import rope
from helpers.models import fitted, pairs_that_turn
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.errors import SpecError
from rope_eval.rope.config_form import spec_of_config
from rope_eval.rope.geometry import RopeConfig
from rope_eval.rope.methods import METHODS, active

NATS = 1e-4
TOKENS = 60
NEAR = {  # so that it is felt at any model's own base
    "log_scale": "reference_length=12",
    "dynamic_ntk": "reference_length=12",
    "xpos": "reference_length=12",
    "rotated_share": "rope_theta=500",
}
BOUND = "rope_theta=500,log_scale=true,layers=all"  # T_ref is the law's
EXAMPLES = [text for method in METHODS for text in method.examples]
SETTINGS = [
    *(",".join(filter(None, (text, NEAR.get(text.partition("=")[0])))) for text in EXAMPLES),
    BOUND,
    "rope_theta=500,dynamic_ntk=per_query,reference_length=16,xpos=true,log_scale=true",
    "dynamic_ntk=per_sequence,ntk_formula=continuous,reference_length=20,beyond_critical=clip",
    "dynamic_ntk=per_query,reference_length=12.5,beyond_critical=drop,layers=all",
    "nope_layers=0,layers=all,rope_theta=500,attn_temperature=llama4,attn_scale=1,floor_scale=4",
]
HARDEST = SETTINGS[-4:]
MAPS = [text for method in METHODS if method.maps_positions for text in method.examples]
# of these no layer sees all before it and rotates
WINDOWED = ("mistral: window", "cohere2", "llama4_text", "llama4_text: no temperature")
# after rotation: the norm takes a factor off that cos and sin have
NORMED = ("hunyuan_v1_dense", "llama4_text", "llama4_text: no temperature")
COUNTS_PADDING = "llama4_text"  # in its temperature, as the stock model does


def expected(name: str, spec: RopeSpec, tokens: Tensor) -> Tensor:
    found = brute_force.log_probabilities(model_of(name), spec, tokens[0].tolist())
    return torch.from_numpy(found)


def ours(name: str, spec: RopeSpec, input_ids: Tensor) -> Tensor:
    with patched(model_of(name), spec) as model:
        return log_probabilities(model, input_ids)[0]


def asks_in_vain(name: str, spec: RopeSpec) -> bool:
    """Whether no layer that takes the setting is among those that it would keep from rotating."""
    layers = brute_force.layers_of(model_of(name).config)
    kept = [brute_force.kept_still(spec, layers, n) for n in range(len(layers))]
    return bool(spec.nope_every or spec.nope_layers) and not any(kept)


@pytest.mark.parametrize("name", KINDS)
def test_the_brute_force_is_the_stock_model(name: str) -> None:
    ids = token_ids(TOKENS)
    stock = log_probabilities(model_of(name), ids)[0]
    assert_close(expected(name, RopeSpec(), ids), stock, rtol=0, atol=NATS)


def refusal(name: str, text: str, spec: RopeSpec) -> str | None:
    """Return what a kind of model refuses a setting with, None where it takes it."""
    if name in SCALED and (text == BOUND or any(m.frequencies == "set" for m in active(spec))):
        return r"config (already )?scales its|config has frequencies for long"
    if "longrope" in name and spec.base_changes != "never":
        return "config has frequencies for long"
    if asks_in_vain(name, spec):
        return "keeps no layer from rotating: none of decoder layers"
    if name == "llama4_text" and spec.attn_temperature is not None:
        return "on top of the checkpoint's own"
    if text in MAPS and name in WINDOWED:
        return "needs layers that see all"
    if text in MAPS and name == "hunyuan_v1_dense":
        return "weighs queries and keys after they turned"
    return None


@pytest.mark.parametrize("text", SETTINGS)
@pytest.mark.parametrize("name", KINDS)
def test_every_field_is_the_brute_force(name: str, text: str) -> None:
    spec, ids = fitted(text, pairs_that_turn(model_of(name))), token_ids(TOKENS)
    if message := refusal(name, text, spec):
        with pytest.raises(SpecError, match=message):
            ours(name, spec, ids)
        return
    found = ours(name, spec, ids)
    assert_close(found, expected(name, spec, ids), rtol=0, atol=NATS)
    moved = (found - ours(name, RopeSpec(), ids)).abs().max()
    normed = name in NORMED and set(spec.to_dict()) == {"attention_factor"}
    assert moved == 0 if normed else moved > 0.05


@pytest.mark.parametrize("text", HARDEST)
@pytest.mark.parametrize("name", [name for name in KINDS if name != COUNTS_PADDING])
def test_however_a_row_is_computed(name: str, text: str) -> None:
    spec, row = RopeSpec.parse(text), token_ids(TOKENS)[0]
    if message := refusal(name, text, spec):
        with pytest.raises(SpecError, match=message), patched(model_of(name), spec):
            pass
        return
    short = token_ids(23, seed=1)[0]
    with patched(model_of(name), spec) as model:
        whole, alone = (log_probabilities(model, x[None])[0] for x in (row, short))
        for side in ("left", "right"):
            found = padded_forward(model, [row, short], side)
            assert_close(found[0], whole, rtol=0, atol=NATS)
            assert_close(found[1], alone, rtol=0, atol=NATS)
        if spec.base_changes != "per_sequence":  # whose pieces have lengths of their own
            assert_close(in_pieces(model, row)[0], whole, rtol=0, atol=NATS)
        nll = -whole[:-1].gather(-1, row[1:, None])[:, 0]
        for chunk in (7, 32, 4096):
            scores = torch.from_numpy(score_tokens(model, row, chunk_size=chunk).nll).double()
            assert_close(scores, nll, rtol=0, atol=NATS)


def test_a_setting_is_that_of_the_full_layers_unless_all_is_said() -> None:
    ids = token_ids(TOKENS)
    some, every = (
        ours("gemma3_text", RopeSpec.parse(f"rope_theta=500,layers={layers}"), ids)
        for layers in ("full", "all")
    )
    assert torch.equal(some, ours("gemma3_text", RopeSpec(rope_theta=500), ids))
    assert (some - every).abs().max() > 0.3


@pytest.mark.parametrize(
    "name",
    [
        "hunyuan_v1_dense: yarn",  # whose factor the norms take off
        "llama4_text: llama3",
        "glm4: yarn",
        "smollm3: yarn",
        "phi3: longrope, long",
        "phi3: longrope, short",
    ],
)
def test_a_plain_model_under_the_setting_of_a_config_is_the_stock_model_of_it(name: str) -> None:
    case = NAMED[name]
    base = case.fields["rope_parameters"]["rope_theta"]
    partial = case.fields["rope_parameters"].get("partial_rotary_factor", 1.0)
    plain = rope(rope_theta=base, partial_rotary_factor=partial)
    config = config_of(case)
    spec = spec_of_config(RopeConfig({**config.to_dict(), **case.fields}, name))
    own = ("nope_every", "nope_layers", "attn_temperature", "attn_scale", "floor_scale")
    spec = spec.replace(**{name: getattr(RopeSpec(), name) for name in own})  # both have these
    model = build(Case(family=case.family, variant="plain", fields={**case.fields, **plain}))
    ids = token_ids(TOKENS)
    stock = log_probabilities(twin(model, config), ids)[0]
    assert (stock - log_probabilities(model, ids)[0]).abs().max() > 0.1
    with patched(model, spec):
        assert_close(log_probabilities(model, ids)[0], stock, rtol=0, atol=NATS)
