"""RopeSpec as a value: checked, written, read back, told apart."""

import contextlib
import copy
import dataclasses
import inspect
import json
import math
import pickle
from typing import Any

import pytest
import yaml

from rope_eval.errors import RopeEvalError, SpecError
from rope_eval.rope import methods
from rope_eval.rope.spec import FIELDS, RopeSpec
from rope_eval.rope.values import Field, plain, written

MANY_FIELDS: dict[str, Any] = {
    "rope_theta": 500.0,
    "linear_factor": 2.0,
    "ntk_alpha": 8.0,
    "log_scale": True,
    "dynamic_ntk": "per_sequence",
    "ntk_formula": "continuous",
    "ntk_factor": 2.0,
    "xpos": True,
    "beyond_critical": "drop",
    "reference_length": 4096.5,
    "pretrain_theta": 20000.0,
    "train_length": 4096,
    "tune_length": 16384,
}


def with_field(name: str, value: object, **others: Any) -> RopeSpec:
    fields: dict[str, Any] = {name: value, **others}
    return RopeSpec(**fields)


@pytest.mark.parametrize("name", ["rope_theta", "pretrain_theta"])
@pytest.mark.parametrize(
    "value", [1, 1.0, 0, -5, math.nan, math.inf, -math.inf, "nan", "inf", "ten", "", True, [500]]
)
def test_a_base_is_a_finite_number_above_one(name: str, value: object) -> None:
    with pytest.raises(SpecError, match=rf"{name} must be a (finite )?number greater than 1, got"):
        with_field(name, value)


@pytest.mark.parametrize("name", ["linear_factor", "ntk_alpha", "yarn_factor", "ntk_factor"])
@pytest.mark.parametrize("value", [0.999, 0, -1, math.nan, math.inf, "two", None, False])
def test_a_factor_is_a_finite_number_of_at_least_one(name: str, value: object) -> None:
    with pytest.raises(SpecError, match=rf"{name} must be a (finite )?number 1 or more, got"):
        with_field(name, value)


@pytest.mark.parametrize("name", ["train_length", "tune_length"])
@pytest.mark.parametrize("value", [6, 0, -4096, 4096.5, math.nan, math.inf, "long", True])
def test_a_length_is_a_whole_number_of_tokens(name: str, value: object) -> None:
    with pytest.raises(SpecError, match=rf"{name} must be a "):
        with_field(name, value)


@pytest.mark.parametrize("name", ["log_scale", "xpos"])
@pytest.mark.parametrize("value", [1, 0, None, "yes", "", 1.0])
def test_a_flag_is_true_or_false(name: str, value: object) -> None:
    with pytest.raises(SpecError, match=f"{name} must be true or false, got"):
        with_field(name, value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dynamic_ntk": "per_querry"}, r"per_querry'\. Did you mean 'per_query'\?"),
        ({"dynamic_ntk": 1}, "dynamic_ntk must be false, per_query or per_sequence, got 1"),
        ({"dynamic_ntk": None}, "dynamic_ntk must be"),
        ({"beyond_critical": "klip"}, r"Did you mean 'clip'\?"),
        (
            {"ntk_formula": "continous", "dynamic_ntk": "per_sequence"},
            r"Did you mean 'continuous'\?",
        ),
        ({"reference_length": "exta"}, "reference_length must be extra, train, or a number"),
        ({"reference_length": 1}, "greater than 1, got 1"),
        ({"reference_length": math.nan}, "got nan"),
        ({"reference_length": True}, "got True"),
        ({"reference_length": None}, "got None"),
    ],
)
def test_a_choice_names_what_it_may_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        RopeSpec(**fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yarn_factor=2,linear_factor=2", "linear_factor cannot be combined with yarn_factor"),
        ("yarn_factor=2,ntk_alpha=2", "ntk_alpha cannot be combined with yarn_factor: both set"),
        ("yarn_factor=2,dynamic_ntk=per_query", "yarn_factor cannot be combined"),
        (
            "yarn_factor=2,dynamic_ntk=per_sequence",
            "yarn_factor cannot be combined with dynamic_ntk",
        ),
        ("ntk_formula=continuous", "per_sequence alone, got dynamic_ntk=False"),
        ("ntk_formula=continuous,dynamic_ntk=per_query", "per_sequence alone, got dynamic_ntk=per"),
        ("ntk_factor=2,dynamic_ntk=per_sequence", "ntk_factor=2 has no meaning"),
    ],
)
def test_a_combination_without_meaning_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        RopeSpec.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "yarn_factor=2,rope_theta=500,log_scale=true,xpos=true,beyond_critical=clip",
        "linear_factor=2,ntk_alpha=2,dynamic_ntk=per_query,rope_theta=500,xpos=true",
        "dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=2,linear_factor=2",
    ],
)
def test_every_other_combination_is_allowed(text: str) -> None:
    assert str(RopeSpec.parse(text)).count("=") == text.count("=")


