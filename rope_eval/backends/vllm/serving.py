"""Which RopeSpecs, checkpoints and options of an engine go together in vLLM."""

from __future__ import annotations

from typing import Any

from rope_eval.backends.vllm.geometry import config_geometry
from rope_eval.backends.vllm.tables import check_range
from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope import methods
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec

KEY = "rope_eval"
WRONG = {  # families that vLLM itself computes otherwise than transformers, without a RopeSpec too
    "gpt_neox": "without a RopeSpec too, vLLM's scores are off by nats from transformers'",
}


def spec_of(vllm_config: Any) -> RopeSpec | None:
    """Return the RopeSpec of an engine's config, or None where it has none.

    Raises:
        SpecError: for a spec that makes no sense, or that vLLM cannot serve.
    """
    additional = vllm_config.additional_config
    fields = additional.get(KEY) if isinstance(additional, dict) else None
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise SpecError(
            f"additional_config[{KEY!r}] must be an object of RopeSpec fields, got {fields!r}"
        )
    spec = RopeSpec.from_dict(fields)
    check_servable(spec)
    return spec


def check_servable(spec: RopeSpec) -> None:
    """Raise `SpecError` for a spec that an engine with rotated keys in its cache cannot serve."""
    reason = methods.not_served(spec)
    if reason is not None:
        raise SpecError(
            f"{reason.setting} cannot be served by vLLM: {reason.why}. Use {reason.instead}, or "
            "the Hugging Face backend (backend=hf)"
        )


def rotary_of_config(vllm_config: Any, spec: RopeSpec) -> Rotary:
    """Return the setting on the checkpoint that an engine serves.

    Raises:
        UnsupportedModelError: for a model the mechanism does not fit.
        SpecError: where the setting needs a length that neither it nor the config gives.
    """
    model = vllm_config.model_config
    overrides = model.hf_overrides if isinstance(model.hf_overrides, dict) else {}
    if "max_position_embeddings" in overrides and spec.train_length is None:
        raise SpecError(
            "hf_overrides sets max_position_embeddings, from which T_train would be read: give "
            "train_length in the RopeSpec, or leave that out (max_model_len alone is enough)"
        )
    methods.check_config(spec, model.hf_config.to_dict())
    return Rotary(spec, config_geometry(model.hf_config))


def check_config(vllm_config: Any) -> None:
    """Refuse, by name, an engine that a RopeSpec does not fit or was not tried with.

    Raises:
        SpecError: for a spec that cannot be served, or an option beside it.
        UnsupportedModelError: for a model the mechanism does not fit.
    """
    spec = spec_of(vllm_config)
    if spec is None:
        return
    parallel = vllm_config.parallel_config
    for unfit, option, why in (
        (vllm_config.speculative_config is not None, "speculative_config", "a draft model"),
        (parallel.pipeline_parallel_size > 1, "pipeline_parallel_size", "pipeline parallelism"),
        (parallel.use_ubatching, "enable_dbo", "micro-batching"),
        (_size(parallel, "decode_context_parallel_size") > 1, "dcp", "context parallelism"),
        (_size(parallel, "prefill_context_parallel_size") > 1, "pcp", "context parallelism"),
        (vllm_config.kv_transfer_config is not None, "kv_transfer_config", "sharing of keys"),
    ):
        if unfit:
            raise SpecError(
                f"a RopeSpec cannot be served with {why} (was not tried): leave out {option}"
            )
    _check_loader(vllm_config.load_config)
    model = vllm_config.model_config
    rotary = rotary_of_config(vllm_config, spec)
    _check_model(model)
    cache = vllm_config.cache_config.cache_dtype
    if rotary.scales_pairs and cache not in ("auto", "bfloat16", "float16"):
        raise SpecError(f"{spec} needs the range of the model's type, got kv_cache_dtype={cache}")
    check_range(rotary, model.max_model_len, model.dtype)


def _size(parallel: Any, name: str) -> int:
    return int(getattr(parallel, name, 1))  # not in every version


def _check_model(model: Any) -> None:
    """Refuse a model that vLLM cannot run, runs wrongly, or compiles out of our reach."""
    if (why := WRONG.get(model.hf_config.model_type)) is not None:
        raise UnsupportedModelError(
            f"{model.hf_config.model_type} models are not served: {why}. Use backend=hf"
        )
    if model.using_transformers_backend() and not model.enforce_eager:
        raise SpecError(
            f"vLLM runs {model.hf_config.model_type} models by transformers' code, where a RopeSpec"
            " is served with enforce_eager=True alone (--enforce-eager)"
        )
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

        sizes = CPUAttentionBackend.get_supported_head_sizes()
        if model.get_head_size() not in sizes:
            raise UnsupportedModelError(
                f"vLLM's CPU build attends with a head_dim of {', '.join(map(str, sizes))}, and "
                f"this model has {model.get_head_size()}: use backend=hf"
            )


def _check_loader(load_config: Any) -> None:
    from vllm.model_executor.model_loader import get_model_loader
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    if type(get_model_loader(load_config)).load_model is not BaseModelLoader.load_model:
        raise SpecError(
            f"load_format={load_config.load_format} builds its model out of a RopeSpec's reach: "
            "use load_format=auto"
        )
