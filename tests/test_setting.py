"""A setting from what a user gives: a row, a model, fields as text or by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rope_eval.errors import DataError, SpecError
from rope_eval.rope.fields import parse_fields
from rope_eval.rope.spec import RopeSpec
from rope_eval.setting import Caller, Setting, resolve, stated

FAMILY = """\
family: mine
pretrain_theta: 500000
train_length: 8192
rows:
  - {name: dynamic, checkpoint: me/hub, rope: {rope_theta: 1000000, dynamic_ntk: per_query}}
  - {name: lacking}
"""
HOST = Caller(name="host", model="pretrained=DIR", row="config=NAME", arguments=("device", "dtype"))


@pytest.fixture(autouse=True)
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model_configs").mkdir()
    (tmp_path / "model_configs" / "mine.yaml").write_text(FAMILY)
    monkeypatch.chdir(tmp_path)


def test_a_row_and_what_is_given_beside_it() -> None:
    assert resolve(row="mine/dynamic") == Setting(
        checkpoint="me/hub",
        rope=RopeSpec(
            rope_theta=1e6, dynamic_ntk="per_query", pretrain_theta=5e5, train_length=8192
        ),
        row="mine/dynamic",
    )
    assert resolve("x", "mine/dynamic").checkpoint == "x"
    assert resolve("x", "mine/lacking").checkpoint == "x"
    assert resolve("x", fields="log_scale=true") == Setting(
        checkpoint="x", rope=RopeSpec(log_scale=True)
    )


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ("dynamic_ntk=false", "dynamic_ntk", False),
        ({"dynamic_ntk": False}, "dynamic_ntk", False),
        ("pretrain_theta=10000", "pretrain_theta", 10000),
        ({"rope_theta": None}, "rope_theta", None),
        ("rope_theta=none", "rope_theta", None),
        ("train_length=none", "train_length", None),
        ("train_length=64", "train_length", 64),
    ],
)
def test_a_field_that_is_given_wins_though_it_is_a_default(
    given: Any, field: str, value: object
) -> None:
    row = resolve(row="mine/dynamic").rope
    assert getattr(row, field) != value
    changed = resolve(row="mine/dynamic", fields=given).rope
    assert getattr(changed, field) == value
    others = set(RopeSpec.__dataclass_fields__) - {field}
    assert all(getattr(changed, name) == getattr(row, name) for name in others)


@pytest.mark.parametrize(
    "text", ["", " ", "rope_theta=500", " log_scale = true , xpos=false,", "tune_length=None"]
)
def test_text_means_what_it_means_to_a_spec(text: str) -> None:
    assert RopeSpec.from_dict(parse_fields(text)) == RopeSpec.parse(text)


@pytest.mark.parametrize("text", ["log_scale", "xpos=", "=5", "xpos=true,xpos=true", "rope_teta=5"])
def test_bad_text_is_as_bad_to_a_spec(text: str) -> None:
    messages = []
    for read in (RopeSpec.parse, lambda text: resolve("x", fields=text)):
        with pytest.raises(SpecError) as caught:
            read(text)
        messages.append(str(caught.value).split(".")[0].replace("has no field", "has no"))
    assert messages[0] == messages[1]


def test_a_loaded_model_and_a_path() -> None:
    model = SimpleNamespace(config={})
    assert resolve(model, "mine/dynamic").checkpoint is model
    assert resolve(Path("a") / "b").checkpoint == str(Path("a", "b"))
    for nothing in ("", " ", 5, [], ["x"]):
        with pytest.raises(SpecError, match="a loaded model, got"):
            resolve(nothing)


@pytest.mark.parametrize(
    ("fields", "passes_on", "message"),
    [
        ({"rope_teta": 5}, True, r"^host has no 'rope_teta'. Did you mean 'rope_theta'\? The RoPE"),
        ({"devise": "cpu"}, False, "^host has no 'devise'. Did you mean 'device'"),
        ({"zzz": 1}, False, "^host has no 'zzz'. The RoPE fields are: rope_theta, "),
        ({"rotary_pct": 0.5}, True, "^host has no 'rotary_pct'"),
        ({"rope_scaling": {"type": "linear", "factor": 4}}, True, "linear_factor=4$"),
        ({"rope_scaling": {"type": "linear", "factor": 4}}, False, "linear_factor=4$"),
        ({"hf_overrides": {"rope_theta": 5}}, True, "rope_theta in hf_overrides"),
        ({5: 1}, False, "^host has no 5"),
    ],
)
def test_a_name_that_is_none(fields: dict[Any, Any], passes_on: bool, message: str) -> None:
    caller = Caller(
        name=HOST.name,
        model=HOST.model,
        row=HOST.row,
        arguments=HOST.arguments,
        passes_on=passes_on,
    )
    with pytest.raises(SpecError, match=message):
        resolve("x", fields=fields, caller=caller)


def test_the_callers_own_arguments_and_what_it_passes_on() -> None:
    fields = {"device": "cpu", "log_scale": True}
    assert resolve("x", fields=fields, caller=HOST).rope == RopeSpec(log_scale=True)
    open_host = Caller(name="host", model="m", row="r", passes_on=True)
    assert open_host.fields_of({"zzz": 1, "xpos": True}) == {"xpos": True}


def test_what_is_missing_is_asked_for_in_the_callers_words() -> None:
    with pytest.raises(SpecError, match="give a model: --model DIR, or --config NAME for a row"):
        resolve()
    with pytest.raises(SpecError, match="give a model: pretrained=DIR, or config=NAME"):
        resolve(caller=HOST)
    with pytest.raises(DataError, match="Did you mean 'mine/dynamic'"):
        resolve(row="mine/dynamik")
    with pytest.raises(DataError, match="mine/lacking was never released"):
        resolve(row="mine/lacking")


def test_what_a_row_says_nobody_asked_for() -> None:
    made = {"pretrain_theta", "train_length", "tune_length"}
    assert resolve(None, "lab/base-1e6").stated == made | {"rope_theta"}
    assert resolve(None, "lab/base-1e6", "rope_theta=500,log_scale=true").stated == made
    assert resolve("anywhere", None, "rope_theta=500").stated == set()
    assert stated("lab/gone", RopeSpec(rope_theta=500)) == set()


def test_a_row_of_the_catalogue_has_a_name() -> None:
    with pytest.raises(SpecError, match=r"a row of the catalogue has a name .* got 5"):
        resolve(None, 5)
