"""The proof at load: what it lets pass on every family, and what it does not."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from helpers import models
from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.layer_attention import LayerAttention
from rope_eval.backends.hf.probe import anatomy_of
from rope_eval.backends.hf.proof import TOKENS, proof_of, prove
from rope_eval.errors import ScoreError, SpecError, UnsupportedModelError
from rope_eval.rope import methods
from rope_eval.rope.method import Effect

EXAMPLES = [text for method in methods.METHODS for text in method.examples]


@pytest.mark.parametrize("family", models.FAMILIES)
def test_every_method_moves_every_family(family: str) -> None:
    model = models.tiny(family)
    for method in methods.METHODS:
        spec = models.fitted(method.examples[0], models.pairs_of(family))
        proof = prove(model, spec)
        assert proof.neutral < 2e-5
        assert list(proof.moves) == method.given(spec)
        assert min(proof.moves.values()) > 1e-3, (method.name, proof.moves)


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_field_is_named_with_what_it_moves(text: str) -> None:
    spec = RopeSpec.parse(text)
    moves = prove(models.tiny(), spec).moves
    assert set(moves) == set(spec.to_dict())
    assert min(moves.values()) > 1e-2


def test_a_move_is_the_difference_of_the_last_layers_scores() -> None:
    """Of a model of one layer the scores are the model's own: right values, from outside."""
    model = models.build(models.config_of("llama", num_hidden_layers=1))
    ids = torch.randint(61, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    spec = RopeSpec.parse("rope_theta=500,log_scale=true,reference_length=4,train_length=7")

    def scores(spec: RopeSpec) -> torch.Tensor:
        with patched(model, spec), torch.no_grad():
            return model(ids).logits

    found = prove(model, spec.replace(reference_length="extra", train_length=4096)).moves
    assert found == {
        field: pytest.approx(
            float((scores(spec) - scores(spec.replace(**{field: default}))).abs().max()), abs=1e-5
        )
        for field, default in (("rope_theta", None), ("log_scale", False))
    }


def test_a_method_that_begins_far_away_is_seen_in_the_probe() -> None:
    moves = prove(models.tiny(), RopeSpec(log_scale=True, reference_length=100000.0)).moves
    assert moves["log_scale"] > 0.01


def test_what_asks_for_nothing_moves_nothing_and_passes() -> None:
    assert prove(models.tiny(), RopeSpec()).moves == {}
    assert prove(models.tiny(), RopeSpec(rope_theta=10000)).moves == {"rope_theta": 0.0}
    moves = prove(models.tiny(), RopeSpec(rope_theta=500, rotated_share=0)).moves
    assert moves["rope_theta"] == 0  # no pair is left that turns
    assert moves["rotated_share"] > 0.01


@pytest.mark.parametrize("rope_type", models.SCALED)
def test_a_config_that_scales_its_frequencies(rope_type: str) -> None:
    proof = prove(
        models.tiny_scaled(rope_type),
        RopeSpec(rotated_share=0.5, log_scale=True, reference_length=20),
    )
    assert proof.neutral < 2e-5
    assert min(proof.moves.values()) > 1e-3


@pytest.mark.parametrize(("dtype", "noise"), [(torch.bfloat16, 2.0), (torch.float16, 0.25)])
def test_half_precision(dtype: torch.dtype, noise: float) -> None:
    model = copy.deepcopy(models.tiny()).to(dtype)
    proof = prove(model, RopeSpec(rotated_share=0.9))  # the slowest pair alone: 4e-4 radians
    assert 0 < proof.neutral < noise


def test_the_model_is_left_as_it_was() -> None:
    model, ids = models.tiny(), models.token_ids(50)
    before, names = models.log_probabilities(model, ids), [set(vars(m)) for m in model.modules()]
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    prove(model, RopeSpec(log_scale=True))
    assert torch.equal(models.log_probabilities(model, ids), before)
    assert [set(vars(m)) for m in model.modules()] == names
    assert [len(module._forward_pre_hooks) for module in model.modules()] == hooks


def test_a_setting_that_is_on_the_model_is_not_taken_for_the_stock_one() -> None:
    model, ids, spec = models.tiny(), models.token_ids(50), RopeSpec(rope_theta=40000)
    with patched(model, RopeSpec(rope_theta=500)):
        before = models.log_probabilities(model, ids)
        proof = prove(model, spec)
        assert torch.equal(models.log_probabilities(model, ids), before)
    assert proof.neutral < 2e-5
    assert proof.moves == prove(model, spec).moves


# ---- what must not pass ------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [0, 1])
def test_a_layer_that_rotates_otherwise_is_refused(layer: int) -> None:
    """As where a model normalises, or rotates a second time, after the place we replace."""
    model = copy.deepcopy(models.tiny())
    anatomy_of(model)  # what it was when it was probed
    attention: Any = model.model.layers[layer].self_attn
    forward = attention.forward

    def wrapped(*, position_embeddings: Any, **kwargs: Any) -> Any:
        cos, sin = position_embeddings
        return forward(position_embeddings=(cos * 1.05, sin * 0.95), **kwargs)

    attention.forward = wrapped
    with pytest.raises(UnsupportedModelError, match=r"neutral setting differs .* by \d\.\d+ nats"):
        prove(model, RopeSpec(rope_theta=500))


def test_a_layer_that_goes_past_our_attention_is_refused() -> None:
    model = copy.deepcopy(models.tiny())
    anatomy_of(model)  # what it was when it was probed
    attention: Any = model.model.layers[1].self_attn
    forward, rotary = attention.forward, type(model.model.rotary_emb)(model.config)

    def own(*, hidden_states: Any, position_embeddings: Any, **kwargs: Any) -> Any:
        config, attention.config = attention.config, copy.copy(attention.config)
        attention.config._attn_implementation = "sdpa"
        try:
            tables = rotary(hidden_states, torch.arange(TOKENS)[None])
            return forward(hidden_states, position_embeddings=tables, **kwargs)
        finally:
            attention.config = config

    attention.forward = own  # the neutral setting is right: the layer rotates as the stock one
    assert prove(model, RopeSpec()).neutral < 2e-5
    with pytest.raises(UnsupportedModelError, match=r"rope_theta=500\.0 moves no score"):
        prove(model, RopeSpec(rope_theta=500))


NOTHING: dict[str, Any] = {
    "effect": lambda facts: Effect(),
    "keeps_still": lambda spec, count: frozenset(),
}


@pytest.mark.parametrize("name", [method.name for method in methods.METHODS])
def test_a_method_without_its_effect_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = tuple(
        dataclasses.replace(m, **NOTHING) if m.name == name else m for m in methods.METHODS
    )
    example = next(m.examples[0] for m in methods.METHODS if m.name == name)
    monkeypatch.setattr(methods, "METHODS", dropped)
    spec = RopeSpec.parse(example)
    field = next(m.given(spec)[0] for m in dropped if m.name == name)
    with pytest.raises(UnsupportedModelError, match=f"{field}=.* moves no score"):
        prove(models.tiny(), spec)


def test_an_attention_that_forgets_a_scale_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rotated = LayerAttention.rotated
    monkeypatch.setattr(
        LayerAttention,
        "rotated",
        lambda self, span, q, k: rotated(self, dataclasses.replace(span, q_scale=None), q, k),
    )
    with pytest.raises(UnsupportedModelError, match="log_scale=True moves no score"):
        prove(models.tiny(), RopeSpec(rope_theta=500, log_scale=True))


def test_weights_that_are_no_numbers_prove_nothing() -> None:
    model = copy.deepcopy(models.tiny())
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ScoreError, match="stock model's own scores are not numbers"):
        prove(model, RopeSpec())
    assert proof_of(model, RopeSpec()) == "none: the stock model's own scores are not numbers"


def test_training_mode_is_refused() -> None:
    model = copy.deepcopy(models.tiny()).train()
    with pytest.raises(UnsupportedModelError, match=r"training mode: call model.eval\(\)"):
        prove(model, RopeSpec())


def test_a_setting_without_its_length_is_refused_as_ever() -> None:
    with pytest.raises(SpecError):
        prove(models.tiny(), RopeSpec(tune_length=16, log_scale=True))
