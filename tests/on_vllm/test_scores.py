"""The scores of an engine are those of the Hugging Face backend, in any batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import models
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.loading import load_model
from rope_eval.backends.vllm.engine import score_texts
from rope_eval.rope.methods import METHODS, not_served
from rope_eval.scores import TokenScores

NATS = 1e-4
LENGTHS = (2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 129, 200)
STATIC = (
    "",
    "rope_theta=500",
    "linear_factor=4",
    "ntk_alpha=4,linear_factor=2",
    "yarn_factor=4",
    "log_scale=true,reference_length=8",
    "xpos=true,reference_length=16",
    "beyond_critical=clip,train_length=20",
    "beyond_critical=drop",
    "yarn_factor=4,log_scale=true,xpos=true,beyond_critical=clip,reference_length=12",
)
DYNAMIC = (
    "dynamic_ntk=per_sequence,reference_length=16",
    "dynamic_ntk=per_sequence,reference_length=12.5,log_scale=true,xpos=true",
    "dynamic_ntk=per_sequence,rope_theta=40000,beyond_critical=drop,log_scale=true",
    "dynamic_ntk=per_sequence,reference_length=16,linear_factor=2,beyond_critical=clip,xpos=true",
    "dynamic_ntk=per_sequence,ntk_formula=qwen,reference_length=16,log_scale=true",
    "dynamic_yarn=octave,train_length=16,resonance=true,attn_scale=0.5,floor_scale=8,"
    "attn_temperature=llama4",
    "longrope_factors=1:1:1:1:1:1:1:1:1:1:1:1:1:1:1:1/1:1:1.5:2:3:4:5:6:7:8:9:9:9:9:9:9,"
    "longrope_ratio=6,hard_clip=2,scalable_softmax=0.5",
)

PAIRS = 16  # of the `checkpoint` fixture's Llama
NOT_ABOVE = tuple(  # an example of every method that the settings above do not name
    str(models.fitted(method.examples[0], PAIRS))
    for method in METHODS
    if not any(field.name in spec for field in method.fields for spec in STATIC + DYNAMIC)
    and not_served(RopeSpec.parse(method.examples[0])) is None
)


def texts(lengths: tuple[int, ...] = LENGTHS) -> list[list[int]]:
    return [models.token_ids(n)[0].tolist() for n in lengths]


def hugging_face(model: Path, spec: str, ids: list[list[int]]) -> list[TokenScores]:
    loaded = load_model(str(model), dtype="float32", device="cpu")
    with patched(loaded, RopeSpec.parse(spec)):
        return [score_tokens(loaded, torch.tensor(some)) for some in ids]


def worst(ours: list[TokenScores], theirs: list[TokenScores]) -> float:
    return max(float(np.abs(a.nll - b.nll).max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("spec", STATIC + DYNAMIC + NOT_ABOVE)
def test_every_method_in_a_mixed_batch(
    checkpoint: Callable[..., Path], engine: Callable[..., Any], spec: str
) -> None:
    ids = texts()
    ours = score_texts(engine(checkpoint(), spec, max_num_batched_tokens=48), ids)
    theirs = hugging_face(checkpoint(), spec, ids)
    assert worst(ours, theirs) < NATS
    for a, b in zip(ours, theirs, strict=True):
        assert (a.hit == b.hit).all()
    if spec:
        assert worst(ours, hugging_face(checkpoint(), "", ids)) > 0.5


@pytest.mark.parametrize("budget", [16, 33, 2048])
def test_chunks_of_a_prompt_change_nothing(
    checkpoint: Callable[..., Path], engine: Callable[..., Any], budget: int
) -> None:
    ids = texts((200, 17, 64, 65))
    llm = engine(checkpoint(), DYNAMIC[1], max_num_batched_tokens=budget, max_num_seqs=8)
    assert worst(score_texts(llm, ids), hugging_face(checkpoint(), DYNAMIC[1], ids)) < NATS


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"num_key_value_heads": 1}),
        ("llama", {"num_key_value_heads": 4}),
        ("mistral", {}),
        ("qwen2", {"head_dim": None}),
        ("qwen3", {}),
        ("phi3", {"head_dim": None}),
        ("stablelm", {"head_dim": None}),
    ],
)
def test_every_family(
    checkpoint: Callable[..., Path],
    engine: Callable[..., Any],
    family: str,
    changes: dict[str, Any],
) -> None:
    changes = {name: value for name, value in changes.items() if value is not None}
    ids = texts((33, 100, 150))
    spec = "dynamic_ntk=per_sequence,reference_length=40,rope_theta=500,log_scale=true,xpos=true"
    ours = score_texts(engine(checkpoint(family, **changes), spec), ids)
    assert worst(ours, hugging_face(checkpoint(family, **changes), spec, ids)) < NATS


@pytest.mark.parametrize("rope_type", models.SCALED)
def test_frequencies_that_the_checkpoint_scales_are_kept(
    checkpoint: Callable[..., Path], engine: Callable[..., Any], rope_type: str
) -> None:
    model = checkpoint("llama", rope_parameters=dict(models.SCALED[rope_type]))
    ids = texts((20, 90))
    for spec in ("", "log_scale=true,reference_length=8,xpos=true"):
        ours = score_texts(engine(model, spec), ids)
        assert worst(ours, hugging_face(model, spec, ids)) < NATS


def test_a_text_is_scored_alike_beside_any_other(
    checkpoint: Callable[..., Path], engine: Callable[..., Any]
) -> None:
    """Prefix caching is on: a prefix of another octave must not be taken."""
    long = models.token_ids(200)[0].tolist()
    llm = engine(checkpoint(), DYNAMIC[0], enable_prefix_caching=True)
    ids = [long[:n] for n in (200, 33, 32, 64, 65, 128, 200, 48)]
    theirs = hugging_face(checkpoint(), DYNAMIC[0], ids)
    for text, expected in zip(ids, theirs, strict=True):
        assert worst(score_texts(llm, [text]), [expected]) < NATS


def test_a_model_parted_over_workers(
    checkpoint: Callable[..., Path], engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers with half of the heads each, in processes of their own."""
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    ids = texts((33, 100, 150))
    llm = engine(checkpoint(), DYNAMIC[1], tensor_parallel_size=2)
    assert len(llm.collective_rpc("rope_eval_runs")) == 2
    assert worst(score_texts(llm, ids), hugging_face(checkpoint(), DYNAMIC[1], ids)) < NATS
