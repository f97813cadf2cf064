"""Prompts past a model's length are counted by task and item, said once, and refused strictly."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from helpers import lm_eval_files
from rope_eval.errors import LengthError
from rope_eval.hosts.lm_eval.cuts import Cuts
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.tidy import rows

LONG = "words and " * 20
SHORT = "It was"
GENERATE: dict[str, Any] = {"until": [], "max_gen_toks": 4}


def request(kind: str, task: str | None, item: int, *args: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=args, idx=0, metadata=(task, item, 1))


def choices(task: str, *contexts: str) -> list[Instance]:
    """Return two choices of each item."""
    return [
        request("loglikelihood", task, item, context, choice)
        for item, context in enumerate(contexts)
        for choice in (" x", " y")
    ]


def prompts(task: str, *contexts: str) -> list[Instance]:
    return [request("generate_until", task, i, c, GENERATE) for i, c in enumerate(contexts)]


@pytest.fixture(scope="module")
def model() -> Callable[..., ScalingRopeLM]:
    def of(**given: Any) -> ScalingRopeLM:
        return ScalingRopeLM(
            config="lab/base-20",
            device="cpu",
            max_length=64,
            truncation=True,
            proof="off",
            batch_size=4,
            **given,
        )

    return of


def test_each_task_has_its_count(
    model: Callable[..., ScalingRopeLM], caplog: pytest.LogCaptureFixture
) -> None:
    with model() as lm, caplog.at_level(logging.WARNING, "rope_eval"):
        lm.loglikelihood(choices("a", LONG, SHORT, LONG + "x") + choices("b", SHORT), True)
        lm.generate_until(prompts("c", SHORT, LONG, SHORT + " x") + prompts("d", LONG), True)
        assert lm.get_model_info()["cut_prompts"] == {
            "a": {"cut": 2, "of": 3},
            "c": {"cut": 1, "of": 3},  # a batch's padding is no cut
            "d": {"cut": 1, "of": 1},
        }
        lm.loglikelihood(choices("a", SHORT, LONG), True)  # the task is run anew
        assert lm.get_model_info()["cut_prompts"]["a"] == {"cut": 1, "of": 2}
    said = [one.getMessage() for one in caplog.records if "lose their beginning" in one.msg]
    assert len(said) == 1
    assert "longer than max_length=64 allows" in said[0]


def test_what_just_fits_is_not_cut(model: Callable[..., ScalingRopeLM]) -> None:
    with model() as lm:
        tokens = lm.tok_encode("word " * 40)
        fits = lm.tok_decode(tokens[: 64 - 4])
        assert len(lm.tok_encode(fits)) == 60
        lm.generate_until(prompts("fits", fits), True)
        lm.generate_until(prompts("over", fits + "w"), True)
        end = lm.tok_encode(" x", add_special_tokens=False)
        whole = lm.tok_decode(tokens[: 65 - len(end)])
        lm.loglikelihood([request("loglikelihood", "fit", 0, whole, " x")], True)
        lm.loglikelihood([request("loglikelihood", "past", 0, whole + "w", " x")], True)
        found = lm.get_model_info()["cut_prompts"]
    assert found == {"over": {"cut": 1, "of": 1}, "past": {"cut": 1, "of": 1}}


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_strict_refuses(model: Callable[..., ScalingRopeLM], kind: str) -> None:
    make = choices if kind == "loglikelihood" else prompts
    with model(strict=True, rope_theta=30.0) as lm:
        getattr(lm, kind)(make("a", SHORT), True)
        with pytest.raises(LengthError, match="longer than max_length=64 allows, and would lose"):
            getattr(lm, kind)(make("a", SHORT, LONG), True)


def test_parts_of_another_request_are_not_counted() -> None:
    cuts = Cuts()
    cuts.ask(prompts("a", LONG))
    cuts.ask([request("generate_until", None, 0, LONG, GENERATE)])
    cuts.lose([LONG], 64)
    assert cuts.to_dict() == {}


def test_the_frame_says_how_many(tmp_path: Path) -> None:
    cut = {"babilong_qa1": {"cut": 3, "of": 20}}
    tasks = {"babilong_qa1": (0.5, 20), "piqa": (0.25, 20)}
    file = lm_eval_files.write(tmp_path, tasks, cut_prompts=cut)
    record = json.loads(file.read_text())
    for config in record["configs"].values():  # lm-eval hands a model's arguments to tasks
        config["metadata"]["truncation"] = True
    file.write_text(json.dumps(record))
    (imported,) = read_lm_eval(tmp_path)
    assert {row["task"]: row["remark"] for row in rows(imported.run)} == {
        "babilong_qa1": "3 of 20 prompts were cut",
        "piqa": None,
    }
    assert {row["truncation"] for row in rows(imported.run)} == {"none"}