def test_values_are_normalised() -> None:
    spec = RopeSpec.parse(
        " rope_theta = 500 , log_scale=TRUE,dynamic_ntk=True,train_length=4096,"
        "tune_length=none,reference_length=4096,"
    )
    assert spec == RopeSpec(
        rope_theta=500,
        log_scale=True,
        dynamic_ntk="per_query",
        train_length=4096,
        reference_length=4096,
    )
    assert (type(spec.rope_theta), type(spec.train_length)) == (float, int)
    assert type(spec.reference_length) is float
    assert RopeSpec.parse("train_length=4e3").train_length == 4000
    assert RopeSpec(dynamic_ntk=True).dynamic_ntk == "per_query"  # type: ignore[arg-type]
    assert RopeSpec.parse("dynamic_ntk=false,log_scale=False") == RopeSpec()


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_an_empty_text_is_neutral(text: str) -> None:
    assert RopeSpec.parse(text) == RopeSpec()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rope_theta", "written name=value, got 'rope_theta'"),
        ("rope_theta=", "written name=value"),
        ("xpos=true,rope_theta=5,rope_theta=6", "rope_theta is given twice"),
        ("rope_teta=500", r"no field 'rope_teta'\. Did you mean 'rope_theta'\?"),
        ("base=500", "no field 'base'.*The fields are: rope_theta, linear_factor"),
        ("=500", "no field ''"),
    ],
)
def test_parse_refuses(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        RopeSpec.parse(text)


def test_an_error_is_for_the_user() -> None:
    with pytest.raises(RopeEvalError) as caught:
        RopeSpec(rope_theta=0.5)
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, ValueError)


def test_the_fields_are_the_registrys() -> None:
    assert tuple(f.name for f in dataclasses.fields(RopeSpec)) == FIELDS
    assert tuple(inspect.signature(RopeSpec).parameters) == FIELDS
    assert set(MANY_FIELDS) < set(FIELDS)
    for field in methods.FIELDS:
        assert getattr(RopeSpec(), field.name) == field.default
        assert f"    {field.name}: " in (RopeSpec.__doc__ or "")


def test_to_dict_and_back_through_json_and_yaml() -> None:
    spec = RopeSpec(**MANY_FIELDS)
    fields = spec.to_dict()
    assert fields == MANY_FIELDS
    assert list(fields) == list(MANY_FIELDS)
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == spec
    assert dataclasses.replace(spec) == spec.replace() == spec
    assert RopeSpec.from_dict(fields) == spec
    assert RopeSpec.from_dict(json.loads(json.dumps(fields))) == spec
    assert RopeSpec.from_dict(yaml.safe_load(yaml.safe_dump(fields))) == spec
    assert RopeSpec.parse(str(spec)) == spec
    assert RopeSpec().to_dict() == {}


@pytest.mark.parametrize("field", methods.FIELDS, ids=lambda field: field.name)
def test_each_field_alone_is_written_read_and_told_apart(field: Field) -> None:
    name, spec = field.name, RopeSpec.parse(field.live[1])
    value = getattr(spec, name)
    refining = {f.name: f.default for f in methods.FIELDS if name in f.only_with}
    without = RopeSpec()
    with contextlib.suppress(SpecError):  # of fields that are refused without it
        without = spec.replace(**{name: field.default}, **refining)
    spec = without.replace(**{name: value})
    assert spec != without
    assert spec.fingerprint() != without.fingerprint()
    assert f"{name}={written(value)}" in str(spec).split(",")
    assert spec.to_dict() == without.to_dict() | {name: plain(value)}
    assert RopeSpec.from_dict(yaml.safe_load(yaml.safe_dump(spec.to_dict()))) == spec
    assert RopeSpec.parse(str(spec)) == spec == RopeSpec.from_dict(spec.to_dict())
    assert spec.fingerprint() == RopeSpec.from_dict(spec.to_dict()).fingerprint()


def test_a_fingerprint_is_of_the_values_and_pinned() -> None:
    assert (
        RopeSpec(rope_theta=500).fingerprint()
        == RopeSpec.parse("rope_theta=5e2").fingerprint()
        == RopeSpec(rope_theta=500.0, linear_factor=1).fingerprint()
    )
    assert len(RopeSpec().fingerprint()) == 12
    assert RopeSpec().fingerprint() == "44136fa355b3"  # the SHA-256 of "{}"
    assert hash(RopeSpec(xpos=True)) == hash(RopeSpec(xpos=True))


@pytest.mark.parametrize("value", [10000.123456789012, 1 / 3 + 1, 1e300])
def test_the_text_of_a_spec_keeps_ten_digits_and_its_dict_keeps_all(value: float) -> None:
    spec = RopeSpec(rope_theta=value)
    assert RopeSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    theta = RopeSpec.parse(str(spec)).rope_theta
    assert theta is not None
    assert math.isclose(theta, value, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("text", "neutral", "frequencies"),
    [
        ("", True, False),
        ("train_length=4096,tune_length=8192,reference_length=train,pretrain_theta=500", True, 0),
        ("rope_theta=500", False, True),
        ("linear_factor=2", False, True),
        ("ntk_alpha=2", False, True),
        ("yarn_factor=2", False, True),
        ("dynamic_ntk=per_query", False, True),
        ("log_scale=true", False, False),
        ("xpos=true", False, False),
        ("beyond_critical=clip", False, False),
    ],
)
def test_what_a_spec_changes(text: str, neutral: bool, frequencies: bool) -> None:
    spec = RopeSpec.parse(text)
    assert spec.is_neutral == neutral
    assert spec.changes_frequencies == frequencies
    changes = "per_query" if "per_query" in text else "never"
    assert spec.base_changes == changes
    assert (str(spec) == "neutral") == (text == "")


def test_when_the_base_changes() -> None:
    for text in ("", "rope_theta=500,ntk_alpha=2,xpos=true", "dynamic_ntk=false"):
        assert RopeSpec.parse(text).base_changes == "never"
    for how in ("per_query", "per_sequence"):
        assert RopeSpec.parse(f"dynamic_ntk={how}").base_changes == how


def test_a_spec_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RopeSpec().xpos = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        RopeSpec(500.0)  # type: ignore[call-arg]


def test_a_field_name_that_is_not_text_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match="no field 500"):
        RopeSpec.from_dict(yaml.safe_load("500: rope_theta"))
