"""A plan of memory: what leaves first, the least that is possible, and scores that stay."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM

from helpers import models
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.offload import held_bytes
from rope_eval.cli import main
from rope_eval.errors import SpecError
from rope_eval.scoring.continuation import continuation
from rope_eval.scoring.cost import Cost
from rope_eval.scoring.documents import Loading
from rope_eval.scoring.memory import KEPT, Sizes, memory_line, plan_memory
from rope_eval.sizes import parse_size

MODEL = str(Path(__file__).parents[2] / "model_configs/lab/base-1e4")
SIZES = Sizes(weights=1000, tables=100, keys=400, hidden=300, per_token=1, logits=100)
T = 2048
SHAPES = {  # heads, width of the feed-forward part, vocabulary, of D = 64
    "wide": (4, 2048, 300),
    "long": (8, 64, 300),
    "words": (2, 64, 32000),
}


def planned(budget: int, **changes: Any) -> tuple[str, int, int]:
    asked = {"chunk_size": 1024, "is_fixed": False, "device": "cpu", "what": "9 tokens"} | changes
    plan = plan_memory(SIZES, budget, **asked)
    return plan.place, plan.chunk_size, plan.held


def test_hidden_states_leave_first_and_then_chunks_get_shorter() -> None:
    assert planned(3280) == ("device", 1024, 3280)
    assert planned(3279) == ("disk", 1024, 2905)
    assert planned(3279, device="cuda") == ("host", 1024, 2905)
    assert planned(2904) == ("disk", 512, 2265)
    assert planned(1785) == ("disk", 128, 1785)


def test_less_than_the_least_is_refused_with_the_numbers() -> None:
    with pytest.raises(SpecError, match=r"9 tokens: 1\.75 KiB is the least, .* weights 0\.977 KiB"):
        planned(1784)
    with pytest.raises(SpecError, match=r"chunks of 1024 tokens"):
        planned(2904, is_fixed=True)


def test_a_budget_and_the_least_are_told_apart() -> None:
    sizes = dataclasses.replace(SIZES, weights=(1 << 31) + 5)
    with pytest.raises(SpecError) as refused:
        plan_memory(sizes, 1 << 31, chunk_size=64, is_fixed=True, device="cpu", what="9 tokens")
    least = re.search(r"2 GiB does not hold 9 tokens: (\S+ GiB) is the least", str(refused.value))
    assert least
    enough = parse_size(least[1])
    plan_memory(sizes, enough, chunk_size=64, is_fixed=True, device="cpu", what="9 tokens")


def test_sizes_are_those_of_the_tensors() -> None:
    cost = Cost.of(models.config_of("llama"))

    def of(rope: str, dtype: str = "float32", **more: Any) -> Sizes:
        return Sizes.of(cost, 1000, dtype, RopeSpec.parse(rope), weights=7, **more)

    keys = 1000 * cost.kv_heads * cost.head_dim * 4
    plain = of("")
    assert plain.hidden == 1000 * cost.hidden * 4
    assert plain.keys == 2 * keys
    assert plain.tables == 2 * 1000 * cost.head_dim * 4
    assert of("xpos=true,reference_length=99").keys == 3 * keys
    assert of("dynamic_ntk=per_query,xpos=true,reference_length=99").keys == 3 * keys
    assert of("", cached=True, layers=5).keys == 3 * 5 * keys
    assert of("", "bfloat16").hidden == plain.hidden // 2
    assert of("", devices=4).hidden == plain.hidden // 4
    assert of("", devices=4).keys == plain.keys
    assert held_bytes(models.tiny()) >= cost.weights("float32")


def config(shape: str, layers: int = 2) -> LlamaConfig:
    heads, wide, vocabulary = SHAPES[shape]
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=wide,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=512,
    )


def peak(work: Any) -> int:
    """Return the bytes that are allocated at most at a time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    now = most = 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize(
    ("shape", "chunk", "rope", "dtype"),
    [
        ("wide", 1024, "", "float32"),
        ("wide", 1024, "", "bfloat16"),
        ("long", 256, "dynamic_ntk=per_query", "float32"),
        ("long", 256, "dynamic_ntk=per_query,xpos=true", "float32"),
        ("words", 512, "", "float32"),
    ],
)
def test_memory_is_within_a_quarter_of_what_is_measured(
    shape: str, chunk: int, rope: str, dtype: str
) -> None:
    made = config(shape)
    model = LlamaForCausalLM(made).to(getattr(torch, dtype)).eval()
    ids = torch.randint(0, 300, (T,))
    with patched(model, RopeSpec.parse(rope)):
        measured = peak(lambda: score_tokens(model, ids, chunk_size=chunk))
    cost = Cost.of(made)
    said = Sizes.of(cost, T, dtype, RopeSpec.parse(rope), weights=0).held(chunk)
    assert 0.8 < said / (KEPT * measured) < 1.25
    held = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    assert cost.weights(dtype) == held


def test_a_continuation_holds_the_keys_of_all_layers() -> None:
    made = config("long", layers=12)
    model = LlamaForCausalLM(made).eval()
    ids = torch.randint(0, 300, (T,))
    with patched(model, RopeSpec()):
        measured = peak(lambda: continuation(model, ids, 2))
    sizes = Sizes.of(Cost.of(made), T + 2, "float32", RopeSpec(), weights=0, layers=12, cached=True)
    assert 0.7 < sizes.held(T) / (KEPT * measured) < 1.3


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
