"""Every argument of `ScalingRope` is in the key of its runs, or is said to change no number."""

from __future__ import annotations

from typing import Any

import pytest

from rope_eval.hosts.opencompass.configs import HOST, MODEL, models
from rope_eval.hosts.opencompass.model import CALLER, NOT_IN_KEY
from rope_eval.hosts.opencompass.summary import _provenance, _request
from rope_eval.results.identity import run_key

IN_KEY: dict[str, Any] = {
    "config": "lab/base-1e6",
    "max_seq_len": 128,
    "truncation": "middle",
    "dtype": "float32",
    "device": "cpu",
    "chunk_size": 16,
    "trust_remote_code": True,
    "meta_template": {"round": []},
    "generation_kwargs": {"do_sample": True},
    "batch_size": 3,
    "max_out_len": 7,
    "min_out_len": 2,
    "pred_postprocessor": {"type": "mine"},
}
HARMLESS = {
    "backend": "hf",
    "proof": "off",
    "strict": True,
    "allow_pickle": True,
    "tokenizer_only": True,
    "abbr": "mine",
    "run_cfg": {"num_gpus": 8},
}


def key(**given: Any) -> str:
    row = given.pop("config", "lab/base-20")
    (model,) = models(row)
    return run_key(_request("cumulative", model | given))


def test_every_argument_is_in_the_key_or_harmless() -> None:
    names = {*CALLER.arguments, *HOST}
    assert names == set(IN_KEY) | set(HARMLESS) | {"path"}
    assert set(NOT_IN_KEY) == set(HARMLESS) | {"path"}
    assert all(NOT_IN_KEY.values())
    assert set(MODEL.arguments) == names - {"config"}


@pytest.mark.parametrize("name", IN_KEY)
def test_what_is_in_the_key(name: str) -> None:
    assert key(**{name: IN_KEY[name]}) != key()


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless(name: str) -> None:
    assert key(**{name: HARMLESS[name]}) == key()


def test_another_model_and_another_setting_are_other_runs() -> None:
    (model,) = models("lab/base-20")
    (other,) = models("lab/base-1e6")
    assert key(path=other["path"]) != key()
    assert key(rope_theta=30.0) != key()
    assert _request("cumulative", model)["dtype"] == "float32"  # what "auto" comes to


def test_a_proof_that_was_left_out_is_recorded() -> None:
    (model,) = models("lab/base-20")
    assert _provenance(model)["proof"] == "by each process of inference, or it has failed"
    assert _provenance(model | {"proof": "off"})["proof"] == "off"
