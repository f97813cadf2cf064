"""The proof of an engine: the setting that its workers answer, and a few scores of the reference.

The reference is the Hugging Face backend in float32 on the CPU, on tokens of the vocabulary. It is
loaded beside the engine, so only where that is cheap: for weights of up to `REFERENCE_BYTES`, which
take about a second (measured: 257 MiB take 1 to 3 on two busy cores). The record of a larger model
says that its workers' answer is all there is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rope_eval.backends.hf.loading import load_model
from rope_eval.backends.hf.patch import patched
from rope_eval.backends.hf.proof import COARSE, OFF, TOLERANCE
from rope_eval.backends.vllm.engine import check_applied, engine_dtype, score_texts
from rope_eval.errors import RopeEvalError, UnsupportedModelError
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import TokenScores
from rope_eval.scoring.tokens import score_tokens

TOKENS = 32
REFERENCE_BYTES = 128 << 20
ROOM = 4  # times the weights in free memory: float32 copies of half precision, and working space
_OTHER_MODEL = ("quantization", "load_format", "hf_overrides", "kv_cache_dtype", "revision")
"""Arguments of an engine that give it other numbers than the checkpoint's own."""


def proof_of_engine(
    llm: Any,
    model: str,
    spec: RopeSpec,
    arguments: Mapping[str, Any],
    *,
    wanted: bool,
    trust_remote_code: bool = False,
) -> dict[str, Any] | str:
    """Ask an engine what it runs, compare its scores where that is cheap, and return the record.

    Args:
        llm: the engine, a `vllm.LLM`.
        model: a directory or a name on the hub.
        spec: the setting.
        arguments: those that the user gave the engine.
        wanted: whether to compare scores; without it the record is "off".
        trust_remote_code: run Python code that comes with the checkpoint.

    Returns:
        ``workers``, the fingerprint they answered, ``layers``, which of those that rotate take the
        setting ("2 of 4"), and ``reference``: the largest difference of a
        token's score, by how much the setting moves one (both in nats), tokens and seconds; or a
        text that says why there is none.

    Raises:
        UnsupportedModelError: where workers run another setting, or scores differ by more than
            rounding explains.
    """
    layers = check_applied(llm, spec)
    if not wanted:
        return OFF
    record: dict[str, Any] = {"workers": spec.fingerprint(), "layers": layers}
    if (why := _too_dear(model, arguments)) is not None:
        return record | {"reference": f"none: {why}"}
    started = time.perf_counter()
    config = llm.llm_engine.vllm_config.model_config
    ids = _probe(config.get_vocab_size(), min(TOKENS, config.max_model_len - 1))
    try:
        expected, neutral = _reference(model, spec, ids, trust_remote_code=trust_remote_code)
    except RopeEvalError as error:
        return record | {"reference": f"none: {error}"}
    (found,) = score_texts(llm, [ids])
    difference = float(np.abs(found.nll - expected.nll).max())
    _require_close(difference, engine_dtype(llm), len(ids))
    return record | {
        "reference": {
            "difference": difference,
            "moves": float(np.abs(expected.nll - neutral.nll).max()),
            "tokens": len(ids),
            "seconds": round(time.perf_counter() - started, 3),
        }
    }


def _too_dear(model: str, arguments: Mapping[str, Any]) -> str | None:
    """Return why a model is not loaded a second time, or None where it is."""
    if other := [name for name in _OTHER_MODEL if arguments.get(name)]:
        return f"{', '.join(other)} is the engine's alone"
    size = sum(file.stat().st_size for file in _weights(model))
    if size == 0:
        return "no safetensors of it are known on this machine"
    if size > REFERENCE_BYTES:
        return f"{size >> 20} MiB of weights, and {REFERENCE_BYTES >> 20} are loaded a second time"
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < ROOM * size:
        return f"{free >> 20} MiB of memory are free for {size >> 20} of weights"
    return None


def _weights(model: str) -> list[Path]:
    from huggingface_hub import try_to_load_from_cache

    config = None if Path(model).is_dir() else try_to_load_from_cache(model, "config.json")
    folder = Path(config).parent if isinstance(config, str) else Path(model)
    return list(folder.glob("*.safetensors"))


def _probe(vocabulary: int, tokens: int) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    ids: list[int] = torch.randint(vocabulary, (tokens,), generator=generator).tolist()
    return ids


def _reference(
    model: str, spec: RopeSpec, ids: list[int], *, trust_remote_code: bool
) -> tuple[TokenScores, TokenScores]:
    """Return the scores under a setting, and under the neutral one."""
    loaded = load_model(model, dtype="float32", device="cpu", trust_remote_code=trust_remote_code)
    scores = []
    for setting in (spec, RopeSpec()):
        with patched(loaded, setting):
            scores.append(score_tokens(loaded, torch.tensor(ids)))
    return scores[0], scores[1]


def _require_close(difference: float, dtype: torch.dtype, tokens: int) -> None:
    tolerance = TOLERANCE.get(dtype, COARSE)
    if not difference <= tolerance:  # also where it is not a number
        raise UnsupportedModelError(
            f"the engine cannot be trusted with this setting: a score in a probe of {tokens} tokens"
            f" differs from the Hugging Face backend's by {difference:.3g} nats, and {tolerance:g} "
            f"is what rounding explains in {str(dtype).removeprefix('torch.')} (proof=off runs it "
            "unproven)"
        )
