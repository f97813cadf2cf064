"""`patched` against a float64 brute force, against transformers, and what it leaves behind."""

import copy
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    DynamicCache,
    GPT2Config,
    PreTrainedModel,
)

from helpers import brute_force, models
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.compat import cache_argument
from rope_eval.backends.hf.probe import geometry
from rope_eval.backends.hf.proof import prove
from rope_eval.errors import RopeEvalError, SpecError, UnsupportedModelError
from rope_eval.rope.methods import FIELDS, METHODS
from rope_eval.rope.values import Field

NATS = 1e-4  # float32 over two layers is within 4e-5 of float64; every knob moves 0.3 and more
REFERENCE = 16

ALONE = [text for method in METHODS for text in method.examples]
MASKS = [text for method in METHODS if method.frequencies == "mask" for text in method.examples]
TOGETHER = [
    "rope_theta=500,log_scale=true",
    "rope_theta=500,pretrain_theta=10000,tune_length=48,log_scale=true,dynamic_ntk=per_query",
    "rope_theta=40000,log_scale=true,dynamic_ntk=per_query",
    "rope_theta=40000,dynamic_ntk=per_query,reference_length=train",
    "dynamic_ntk=per_query,reference_length=12.5,xpos=true",
    "dynamic_ntk=per_query,reference_length=7.3,log_scale=true,xpos=true,linear_factor=2",
    "dynamic_ntk=per_query,reference_length=16,beyond_critical=clip,ntk_alpha=4",
    "dynamic_ntk=per_query,reference_length=16,beyond_critical=drop,log_scale=true",
    "dynamic_ntk=per_sequence,reference_length=16,log_scale=true,xpos=true,ntk_alpha=2",
    "dynamic_ntk=per_sequence,ntk_formula=continuous,reference_length=20,log_scale=true,xpos=true",
    "dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=2,linear_factor=2,ntk_alpha=2",
    "yarn_factor=4,rope_theta=500,log_scale=true,xpos=true,beyond_critical=clip",
    "yarn_factor=8,train_length=64,beyond_critical=drop,reference_length=10,xpos=true",
    "yarn_factor=4,attention_factor=0.7,resonance=true,cope=5",
    "dynamic_yarn=octave,train_length=16,attention_factor=1.4,log_scale=true,xpos=true",
    "dynamic_yarn=continuous,beta_fast=3,mscale=4,hard_clip=3,beyond_critical=clip",
    "llama3_factor=8,rope_theta=500,resonance=true,rotated_share=0.75,scalable_softmax=0.4",
    "linear_factor=2,ntk_alpha=2,cope=4,resonance=true,attn_temperature=llama4,floor_scale=8",
    "dynamic_ntk=per_sequence,ntk_formula=qwen,reference_length=20,log_scale=true,hard_clip=2",
    "dynamic_ntk=per_query,reference_length=16,cope=6,resonance=true,attention_factor=1.3",
    "drope=true,softmax_scale=0.4,log_scale=true,xpos=true,attn_temperature=ministral3,floor_scale=8",
    "longrope_factors=1:2:3:4:5:6:7:8,longrope_ratio=8,xpos=true,hard_clip=1",
    "xpos=true,reference_length=2,log_scale=true",
    "xpos=true,reference_length=2,dynamic_ntk=per_query,beyond_critical=clip",
    "beyond_critical=clip,train_length=20,pretrain_theta=500,rope_theta=2000",
    "rope_theta=500,linear_factor=2,ntk_alpha=3,log_scale=true,dynamic_ntk=per_query,xpos=true,"
    "beyond_critical=clip,reference_length=24,pretrain_theta=800,train_length=40,tune_length=90",
]
SCALES = "log_scale=true,xpos=true,beyond_critical=clip,reference_length=32"
NARROW = [  # a handful that touches each mechanism, for every family
    "",
    "yarn_factor=4,log_scale=true",
    "rope_theta=500,dynamic_ntk=per_query,reference_length=16,xpos=true,log_scale=true",
    "dynamic_ntk=per_sequence,ntk_formula=continuous,beyond_critical=clip",
    "dynamic_ntk=per_query,beyond_critical=drop,linear_factor=2",
]
BORDERS = [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 129]


