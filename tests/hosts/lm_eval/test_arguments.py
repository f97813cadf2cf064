"""Values of --model_args that lm-eval would take for something else, or fail on deep inside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from rope_eval.errors import SpecError
from rope_eval.hosts.lm_eval.arguments import check_device, check_values
from rope_eval.hosts.lm_eval.model import ScalingRopeLM


@pytest.mark.parametrize("name", ["max_length", "chunk_size", "max_batch_size", "batch_size"])
@pytest.mark.parametrize("value", [-1.0, -1, 0, "abc", "", True, 2.5])
def test_numbers(name: str, value: object) -> None:
    """Once `max_length=-1` and 0 ran the config's length."""
    with pytest.raises(
        SpecError, match=f"{name} must be a whole number of . or more.*got {value!r}"
    ):
        check_values({name: value}, HFLM.__init__)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"prefix_token_id": -1.0}, r"0 or more \(the id of a token\), got -1.0"),
        ({"truncation": "left"}, "truncation must be True or False, got 'left'"),
        ({"add_bos_token": "no"}, "add_bos_token must be True or False"),
        ({"trust_remote_code": 2}, "trust_remote_code must be True or False, got 2"),
        ({"revision": 123}, "revision must be text, got 123"),
        ({"chat_template_args": "x"}, "chat_template_args must be dict"),
        ({"dtype": "abc"}, "dtype must be auto, float32"),
        ({"dtype": "nn"}, "dtype must be auto, float32"),
        ({"mixed_precision_dtype": "half16"}, "mixed_precision_dtype must be"),
        ({"batch_size": "auto:x"}, "batch_size must be"),
    ],
)
def test_types_are_those_of_lm_evals_own_annotations(given: dict[str, Any], want: str) -> None:
    with pytest.raises(SpecError, match=want):
        check_values(given, HFLM.__init__)


def test_what_lm_eval_takes_is_taken() -> None:
    check_values(
        {
            "batch_size": "auto:4",
            "max_length": 2048,
            "dtype": "bfloat16",
            "truncation": 1,
            "prefix_token_id": 0,
            "revision": None,
            "tp_plan": {"a": "b"},
            "tokenizer": object(),
            "peft": "DIR",
            "attn_implementation": "eager",
        },
        HFLM.__init__,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("strict", "maybe"), ("chunk_size", "abc"), ("max_length", -1.0), ("rolling_bos", "two")],
)
def test_the_model_checks_them(name: str, value: object) -> None:
    with pytest.raises(SpecError, match=name):
        ScalingRopeLM(**{"config": "lab/base-20", "device": "cpu", name: value})  # type: ignore[arg-type]


def test_cuda_is_lm_evals_default_and_need_not_have_been_asked_for() -> None:
    cpu = torch.device("cpu")
    for asked in (None, "cuda", "cuda:0", "cpu"):
        check_device(asked, cpu)
    for asked in ("meta", "cuda:1", "cuda:x", "cudda"):
        with pytest.raises(SpecError, match=f"the device '{asked}' cannot be used.*took 'cpu'"):
            check_device(asked, cpu)
    check_device("cuda:1", torch.device("cuda:1"))
    for got in ("cuda", "cuda:0"):
        with pytest.raises(SpecError, match=f"the device 'cuda:1' cannot be used.*took '{got}'"):
            check_device("cuda:1", torch.device(got))
