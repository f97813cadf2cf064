"""What vLLM loads in each of its processes: a RopeSpec under ``additional_config["rope_eval"]``.

vLLM calls `register` in every process of every job of an environment that has rope-eval. It wraps a
few of vLLM's methods, and the wrappers do nothing more than the methods until an engine's config
has a RopeSpec: no class of vLLM's is replaced for another engine.

What is wrapped, in the order of an engine's life:

========================================  ========================================================
``EngineArgs.create_engine_config``       refuses what cannot be served, before anything is loaded
``EngineArgs.create_model_config``        lets max_model_len go past the config's
``BaseModelLoader.load_model``            puts `SpecRotary` into the layers of the model
``InputProcessor.process_inputs``         keeps prefixes of different octaves apart in the cache
``GPUModelRunner._prepare_inputs`` (V1),  tell `SpecRotary` which octave each token of a batch is in
``DefaultModelState`` (V2)
========================================  ========================================================
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rope_eval.backends.vllm.layers import count_layers, find_rotaries
from rope_eval.backends.vllm.model import put_rotary
from rope_eval.backends.vllm.requests import (
    process_inputs,
    v1_prepare_inputs,
    v2_add_request,
    v2_prepare_inputs,
)
from rope_eval.backends.vllm.serving import KEY, check_config, spec_of
from rope_eval.errors import UnsupportedModelError

TESTED = (0, 32)  # by its source, 0.20.2 to 0.33 have the same hook points

logger = logging.getLogger(f"vllm.{__name__}")


def register() -> None:
    """Wrap vLLM's methods; calling it again does nothing.

    Without a RopeSpec a hook point that is gone is no matter, so it is an error for specs alone.
    """
    missing = [lack for path, wrapper in HOOKS.items() if (lack := _wrap(path, wrapper))]
    _MISSING[:] = missing
    if missing:
        logger.warning("rope-eval does not fit vLLM %s: %s", _version(), "; ".join(missing))


def check_hooks() -> None:
    """Raise `UnsupportedModelError` where vLLM lacks a method that serving a RopeSpec needs."""
    if _MISSING:
        raise UnsupportedModelError(
            f"a RopeSpec cannot be served by vLLM {_version()}: {'; '.join(_MISSING)}. Use vLLM "
            f"{_tested()}, or the Hugging Face backend (backend=hf)"
        )


def _create_engine_config(create: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(create)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _has_spec(self):
            return create(self, *args, **kwargs)
        check_hooks()
        _warn_of_version()
        config = create(self, *args, **kwargs)
        check_config(config)
        return config

    return wrapper


def _create_model_config(create: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(create)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _any_length() if _has_spec(self) else nullcontext():
            return create(self, *args, **kwargs)

    return wrapper


def _has_spec(engine_args: Any) -> bool:
    return isinstance(engine_args.additional_config, dict) and KEY in engine_args.additional_config


def _load_model(load: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(load)
    def wrapper(self: Any, vllm_config: Any, model_config: Any, *args: Any, **kwargs: Any) -> Any:
        spec = spec_of(vllm_config)
        if spec is None:
            return load(self, vllm_config, model_config, *args, **kwargs)
        for path, runner_wrapper in RUNNER_HOOKS.items():
            if lack := _wrap(path, runner_wrapper):
                raise UnsupportedModelError(
                    f"a RopeSpec cannot be served by vLLM {_version()}: {lack}"
                )
        model = load(self, vllm_config, model_config, *args, **kwargs)
        put_rotary(model, vllm_config, spec)
        return model

    return wrapper


class WorkerExtension:
    """For ``worker_extension_cls``: lets an engine ask its workers what they run."""

    model_runner: Any

    def rope_eval_runs(self) -> tuple[str, int, int] | None:
        """Return what this worker's model runs, None without a RopeSpec.

        It is the fingerprint of the RopeSpec, how many layers take it and how many turn at all.
        """
        model = self.model_runner.get_model()
        spec = next((rotary.takes for rotary in find_rotaries(model)), None)
        return None if spec is None else (spec.fingerprint(), *count_layers(model))


HOOKS = {
    "vllm.engine.arg_utils:EngineArgs.create_engine_config": _create_engine_config,
    "vllm.engine.arg_utils:EngineArgs.create_model_config": _create_model_config,
    "vllm.model_executor.model_loader.base_loader:BaseModelLoader.load_model": _load_model,
    "vllm.v1.engine.input_processor:InputProcessor.process_inputs": process_inputs,
}
_STATE = "vllm.v1.worker.gpu.model_states.default:DefaultModelState"
RUNNER_HOOKS = {  # in the workers of an engine with a spec alone
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner._prepare_inputs": v1_prepare_inputs,
    f"{_STATE}.add_request": v2_add_request,
    f"{_STATE}.prepare_inputs": v2_prepare_inputs,
}
_MISSING: list[str] = []


def _wrap(path: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> str | None:
    """Wrap the method at ``module:Class.method`` once; return what is missing where it is not."""
    module, _, names = path.partition(":")
    owner, _, name = names.partition(".")
    try:
        kind = getattr(importlib.import_module(module), owner)
        method = getattr(kind, name)
    except (ImportError, AttributeError) as error:
        return f"no {path} ({error})"
    if not getattr(method, "_rope_eval", False):
        wrapped = wrapper(method)
        wrapped._rope_eval = True  # type: ignore[attr-defined]
        setattr(kind, name, wrapped)
    return None


@contextmanager
def _any_length() -> Iterator[None]:
    """Allow a max_model_len past the config's: our tables have that many rows.

    vLLM's environment is read through a function of its module, and kept once an engine runs; a
    name of the module goes before it.
    """
    from vllm import envs

    vars(envs)["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = True
    try:
        yield
    finally:
        del vars(envs)["VLLM_ALLOW_LONG_MAX_MODEL_LEN"]


def _version() -> str:
    import vllm

    return str(vllm.__version__)


def _tested() -> str:
    return ".".join(map(str, TESTED))


@functools.cache
def _warn_of_version() -> None:
    """Say once that this version of vLLM was not tried."""
    version = _version()
    release = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if release != TESTED:
        logger.warning("rope-eval was tried with vLLM %s; this is %s", _tested(), version)
