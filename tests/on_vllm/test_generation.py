"""Generation under an engine is greedy generation under the Hugging Face backend."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import models
from rope_eval import RopeSpec, patched
from rope_eval.backends.hf.attention import sequence_lengths
from rope_eval.backends.hf.loading import load_model

SPECS = (
    "rope_theta=500,log_scale=true,xpos=true,reference_length=16",
    "dynamic_ntk=per_sequence,reference_length=16",
    "dynamic_ntk=per_sequence,reference_length=12.5,log_scale=true,xpos=true",
)
ASKED = ((5, 11), (5, 12), (16, 30), (40, 24), (40, 25), (63, 60), (100, 28), (100, 29), (130, 70))
"""Prompt and generated tokens: octaves end at 16, 32, 64 and 128, or at 12, 25, 50, 100, 200."""


def prompts() -> list[list[int]]:
    return [models.token_ids(n, seed=3)[0].tolist() for n, _ in ASKED]


def generate(llm: Any, **extra: Any) -> list[list[int]]:
    from vllm import SamplingParams, TokensPrompt

    outputs = llm.generate(
        [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts()],
        [SamplingParams(temperature=0.0, max_tokens=n, logprobs=0, **extra) for _, n in ASKED],
        use_tqdm=False,
    )
    return [list(output.outputs[0].token_ids) for output in outputs]


def expected(model: Path, spec: str) -> list[list[int]]:
    loaded = load_model(str(model), dtype="float32", device="cpu")
    found = []
    with patched(loaded, RopeSpec.parse(spec)):
        for prompt, (_, n) in zip(prompts(), ASKED, strict=True):
            with sequence_lengths(loaded, torch.tensor([len(prompt) + n])):
                out = loaded.generate(
                    torch.tensor([prompt]), max_new_tokens=n, min_new_tokens=n, do_sample=False
                )
            found.append(out[0, len(prompt) :].tolist())
    return found


@pytest.mark.parametrize("spec", SPECS)
def test_generation_over_the_borders_of_octaves(
    checkpoint: Callable[..., Path], engine: Callable[..., Any], spec: str
) -> None:
    llm = engine(checkpoint(), spec, max_num_batched_tokens=48)
    assert generate(llm) == expected(checkpoint(), spec)


def test_preempted_requests_keep_their_octave(
    checkpoint: Callable[..., Path], engine: Callable[..., Any]
) -> None:
    llm = engine(
        checkpoint(), SPECS[2], num_gpu_blocks_override=12, max_num_seqs=9, disable_log_stats=False
    )
    assert generate(llm) == expected(checkpoint(), SPECS[2])
    preempted = [m.value for m in llm.get_metrics() if m.name == "vllm:num_preemptions"]
    assert sum(preempted) > 0


def test_a_request_can_name_its_length(
    checkpoint: Callable[..., Path], engine: Callable[..., Any]
) -> None:
    """A stop after 12 tokens, said beforehand: the base is that of 17 tokens, not of 100."""
    from vllm import SamplingParams, TokensPrompt

    llm = engine(checkpoint(), SPECS[1])
    prompt = TokensPrompt(prompt_token_ids=prompts()[1])
    short = SamplingParams(temperature=0.0, max_tokens=12)
    long = SamplingParams(temperature=0.0, max_tokens=12, extra_args={"rope_len": 100})
    tokens = [
        list(llm.generate([prompt], [p], use_tqdm=False)[0].outputs[0].token_ids)
        for p in (short, long)
    ]
    assert tokens[0] == expected(checkpoint(), SPECS[1])[1]
    assert tokens[0] != tokens[1]


@pytest.mark.parametrize("length", [15, 201 + 1, "many", -1])
def test_an_impossible_length_is_refused(
    checkpoint: Callable[..., Path], engine: Callable[..., Any], length: Any
) -> None:
    from vllm import SamplingParams, TokensPrompt
    from vllm.exceptions import VLLMValidationError

    llm = engine(checkpoint(), SPECS[1])
    prompt = TokensPrompt(prompt_token_ids=prompts()[1])
    with pytest.raises(VLLMValidationError, match="rope_len must be"):
        llm.generate(
            [prompt],
            [SamplingParams(max_tokens=12, extra_args={"rope_len": length})],
            use_tqdm=False,
        )
    done = llm.generate([prompt], [SamplingParams(max_tokens=12)], use_tqdm=False)
    assert len(done[0].outputs[0].token_ids) == 12


def test_the_runner_is_the_one_that_was_asked_for(
    checkpoint: Callable[..., Path], engine: Callable[..., Any]
) -> None:
    llm = engine(checkpoint(), SPECS[1])
    runner = llm.llm_engine.model_executor.driver_worker.worker.model_runner
    second = os.environ.get("VLLM_USE_V2_MODEL_RUNNER") == "1"
    assert hasattr(runner, "model_state") == second


def test_the_offsets_keep_their_address(
    checkpoint: Callable[..., Path], engine: Callable[..., Any]
) -> None:
    """A captured graph reads the buffers where they were when it was captured."""
    from rope_eval.backends.vllm.layers import find_rotaries

    llm = engine(checkpoint(), SPECS[1])
    runner = llm.llm_engine.model_executor.driver_worker.worker.model_runner
    (rotary,) = find_rotaries(runner.get_model())
    buffers = ("row_offset", "query_table", "key_table")
    before = [getattr(rotary, name).data_ptr() for name in buffers]
    generate(llm)
    assert [getattr(rotary, name).data_ptr() for name in buffers] == before
    assert rotary.row_offset.any()
