"""A checkpoint under a RopeSpec that scores documents, whichever backend runs it.

PyTorch is imported with a backend: what is in the store is answered without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rope_eval.errors import ScoreError, SpecError
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import TokenScores

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from rope_eval.rope.rotary import Rotary

Report = Callable[[float], None]  # the part of a document's work that is done
Outcomes = list[dict[int, TokenScores] | ScoreError]  # of documents; those of one by length


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """How to load a checkpoint.

    Attributes:
        backend: "hf", or "vllm".
        dtype: "auto", "float32", "bfloat16" or "float16".
        device: as in PyTorch, "auto" (layers over all GPUs), or None; vLLM takes what it finds.
        chunk_size: tokens of a chunk, or of vLLM's steps, or None; in float32 it does not change
            the scores.
        trust_remote_code: run Python code that comes with the checkpoint.
        allow_pickle: load weights that are not safetensors.
        engine: arguments of `vllm.LLM`.
        shards: over how many processes the tokens of one document are shared out.
        memory_budget: bytes for weights and all that scoring holds where the model computes, or
            None; what does not fit is planned to be held elsewhere.
        offload: read each layer's weights from the checkpoint's files in its turn.
        proof: whether to prove the setting on the weights (under vLLM, to compare a few scores with
            the reference where that is cheap; its workers are asked in any case).
    """

    backend: str = "hf"
    dtype: str = "auto"
    device: str | None = None
    chunk_size: int | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    engine: Mapping[str, Any] = field(default_factory=dict)
    shards: int = 1
    memory_budget: int | None = None
    offload: bool = False
    proof: bool = True

    def __post_init__(self) -> None:
        if self.backend not in _BACKENDS:
            raise SpecError(f"backend must be one of {', '.join(_BACKENDS)}, got {self.backend!r}")
        if self.backend == "hf" and self.engine:
            raise SpecError(f"backend=hf has no engine, got {', '.join(self.engine)}")
        if self.backend == "vllm" and self.device is not None:
            raise SpecError(
                f"backend=vllm takes the device it finds, got {self.device!r}: leave it out, and "
                "choose a GPU with CUDA_VISIBLE_DEVICES"
            )
        if self.backend == "vllm" and (self.memory_budget is not None or self.offload):
            raise SpecError(
                "backend=vllm plans its own memory: give --engine gpu_memory_utilization or "
                "cpu_offload_gb in the place of --memory-budget and --offload"
            )
        if taken := [name for name in _OPTIONS if name in self.engine]:
            ours = ", ".join(f"{name} ({_OPTIONS[name]})" for name in taken)
            raise SpecError(f"leave out of the engine's arguments what has an option: {ours}")

    def changing(self, dtype: str) -> dict[str, Any]:
        """Return what changes the scores beside model, setting, backend and dtype.

        In half precision the order of sums does: perplexity 9.746 and 9.741 of one model at two
        chunk sizes. An engine's arguments all count.

        Args:
            dtype: what "auto" comes to.
        """
        options: dict[str, Any] = {}
        if self.backend == "vllm":
            options["engine"] = self.engine_arguments
        elif dtype != "float32":
            options["chunk_size"] = self.chunk_size
            if self.shards > 1:  # chunks are shorter
                options["shards"] = self.shards
            options["device"] = self.device and self.device.partition(":")[0]
            if self.memory_budget is not None:
                options["memory_budget"] = self.memory_budget  # it chooses the chunk
        if self.trust_remote_code:
            options["trust_remote_code"] = True
        return options

    @property
    def engine_arguments(self) -> dict[str, Any]:
        """What `vllm.LLM` is given beside the model, its dtype and its length."""
        steps = {"max_num_batched_tokens": self.chunk_size} if self.chunk_size else {}
        return {**self.engine, **steps}


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentScorer:
    """A checkpoint under a RopeSpec.

    Attributes:
        score: scores the first L tokens of a document (int64 ``[T]``) for each length L.
        rotary: the setting on the checkpoint.
        gpu: the name of the GPU that it runs on, or None.
        proof: what was shown of the setting on these weights, as plain JSON values, or "off".
        ran: what the model runs in: dtype, kind of device, how many of its layers take the setting,
            how its config scales their frequencies, its commit on the hub if known, and the plan
            of its memory if there is one, as it stands after what was scored.
        together: scores several documents at once as `score_each` does, or None.
        at_once: how many it scores in the time of one.
    """

    score: Callable[[Tensor, Sequence[int], Report], dict[int, TokenScores]]
    rotary: Rotary
    gpu: str | None
    proof: dict[str, Any] | str
    ran: Mapping[str, Any]
    together: Callable[[Sequence[Tensor], Sequence[int], Report], Outcomes] | None = None
    at_once: int = 1

    def score_each(
        self, texts: Sequence[Tensor], lengths: Sequence[int], report: Report
    ) -> Outcomes:
        """Return the scores of each document, or why it has none."""
        if self.together is not None:
            return self.together(texts, lengths, report)
        found: Outcomes = []
        for i, ids in enumerate(texts):
            try:
                found.append(
                    self.score(ids, lengths, lambda part, i=i: report((i + part) / len(texts)))  # type: ignore[misc]
                )
            except ScoreError as error:
                found.append(error)
        return found


@contextmanager
def document_scorer(
    model: str, rope: RopeSpec, longest: int, loading: Loading
) -> Iterator[DocumentScorer]:
    """Load a checkpoint and put a RopeSpec on it.

    Args:
        model: a directory, a GGUF file, or a name on the hub.
        rope: the setting.
        longest: tokens of the longest document.
        loading: how.

    Raises:
        DataError: for a checkpoint that cannot be read.
        SpecError: for a setting or an option that the backend cannot do.
        UnsupportedModelError: for a model the mechanism does not fit, or where the proof fails.
    """
    with _BACKENDS[loading.backend](model, rope, longest, loading) as scorer:
        yield scorer


@contextmanager
def _hugging_face(
    name: str, rope: RopeSpec, longest: int, loading: Loading
) -> Iterator[DocumentScorer]:
    from rope_eval.backends.hf.proof import proof_of

    model = load(name, loading)
    proof = proof_of(model, rope, loading.proof)
    with scorer_of(model, rope, loading, proof, longest) as scorer:
        yield scorer


def load(name: str, loading: Loading) -> PreTrainedModel:
    """Load a checkpoint for the backend hf.

    Raises:
        DataError: for a checkpoint that cannot be read.
        SpecError: for a device that cannot be used.
        UnsupportedModelError: for a model the mechanism does not fit.
    """
    from rope_eval.backends.hf.loading import load_model

    return load_model(
        name,
        dtype=loading.dtype,
        device=loading.device,
        trust_remote_code=loading.trust_remote_code,
        allow_pickle=loading.allow_pickle,
        offload=loading.offload,
    )


@contextmanager
def scorer_of(
    model: PreTrainedModel,
    rope: RopeSpec,
    loading: Loading,
    proof: dict[str, Any] | str,
    longest: int | None = None,
    *,
    score: Callable[..., dict[int, TokenScores]] | None = None,
) -> Iterator[DocumentScorer]:
    """Put a RopeSpec on a loaded model, and take it off again.

    Args:
        model: of `load`.
        rope: the setting.
        loading: how it was loaded.
        proof: what `proof_of` has shown of the setting on these weights.
        longest: tokens of the longest document that it will score; None for one that scores none.
        score: in the place of `score_lengths`, for several processes: it knows no plan of memory.

    Raises:
        SpecError: for a budget of memory that holds no plan.
    """
    import torch

    from rope_eval.backends.hf.attention import rotary_of, taken
    from rope_eval.backends.hf.compat import input_device
    from rope_eval.backends.hf.patch import patched
    from rope_eval.scoring.planned import Planned

    device = input_device(model)
    with patched(model, rope):
        ran = {
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": device.type,
            **_parted(model),
            "layers": taken(model),
            "scaling": rotary_of(model).geometry.rope_type,
            "commit": getattr(model.config, "_commit_hash", None),
        }
        planned = Planned(model, longest, loading.chunk_size, loading.memory_budget, ran)

        def together(ids: Tensor, lengths: Sequence[int], report: Report) -> dict[int, TokenScores]:
            assert score is not None
            return score(model, ids, lengths, chunk_size=loading.chunk_size, progress=report)

        yield DocumentScorer(
            score=planned.score if score is None else together,
            rotary=rotary_of(model),
            gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
            proof=proof,
            ran=ran,
        )


def _parted(model: PreTrainedModel) -> dict[str, Any]:
    """Say over which devices the layers of a model are parted, if they are."""
    places = sorted({str(place) for place in getattr(model, "hf_device_map", {}).values()})
    return {"devices": places} if len(places) > 1 else {}


@contextmanager
def _vllm(name: str, rope: RopeSpec, longest: int, loading: Loading) -> Iterator[DocumentScorer]:
    from rope_eval.backends.hf.loading import load_config
    from rope_eval.backends.vllm.engine import (
        engine_dtype,
        gpu_name,
        make_engine,
        score_texts,
    )
    from rope_eval.backends.vllm.geometry import config_geometry
    from rope_eval.rope.rotary import Rotary
    from rope_eval.scoring.by_base import score_by_base
    from rope_eval.scoring.engine_proof import proof_of_engine

    config = load_config(name, trust_remote_code=loading.trust_remote_code)
    rotary = Rotary(rope, config_geometry(config))
    llm = make_engine(
        name,
        rope,
        longest,
        dtype=loading.dtype,
        trust_remote_code=loading.trust_remote_code,
        **loading.engine_arguments,
    )

    def score(ids: Tensor, lengths: Sequence[int], report: Report) -> dict[int, TokenScores]:
        tokens = ids.tolist()
        return score_by_base(
            [rotary], lengths, lambda length, _: score_texts(llm, [tokens[:length]])[0], report
        )

    try:
        yield DocumentScorer(
            score=score,
            rotary=rotary,
            gpu=gpu_name(),
            proof=proof_of_engine(
                llm,
                name,
                rope,
                loading.engine_arguments,
                wanted=loading.proof,
                trust_remote_code=loading.trust_remote_code,
            ),
            ran={
                "dtype": str(engine_dtype(llm)).removeprefix("torch."),
                "device": "cuda" if gpu_name() else "cpu",
                "commit": getattr(config, "_commit_hash", None),
            },
        )
    finally:
        llm.llm_engine.engine_core.shutdown()


_OPTIONS = {  # of an engine: how we are given them
    "model": "--model",
    "dtype": "--dtype",
    "trust_remote_code": "--trust-remote-code",
    "max_model_len": "--lengths",
}
_BACKENDS = {"hf": _hugging_face, "vllm": _vllm}
