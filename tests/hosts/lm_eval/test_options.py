"""Every argument of `scaling_rope` is in the identity of kept answers, or said to be harmless."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest

from rope_eval.hosts.lm_eval.kept_answers import HARMLESS, asked
from rope_eval.hosts.lm_eval.model import HF_ARGUMENTS, ScalingRopeLM
from rope_eval.paths import asset

BASE: dict[str, Any] = {"config": "lab/base-20", "device": "cpu", "max_length": 128}
IN_IDENTITY: dict[str, dict[str, Any]] = {
    "pretrained": {"pretrained": str(asset("model_configs") / "lab" / "base-1e6")},
    "config": {"config": "lab/base-1e6"},
    "chunk_size": {"chunk_size": 16},
    "rolling_bos": {"rolling_bos": "one"},
}
OWN_HARMLESS = {
    "backend": ({"backend": "causal"}, "the class is in the identity: hf or vllm"),
    "strict": ({"strict": True}, "refuses requests, and changes none"),
    "proof": ({"proof": "off"}, "what is shown of the weights before the work"),
}
RECORDED = {"rope", "rope_fingerprint", "proof", "dtype", "rolling_bos"}


@pytest.fixture(scope="module")
def identity() -> Callable[..., str]:
    known: dict[str, str] = {}

    def of(**given: Any) -> str:
        name = json.dumps(given)
        if name not in known:
            with ScalingRopeLM(**(BASE | given)) as lm:
                known[name] = json.dumps(lm.answers_depend_on(), sort_keys=True)
        return known[name]

    return of


def test_every_argument_is_in_the_identity_or_harmless() -> None:
    own = set(inspect.signature(ScalingRopeLM.__init__).parameters) - {"self", "arguments"}
    assert own == set(IN_IDENTITY) | set(OWN_HARMLESS)
    assert set(HARMLESS) <= set(HF_ARGUMENTS)
    assert all(HARMLESS.values())
    of_hf = set(HF_ARGUMENTS) - {"pretrained", "backend"}
    assert set(asked(dict.fromkeys(of_hf, "given"))) == of_hf - set(HARMLESS)


@pytest.mark.parametrize("name", IN_IDENTITY)
def test_what_is_in_the_identity(name: str, identity: Callable[..., str]) -> None:
    assert identity(**IN_IDENTITY[name]) != identity()


@pytest.mark.parametrize(
    "given", [{"rope_theta": 30.0}, {"dtype": "bfloat16"}, {"max_length": 64}, {"truncation": True}]
)
def test_so_is_what_the_host_has(given: dict[str, Any], identity: Callable[..., str]) -> None:
    assert identity(**given) != identity()


@pytest.mark.parametrize(
    "given", [*(given for given, _ in OWN_HARMLESS.values()), {"batch_size": 3}]
)
def test_what_is_harmless(given: dict[str, Any], identity: Callable[..., str]) -> None:
    assert identity(**given) == identity()


def test_what_lm_eval_records_of_a_run() -> None:
    with ScalingRopeLM(**BASE, dtype="bfloat16", proof="off") as lm:
        info = lm.get_model_info()
    assert info.keys() >= RECORDED
    assert (info["dtype"], info["proof"]) == ("bfloat16", "off")