def ours(model: PreTrainedModel, spec: RopeSpec, input_ids: torch.Tensor) -> torch.Tensor:
    with patched(model, spec):
        return models.log_probabilities(model, input_ids)


def assert_brute_force_agrees(model: PreTrainedModel, text: str, length: int) -> None:
    spec = RopeSpec.parse(text)
    input_ids = models.token_ids(length)
    expected = brute_force.log_probabilities(model, spec, input_ids[0].tolist())
    assert_close(ours(model, spec, input_ids)[0], torch.from_numpy(expected), rtol=0, atol=NATS)


# ---- against the equations ---------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", *ALONE, *TOGETHER])
def test_equals_brute_force(text: str) -> None:
    assert_brute_force_agrees(models.tiny(), text, 103)


@pytest.mark.parametrize("family", [f for f in models.FAMILIES if f != "llama"])
@pytest.mark.parametrize("text", NARROW)
def test_every_family_equals_brute_force(family: str, text: str) -> None:
    assert_brute_force_agrees(models.tiny(family), text, 67)


@pytest.mark.parametrize("length", BORDERS)
@pytest.mark.parametrize(
    "method",
    [
        "dynamic_ntk=per_query",
        "dynamic_ntk=per_sequence",
        "dynamic_ntk=per_sequence,ntk_formula=continuous",
        "dynamic_ntk=per_query,xpos=true,log_scale=true,rope_theta=500",
    ],
)
def test_equals_brute_force_about_the_borders_of_octaves(method: str, length: int) -> None:
    assert_brute_force_agrees(models.tiny(), f"{method},reference_length={REFERENCE}", length)


@pytest.mark.parametrize("rope_type", models.SCALED)
@pytest.mark.parametrize("text", ["", SCALES, *MASKS])
def test_frequencies_of_the_config_equal_brute_force(rope_type: str, text: str) -> None:
    assert_brute_force_agrees(models.tiny_scaled(rope_type), text, 80)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_is_live(field: Field) -> None:
    input_ids = models.token_ids(103)
    model = models.mixed() if field.name == "layers" else models.tiny()
    first, second = (RopeSpec.parse(text) for text in field.live)
    changed = {f.name for f in FIELDS if getattr(first, f.name) != getattr(second, f.name)}
    refining = {f.name for f in FIELDS if field.name in f.only_with}
    assert field.name in changed <= {field.name} | refining
    costs = [models.nll(ours(model, s, input_ids), input_ids) for s in (first, second)]
    assert (costs[0] - costs[1]).abs().mean() > 0.3


@pytest.mark.parametrize("text", ALONE)
def test_every_example_is_live_past_training(text: str) -> None:
    input_ids = models.token_ids(103)
    stock, changed = (
        models.nll(ours(models.tiny(), RopeSpec.parse(t), input_ids), input_ids) for t in ("", text)
    )
    assert (stock - changed)[:, models.TRAIN_LENGTH :].abs().mean() > 0.3


def test_every_method_has_an_example_and_a_neutral_setting() -> None:
    assert all(method.examples and method.neutral for method in METHODS)
    for method in METHODS:
        assert all(method.is_active(RopeSpec.parse(text)) for text in method.examples)


@pytest.mark.parametrize("text", [text for method in METHODS for text in method.neutral])
def test_a_neutral_value_changes_no_bit(text: str) -> None:
    input_ids = models.token_ids(103)
    found, expected = (ours(models.tiny(), RopeSpec.parse(t), input_ids) for t in (text, ""))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.parametrize("method", [*ALONE, "dynamic_ntk=per_query,reference_length=10"])
def test_every_method_is_live_in_every_family(family: str, method: str) -> None:
    model, input_ids = models.tiny(family), models.token_ids(103)
    stock = models.nll(models.log_probabilities(model, input_ids), input_ids)
    spec = models.fitted(method, models.pairs_of(family))
    changed = models.nll(ours(model, spec, input_ids), input_ids)
    assert (stock - changed).abs().mean() > 0.1


