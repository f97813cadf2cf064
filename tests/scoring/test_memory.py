"""A plan of memory: what leaves first, the least that is possible, and scores that stay."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import models
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.offload import held_bytes
from rope_eval.cli import main
from rope_eval.errors import SpecError
from rope_eval.scoring.cost import Cost
from rope_eval.scoring.documents import Loading
from rope_eval.scoring.memory import SCALED, Sizes, memory_line, plan_memory

MODEL = str(Path(__file__).parents[2] / "model_configs/lab/base-1e4")
SIZES = Sizes(weights=1000, text=500, hidden=300, per_token=1, logits=100)


def planned(budget: int, **changes: Any) -> tuple[str, int, int]:
    asked = {"chunk_size": 1024, "is_fixed": False, "device": "cpu", "what": "9 tokens"} | changes
    plan = plan_memory(SIZES, budget, **asked)
    return plan.place, plan.chunk_size, plan.held


def test_hidden_states_leave_first_and_then_chunks_get_shorter() -> None:
    assert planned(2824) == ("device", 1024, 2824)
    assert planned(2823) == ("disk", 1024, 2524)
    assert planned(2823, device="cuda") == ("host", 1024, 2524)
    assert planned(2523) == ("disk", 512, 2012)
    assert planned(1628) == ("disk", 128, 1628)


def test_less_than_the_least_is_refused_with_the_numbers() -> None:
    with pytest.raises(SpecError, match=r"9 tokens: 1\.59 KiB is the least, .* weights 0\.977 KiB"):
        planned(1627)
    with pytest.raises(SpecError, match=r"chunks of 1024 tokens"):
        planned(2523, is_fixed=True)


def test_sizes_are_those_of_the_tensors() -> None:
    cost = Cost.of(models.config_of("llama"))
    of = Sizes.of(cost, 1000, "float32", weights=7)
    keys = 1000 * cost.kv_heads * cost.head_dim * 4
    assert of.hidden == 1000 * cost.hidden * 4
    assert of.text == 2 * keys + 2 * 1000 * cost.head_dim * 4
    hardest = Sizes.of(cost, 1000, "float32", weights=7, unrotated=True, scaled=True)
    assert hardest.text - of.text == (1 + SCALED) * keys
    assert Sizes.of(cost, 1000, "bfloat16", weights=7).hidden == of.hidden // 2
    assert held_bytes(models.tiny()) >= cost.weights("float32")


@pytest.mark.parametrize("family", models.FAMILIES)
def test_hidden_states_on_disk_change_no_score(family: str) -> None:
    model, ids = models.tiny(family), models.token_ids(300)[0]
    with patched(model, RopeSpec.parse("log_scale=true,train_length=20")):
        expected = score_tokens(model, ids, chunk_size=64)
        found = score_tokens(model, ids, chunk_size=64, place="disk")
    np.testing.assert_array_equal(found.nll, expected.nll)
    np.testing.assert_array_equal(found.hit, expected.hit)


def test_the_command_says_its_plan_and_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    words = ["ppl", "--model", MODEL, "--lengths", "2k", "--docs", "1"]
    assert main([*words, "--results", str(tmp_path / "a"), "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["memory"] is None
    words += ["--results", str(tmp_path / "b"), "--memory-budget", "11MiB"]
    with caplog.at_level(logging.WARNING):
        assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    memory = facts["memory"]
    assert memory["place"] == "disk"
    assert memory["held"] <= memory["budget"] == 11 << 20
    assert memory["hidden"] == 2048 * 128 * 4
    assert memory_line(memory) in caplog.text
    assert facts["perplexity"] == pytest.approx(plain["perplexity"], rel=1e-5)
    assert facts["key"] == plain["key"]
    assert main(words) == 0
    assert f"memory {memory_line(memory)}" in capsys.readouterr().out


def test_a_budget_that_holds_no_plan_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ppl", "--model", MODEL, "--lengths", "2k", "--docs", "1", "--results", str(tmp_path)]
    assert main([*words, "--memory-budget", "2MiB"]) == 2
    assert "does not hold 2048 tokens" in capsys.readouterr().err
    assert main([*words, "--memory-budget", "2"]) == 2
    assert "such as 8GiB, got 2" in capsys.readouterr().err


def test_memory_that_ran_out_is_in_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rope_eval.backends.hf.replay import Replay

    run = Replay.run

    def small(self: Any, block: int, chunk: Any) -> None:
        if chunk.part.stop - chunk.part.start > 600:
            raise MemoryError
        run(self, block, chunk)

    monkeypatch.setattr(Replay, "run", small)
    words = ["ppl", "--model", MODEL, "--lengths", "2k", "--docs", "1", "--results", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["memory"] == {"chunk_size": 512, "ran_out": True}


def test_what_changes_scores_in_half_precision_is_in_the_key() -> None:
    small, none = Loading(memory_budget=1 << 30), Loading()
    assert small.changing("float32") == none.changing("float32") == {}
    assert small.changing("bfloat16") == none.changing("bfloat16") | {"memory_budget": 1 << 30}


def test_vllm_plans_its_own() -> None:
    for asked in ({"memory_budget": 1 << 30}, {"offload": True}):
        with pytest.raises(SpecError, match="vllm plans its own memory"):
            Loading(backend="vllm", **asked)
