"""A vLLM engine under a RopeSpec: made, proven to have it, and asked for the scores of tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rope_eval.backends.gguf import is_gguf
from rope_eval.backends.vllm.answering import answering
from rope_eval.backends.vllm.serving import KEY, check_servable
from rope_eval.backends.vllm.starting import starting
from rope_eval.errors import ScoreError, SpecError, UnsupportedModelError
from rope_eval.rope.config_words import refuse_config_words
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import TokenScores

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams

EXTENSION = "rope_eval.backends.vllm.plugin.WorkerExtension"
BATCHED_TOKENS = 2048  # a step's logits are held whole: 1 GB at a vocabulary of 128256


def require_vllm() -> None:
    """Raise `SpecError`, with the command that helps, where vLLM or our plug-in is not there.

    vLLM writes its log to standard output unless told otherwise; that is for results.
    """
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    if find_spec("vllm") is None:
        raise SpecError("backend=vllm needs vLLM: pip install 'rope-eval[vllm]'")
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and "rope_eval" not in allowed.split(","):
        raise SpecError(
            f"VLLM_PLUGINS={allowed} keeps vLLM from loading rope-eval: add rope_eval to it"
        )


def refuse_gguf(model: str) -> None:
    """Raise `UnsupportedModelError` for a GGUF file: vLLM does not load those by itself."""
    if is_gguf(model):
        raise UnsupportedModelError(
            f"backend=vllm does not load GGUF files, and {model} is one: use backend=hf, or the "
            "model's safetensors"
        )


def engine_dtype(llm: LLM) -> torch.dtype:
    """Return the dtype that an engine computes in."""
    dtype: torch.dtype = llm.llm_engine.vllm_config.model_config.dtype
    return dtype


def engine_arguments(spec: RopeSpec, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM` that put a RopeSpec on it and let it score texts.

    Args:
        spec: the setting.
        arguments: the user's own; they win.

    Raises:
        SpecError: for a setting that vLLM cannot serve, another beside it, or an option that is
            ours.
    """
    check_servable(spec)
    refuse_config_words(arguments)
    if "worker_extension_cls" in arguments:
        raise SpecError("worker_extension_cls is rope-eval's own here: leave it out")
    additional = arguments.get("additional_config") or {}
    if not isinstance(additional, dict):
        raise SpecError(f"additional_config must be an object, got {additional!r}")
    if KEY in additional:
        raise SpecError(
            f"additional_config[{KEY!r}] is rope-eval's own here: give RopeSpec's fields by name "
            "(of a command in --rope)"
        )
    return {
        "max_num_batched_tokens": BATCHED_TOKENS,
        **arguments,
        "additional_config": {**additional, KEY: spec.to_dict()},
        "worker_extension_cls": EXTENSION,
    }


def check_applied(llm: LLM, spec: RopeSpec) -> str:
    """Return which layers of an engine run a spec, such as "2 of 4".

    Raises:
        UnsupportedModelError: unless every worker runs it, in the same layers.
    """
    answers = llm.collective_rpc("rope_eval_runs")
    first = answers[0]
    if first is None or first[0] != spec.fingerprint() or any(other != first for other in answers):
        raise UnsupportedModelError(
            f"the engine's workers do not run {spec} (they answer {answers}): is rope-eval "
            "installed where they run?"
        )
    return f"{first[1]} of {first[2]}"


def make_engine(model: str, spec: RopeSpec, max_length: int, **arguments: Any) -> LLM:
    """Start an engine that can score texts of `max_length` tokens.

    Args:
        model: a directory or a name on the hub.
        spec: the setting.
        max_length: tokens of the longest text.
        **arguments: those of `vllm.LLM`.

    Raises:
        SpecError: for a spec or an option that cannot be served, or where vLLM is not installed.
        UnsupportedModelError: for a model the mechanism does not fit.
        ProcessError: where the engine does not start for another reason.
    """
    require_vllm()
    refuse_gguf(model)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    from vllm import LLM

    arguments = engine_arguments(spec, arguments)
    with starting(model):
        llm = LLM(model=model, max_model_len=max_length + 1, **arguments)  # one token is generated
    check_applied(llm, spec)
    return llm


def gpu_name() -> str | None:
    """Return the name of the GPU that engines of this process run on, or None."""
    from vllm.platforms import current_platform

    return current_platform.get_device_name() if current_platform.is_cuda_alike() else None


def scoring_params(length: int) -> SamplingParams:
    """Return what to ask of an engine to have a text scored.

    Args:
        length: the length that sets the text's base under "per_sequence" dynamic NTK: its own, as
            the token that an engine must generate does not count.
    """
    from vllm import SamplingParams

    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        detokenize=False,
        prompt_logprobs=0,
        flat_logprobs=True,
        extra_args={"rope_len": length},
    )


def scores_of(text: Sequence[int], output: RequestOutput) -> TokenScores:
    """Return the scores of a text's tokens but the first.

    A tie for the most likely token is no hit: vLLM ranks a token behind those as likely as it.

    Args:
        text: the prompt's tokens.
        output: what the engine made of it under `scoring_params`.

    Raises:
        ScoreError: for a score that is NaN or infinite, or scores of other tokens than were asked.
    """
    logprobs: Any = output.prompt_logprobs
    if list(logprobs.token_ids) != list(text[1:]):
        raise ScoreError("vLLM returned the scores of other tokens than were asked for")
    nll = -np.asarray(logprobs.logprobs, dtype=np.float32)
    if not np.isfinite(nll).all():
        raise ScoreError(
            f"the score of a text of {len(text)} tokens is not finite: the run has failed (try "
            "dtype=float32)"
        )
    return TokenScores(nll=nll, hit=np.asarray(logprobs.ranks) == 1)


def score_texts(llm: LLM, texts: Sequence[Sequence[int]]) -> list[TokenScores]:
    """Score every token but the first of texts of two tokens or more, given all before it.

    Raises:
        ProcessError: where the engine stops, or its memory runs out.
        ScoreError: as `scores_of`.
    """
    from vllm import TokensPrompt

    with answering():
        outputs = llm.generate(
            [TokensPrompt(prompt_token_ids=list(text)) for text in texts],
            [scoring_params(len(text)) for text in texts],
            use_tqdm=False,
        )
    return [scores_of(text, output) for text, output in zip(texts, outputs, strict=True)]