# ---- against transformers ----------------------------------------------------------------------


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.parametrize("length", [1, 33, 150])
def test_neutral_is_stock(family: str, length: int) -> None:
    model, input_ids = models.tiny(family), models.token_ids(length, rows=2)
    stock = models.log_probabilities(model, input_ids)
    assert_close(ours(model, RopeSpec(), input_ids), stock, rtol=0, atol=NATS)


@pytest.mark.parametrize("rope_type", models.SCALED)
def test_neutral_is_stock_where_the_config_scales(rope_type: str) -> None:
    model, input_ids = models.tiny_scaled(rope_type), models.token_ids(100)
    stock = models.log_probabilities(model, input_ids)
    plain = models.log_probabilities(models.tiny(), input_ids)
    assert (stock - plain).abs().max() > 1
    assert_close(ours(model, RopeSpec(), input_ids), stock, rtol=0, atol=NATS)


@pytest.mark.parametrize("length", [20, 32, 33, 64, 100])
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_continuous_is_a_fresh_dynamic_model_of_transformers(length: int, factor: float) -> None:
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": factor}
    theirs = models.build(models.config_of("llama", rope_parameters=dynamic))
    input_ids = models.token_ids(length)
    spec = RopeSpec(dynamic_ntk="per_sequence", ntk_formula="continuous", ntk_factor=factor)
    found = ours(models.tiny(), spec, input_ids)
    assert_close(found, models.log_probabilities(theirs, input_ids), rtol=0, atol=NATS)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("rope_theta=500", {"rope_type": "default", "rope_theta": 500.0}),
        ("linear_factor=4", models.SCALED["linear"]),
        ("yarn_factor=4", models.SCALED["yarn"]),
        ("yarn_factor=4,rope_theta=500", models.SCALED["yarn"] | {"rope_theta": 500.0}),
    ],
)
def test_a_field_is_what_the_config_would_say(text: str, parameters: dict[str, Any]) -> None:
    theirs = models.build(models.config_of("llama", rope_parameters=dict(parameters)))
    input_ids = models.token_ids(120)
    found = ours(models.tiny(), RopeSpec.parse(text), input_ids)
    assert_close(found, models.log_probabilities(theirs, input_ids), rtol=0, atol=NATS)


@pytest.mark.parametrize("method", ["dynamic_ntk=per_sequence,ntk_formula=continuous", *TOGETHER])
def test_results_do_not_depend_on_what_ran_before(method: str) -> None:
    model, spec = models.tiny(), RopeSpec.parse(method)
    short, long = models.token_ids(40), models.token_ids(110)
    fresh = ours(model, spec, short)
    with patched(model, spec):
        models.log_probabilities(model, long)
        assert torch.equal(models.log_probabilities(model, short), fresh)


def test_a_loaded_half_precision_checkpoint(tmp_path: Any) -> None:
    model = models.tiny_scaled("llama3")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    input_ids = models.token_ids(60)
    stock = models.log_probabilities(loaded, input_ids)
    found = ours(loaded, RopeSpec(), input_ids)
    assert (found - stock).abs().mean() < 0.1
    assert_close(geometry(loaded).inv_freq, geometry(model).inv_freq)


# ---- what it leaves behind ---------------------------------------------------------------------


def snapshot(model: PreTrainedModel) -> dict[str, Any]:
    """Everything of a model that `patched` could leave changed."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {
        "tensors": {name: x.clone() for name, x in tensors.items()},
        "identities": {name: id(x) for name, x in tensors.items()},
        "modules": {
            name: {key: id(value) for key, value in vars(module).items()}
            for name, module in model.named_modules()
        },
        "configs": {
            name: copy.deepcopy(vars(module.config))
            for name, module in model.named_modules()
            if hasattr(module, "config")
        },
        "training": [module.training for module in model.modules()],
    }


def assert_unchanged(model: PreTrainedModel, before: dict[str, Any]) -> None:
    after = snapshot(model)
    tensors, others = before.pop("tensors"), after.pop("tensors")
    assert before == after
    assert tensors.keys() == others.keys()
    for name, x in tensors.items():
        assert torch.equal(x, others[name]), name


EVERYTHING = TOGETHER[-1]


@pytest.mark.parametrize("family", models.FAMILIES)
def test_restores_bit_for_bit(family: str) -> None:
    model, input_ids = models.tiny(family), models.token_ids(50)
    stock, before = models.log_probabilities(model, input_ids), snapshot(model)
    with patched(model, RopeSpec.parse(EVERYTHING)) as same:
        assert same is model
        assert not torch.equal(models.log_probabilities(model, input_ids), stock)
        score_tokens(model, input_ids[0])
        model.generate(input_ids, max_new_tokens=3, do_sample=False)
    assert_unchanged(model, before)
    assert torch.equal(models.log_probabilities(model, input_ids), stock)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_restores_after_an_exception(error: type[BaseException]) -> None:
    model, input_ids = models.tiny(), models.token_ids(50)
    stock, before = models.log_probabilities(model, input_ids), snapshot(model)
    with pytest.raises(error), patched(model, RopeSpec.parse(EVERYTHING)):
        models.log_probabilities(model, input_ids)
        raise error
    assert_unchanged(model, before)
    assert torch.equal(models.log_probabilities(model, input_ids), stock)


@pytest.mark.parametrize(
    "text", ["tune_length=16,log_scale=true", "train_length=9,tune_length=8,xpos=true"]
)
def test_a_spec_that_is_refused_changes_nothing(text: str) -> None:
    model = models.tiny()
    before = snapshot(model)
    with pytest.raises(SpecError), patched(model, RopeSpec.parse(text)):
        pass
    assert_unchanged(model, before)


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "flash_attention_2"])
def test_the_attention_implementation_is_restored(implementation: str) -> None:
    model = copy.deepcopy(models.tiny())
    model.config._attn_implementation = implementation
    with patched(model, RopeSpec()):
        models.log_probabilities(model, models.token_ids(5))
        assert model.config._attn_implementation != implementation
    assert model.config._attn_implementation == implementation


def test_nested_blocks_take_the_inner_spec_alone() -> None:
    model, input_ids = models.tiny(), models.token_ids(70)
    outer, inner = RopeSpec(rope_theta=500, log_scale=True), RopeSpec(xpos=True)
    expected_outer, expected_inner = ours(model, outer, input_ids), ours(model, inner, input_ids)
    before = snapshot(model)
    with patched(model, outer):
        with patched(model, inner):
            assert torch.equal(models.log_probabilities(model, input_ids), expected_inner)
        assert torch.equal(models.log_probabilities(model, input_ids), expected_outer)
        with pytest.raises(RuntimeError), patched(model, inner):
            raise RuntimeError
        assert torch.equal(models.log_probabilities(model, input_ids), expected_outer)
    assert_unchanged(model, before)


def test_settings_may_leave_in_any_order() -> None:
    model, input_ids = models.tiny(), models.token_ids(70)
    specs = [RopeSpec(rope_theta=500), RopeSpec(xpos=True), RopeSpec(linear_factor=3)]
    expected = [ours(model, spec, input_ids) for spec in specs]
    before = snapshot(model)
    one, two, three = (patched(model, spec) for spec in specs)
    for some in (one, two, three):
        some.__enter__()
    for leaving, front in ((two, 2), (three, 0)):
        leaving.close()
        assert torch.equal(models.log_probabilities(model, input_ids), expected[front])
    one.close()
    one.close()  # a second time is no error
    assert_unchanged(model, before)


def test_a_setting_is_brought_in_front_for_a_while() -> None:
    model, input_ids = models.tiny(), models.token_ids(70)
    specs = [RopeSpec(rope_theta=500), RopeSpec(xpos=True)]
    expected = [ours(model, spec, input_ids) for spec in specs]
    one, two = (patched(model, spec) for spec in specs)
    with one, two:
        with one.in_front():
            assert torch.equal(models.log_probabilities(model, input_ids), expected[0])
        assert torch.equal(models.log_probabilities(model, input_ids), expected[1])
        with pytest.raises(RuntimeError, match="on its model already"):
            one.__enter__()
        with one.in_front():
            two.close()
        assert torch.equal(models.log_probabilities(model, input_ids), expected[0])
    with pytest.raises(SpecError, match="was closed"), one.in_front():
        pass


def test_two_models_at_once_and_one_model_twice() -> None:
    one, two, input_ids = models.tiny(), models.tiny("qwen3"), models.token_ids(70)
    a, b = RopeSpec.parse(TOGETHER[1]), RopeSpec.parse(TOGETHER[5])
    expected = ours(one, a, input_ids), ours(two, b, input_ids)
    stock = models.log_probabilities(two, input_ids)
    with patched(one, a):
        assert torch.equal(models.log_probabilities(two, input_ids), stock)
        with patched(two, b):
            for _ in range(2):
                assert torch.equal(models.log_probabilities(one, input_ids), expected[0])
                assert torch.equal(models.log_probabilities(two, input_ids), expected[1])
    assert torch.equal(ours(one, a, input_ids), expected[0])


def test_gradients_flow() -> None:
    model, input_ids = copy.deepcopy(models.tiny()), models.token_ids(40)
    gradients = []
    for spec in (None, RopeSpec()):
        model.zero_grad()
        if spec is None:
            model(input_ids, labels=input_ids).loss.backward()
        else:
            with patched(model, spec):
                model(input_ids, labels=input_ids).loss.backward()
        gradient = model.model.layers[0].self_attn.q_proj.weight.grad
        assert gradient is not None
        gradients.append(gradient.clone())
    assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4)


# ---- refusals, by name -------------------------------------------------------------------------


def small(kind: Any, **changes: Any) -> PreTrainedModel:
    config = kind(**{**models.SHAPE, **changes})
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (GPT2Config, {"n_embd": 64}, "this gpt2 model has no rotary module"),
        (BloomConfig, {}, "this bloom model has no rotary module"),
    ],
)
def test_other_models_are_refused(kind: Any, changes: dict[str, Any], message: str) -> None:
    model = small(kind, **changes)
    before = snapshot(model)
    with pytest.raises(UnsupportedModelError, match=message), patched(model, RopeSpec()):
        pass
    with pytest.raises(UnsupportedModelError, match=message):
        score_tokens(model, torch.arange(4))
    assert_unchanged(model, before)


def test_a_window_that_no_layer_uses_is_no_window() -> None:
    changes = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2}
    model = models.build(models.config_of("qwen2", **changes))
    input_ids = models.token_ids(60)
    stock = models.log_probabilities(model, input_ids)
    assert_close(ours(model, RopeSpec(), input_ids), stock, rtol=0, atol=NATS)


def dynamic_model(factor: float = 2.0) -> PreTrainedModel:
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": factor}
    return models.build(models.config_of("llama", rope_parameters=dynamic))


@pytest.mark.parametrize("text", ["", "rope_theta=500", "log_scale=true", "linear_factor=2"])
def test_frequencies_that_depend_on_what_ran_before_are_refused(text: str) -> None:
    message = (
        "rope_type=dynamic, whose frequencies depend on .*: give .* "
        "dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=… .transformers' dynamic"
    )
    model = dynamic_model()
    with pytest.raises(UnsupportedModelError, match=message), patched(model, RopeSpec.parse(text)):
        pass


@pytest.mark.parametrize("text", ["", "drope=true", "rope_theta=500"])
def test_the_scale_of_a_checkpoint_of_drope_is_not_left_out(text: str) -> None:
    model = models.build(models.config_of("llama", softmax_scale=0.5))
    message = "config has softmax_scale=0.5, DroPE's, .* give drope=true,softmax_scale=0.5"
    with pytest.raises(SpecError, match=message), patched(model, RopeSpec.parse(text)):
        pass
    spec, input_ids = RopeSpec.parse("drope=true,softmax_scale=0.5"), models.token_ids(60)
    assert_close(ours(model, spec, input_ids), ours(models.tiny(), spec, input_ids), rtol=0, atol=0)
    assert all(moved > 0 for moved in prove(model, spec).moves.values())


@pytest.mark.parametrize("length", [20, 32, 33, 100])
def test_a_setting_takes_the_place_of_such_frequencies(length: int) -> None:
    model, input_ids = dynamic_model(), models.token_ids(length)
    expected = models.log_probabilities(dynamic_model(), input_ids)
    continuous = "dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=2"
    models.log_probabilities(model, models.token_ids(200))  # what it ran before
    with patched(model, RopeSpec.parse(continuous)):
        found = models.log_probabilities(model, input_ids)
        scores = score_tokens(model, input_ids[0], chunk_size=7).nll
    assert_close(found, expected, rtol=0, atol=NATS)
    nll = models.nll(expected, input_ids)[0]
    assert_close(torch.from_numpy(scores).double(), nll, rtol=0, atol=NATS)
    for text in (
        f"{continuous},rope_theta=500,log_scale=true",
        "dynamic_ntk=per_query",
        "dynamic_yarn=octave",
        "yarn_factor=4",
        "drope=true",
    ):
        spec = RopeSpec.parse(text)
        assert_close(
            ours(model, spec, input_ids), ours(models.tiny(), spec, input_ids), rtol=0, atol=0
        )
        assert all(moved > 0 for moved in prove(model, spec).moves.values())


@pytest.mark.parametrize("rope_type", models.SCALED)
def test_another_base_keeps_the_scaling_of_the_config(rope_type: str) -> None:
    changed = models.SCALED[rope_type] | {"rope_theta": 500.0}
    theirs = models.build(models.config_of("llama", rope_parameters=changed))
    input_ids = models.token_ids(100)
    found = ours(models.tiny_scaled(rope_type), RopeSpec(rope_theta=500), input_ids)
    assert_close(found, models.log_probabilities(theirs, input_ids), rtol=0, atol=NATS)


@pytest.mark.parametrize("rope_type", models.SCALED)
def test_frequencies_that_the_config_scales_are_not_set(rope_type: str) -> None:
    model = models.tiny_scaled(rope_type)
    before = snapshot(model)
    with (
        pytest.raises(SpecError, match="set rope_parameters to rope_type=default"),
        patched(model, RopeSpec(yarn_factor=2)),
    ):
        pass
    assert_unchanged(model, before)


@pytest.mark.parametrize("use_cache", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
def test_packed_positions_are_refused(use_cache: bool, with_mask: bool) -> None:
    position_ids = torch.cat([torch.arange(6), torch.arange(4)])[None]
    mask = torch.ones(1, 10, dtype=torch.long) if with_mask else None
    with (
        patched(models.tiny(), RopeSpec()),
        pytest.raises(UnsupportedModelError, match="packed sequences"),
    ):
        models.tiny()(
            models.token_ids(10),
            position_ids=position_ids,
            attention_mask=mask,
            use_cache=use_cache,
        )


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_a_ready_made_mask_is_refused(dtype: torch.dtype) -> None:
    mask = torch.ones(1, 1, 10, 10).tril().to(dtype)
    with (
        patched(models.tiny(), RopeSpec()),
        pytest.raises(UnsupportedModelError, match="ready-made attention mask of 4 dimensions"),
    ):
        models.tiny()(models.token_ids(10), attention_mask=mask)


def test_a_static_cache_is_refused() -> None:
    with (
        patched(models.tiny(), RopeSpec()),
        pytest.raises(UnsupportedModelError, match="a cache of fixed size"),
    ):
        models.tiny().generate(
            models.token_ids(10), max_new_tokens=4, cache_implementation="static"
        )


def test_attention_dropout_is_refused() -> None:
    model = models.build(models.config_of("llama", attention_dropout=0.1)).train()
    with (
        patched(model, RopeSpec()),
        pytest.raises(UnsupportedModelError, match=r"attention dropout of 0\.1"),
    ):
        model(models.token_ids(10))


def test_bidirectional_attention_is_refused() -> None:
    model = models.build(models.config_of("llama"))
    model.config.is_causal = False
    with pytest.raises(UnsupportedModelError, match="neither causal"), patched(model, RopeSpec()):
        pass


def test_positions_may_begin_anywhere() -> None:
    model, input_ids = models.tiny(), models.token_ids(40)
    stock = models.log_probabilities(model, input_ids)
    with patched(model, RopeSpec()):
        moved = models.log_probabilities(
            model, input_ids, position_ids=torch.arange(500, 540)[None]
        )
    assert_close(moved, stock, rtol=0, atol=2e-4)


def test_positions_skip_a_hole_in_the_mask_as_generate_does() -> None:
    model, input_ids = models.tiny(), models.token_ids(50)
    mask = torch.ones(1, 50, dtype=torch.long)
    mask[0, 20:25] = 0
    stock = models.log_probabilities(
        model, input_ids, attention_mask=mask, position_ids=mask.cumsum(-1) - 1
    )
    with patched(model, RopeSpec()):
        found = models.log_probabilities(model, input_ids, attention_mask=mask)
    kept = mask.bool()
    assert_close(found[kept], stock[kept], rtol=0, atol=NATS)


# ---- found by suspicion ------------------------------------------------------------------------


def test_rows_whose_keys_would_precede_position_0_are_refused() -> None:
    model = models.tiny()
    cache = DynamicCache(config=model.config)
    with patched(model, RopeSpec()), torch.no_grad():
        model(models.token_ids(6, rows=2), **{cache_argument(model): cache})
        with pytest.raises(UnsupportedModelError, match="need an attention_mask"):
            model(
                models.token_ids(1, rows=2),
                position_ids=torch.tensor([[6], [3]]),
                **{cache_argument(model): cache},
            )


@pytest.mark.parametrize("which", ["attention_mask", "position_ids"])
def test_tensors_changed_in_place_between_calls_are_read_again(which: str) -> None:
    model, input_ids = models.tiny(), models.token_ids(50)
    given = {"position_ids": torch.arange(50)[None].clone()}
    if which == "attention_mask":
        given["attention_mask"] = torch.ones(1, 50, dtype=torch.bool)
        given["attention_mask"][:, :3] = False
    with patched(model, RopeSpec(log_scale=True, reference_length=8)):
        models.log_probabilities(model, input_ids, **given)
        if which == "attention_mask":
            given[which][:, :10] = False
        else:
            given[which] += 100
        found = models.log_probabilities(model, input_ids, **given)
        copies = {name: x.clone() for name, x in given.items()}
        expected = models.log_probabilities(model, input_ids, **copies)
    assert_close(found[:, 10:], expected[:, 10:], rtol=0, atol=NATS)


@pytest.mark.parametrize("padded", [False, True])
def test_a_mask_shorter_than_the_keys_is_refused(padded: bool) -> None:
    model = models.tiny()
    cache = {cache_argument(model): DynamicCache(config=model.config)}
    first = torch.ones(2, 6, dtype=torch.long)
    first[0, :3] = 0
    second = first[:, 2:] if padded else torch.ones(2, 4, dtype=torch.long)
    with patched(model, RopeSpec()), torch.no_grad():
        model(models.token_ids(6, rows=2), attention_mask=first, **cache)
        with pytest.raises(RopeEvalError, match="attention_mask"):
            model(models.token_ids(4, rows=2), attention_mask=second, **cache)


def test_packed_positions_beside_padding_are_refused() -> None:
    position_ids = torch.cat([torch.arange(6), torch.arange(4)])[None]
    mask = torch.ones(1, 10, dtype=torch.long)
    mask[0, 0] = 0
    with (
        patched(models.tiny(), RopeSpec()),
        pytest.raises(UnsupportedModelError, match="packed sequences"),
    ):
        models.tiny()(models.token_ids(10), position_ids=position_ids, attention_mask=mask)


def test_attention_is_patched_whichever_config_it_reads() -> None:
    model, input_ids = copy.deepcopy(models.tiny()), models.token_ids(50)
    model.config = copy.deepcopy(model.config)
    stock = models.log_probabilities(model, input_ids)
    try:
        found = ours(model, RopeSpec(), input_ids)
    except UnsupportedModelError:
        return
    assert_close(found, stock, rtol=0, atol=NATS)


def test_a_model_that_shares_its_config_with_a_patched_one_is_left_alone() -> None:
    config = models.config_of("llama")
    one, two = models.build(config), models.build(config)
    input_ids = models.token_ids(50)
    stock = models.log_probabilities(two, input_ids)
    with patched(one, RopeSpec(rope_theta=500)):
        assert_close(models.log_probabilities(two, input_ids), stock, rtol=0, atol=NATS)


def test_a_forward_with_gradients_after_one_without() -> None:
    model, input_ids = models.tiny(), models.token_ids(50)
    with patched(model, RopeSpec()):
        score_tokens(model, input_ids[0])
        assert model(input_ids[:, :40]).logits.requires_grad
