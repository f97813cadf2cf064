"""The plug-in: inert without a spec, plain about what it cannot serve, never applied by halves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import models
from rope_eval.backends.vllm import plugin as vllm_plugin
from rope_eval.backends.vllm.serving import check_config
from rope_eval.errors import SpecError, UnsupportedModelError


def plain_engine(model: Path, **arguments: Any) -> Any:
    """Start an engine as a user does who knows nothing of rope-eval."""
    from vllm import LLM

    own = {"dtype": "float32", "enforce_eager": True, "skip_tokenizer_init": True}
    return LLM(model=str(model), **(own | arguments))


def logprobs(llm: Any) -> list[float]:
    from vllm import SamplingParams, TokensPrompt

    prompt = TokensPrompt(prompt_token_ids=models.token_ids(30)[0].tolist())
    params = SamplingParams(
        max_tokens=1, prompt_logprobs=0, flat_logprobs=True, temperature=0.0, detokenize=False
    )
    (output,) = llm.generate([prompt], [params], use_tqdm=False)
    return list(output.prompt_logprobs.logprobs)


def kinds(llm: Any) -> set[type]:
    from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbeddingBase

    model = llm.llm_engine.model_executor.driver_worker.worker.model_runner.get_model()
    return {type(module) for module in model.modules() if isinstance(module, RotaryEmbeddingBase)}


@pytest.fixture
def without_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take vLLM's own methods out of our wrappers."""
    import importlib

    vllm_plugin.register()
    for path in vllm_plugin.HOOKS:
        module, _, names = path.partition(":")
        owner, _, name = names.partition(".")
        kind = getattr(importlib.import_module(module), owner)
        monkeypatch.setattr(kind, name, getattr(kind, name).__wrapped__)
    monkeypatch.setattr("vllm.plugins.plugins_loaded", True)


@pytest.fixture
def stock(without_plugin: None, checkpoint: Callable[..., Path]) -> list[float]:
    llm = plain_engine(checkpoint())
    found = logprobs(llm)
    llm.llm_engine.engine_core.shutdown()
    return found


def test_it_is_inert_without_a_spec(
    stock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Callable[..., Path],
    engine: Callable[..., Any],
) -> None:
    from vllm.model_executor.custom_op import op_registry_oot
    from vllm.model_executor.layers.rotary_embedding import RotaryEmbedding

    monkeypatch.undo()
    vllm_plugin.register()
    engine(checkpoint(), "rope_theta=500")  # another engine of the process has a spec
    llm = plain_engine(checkpoint())
    assert kinds(llm) == {RotaryEmbedding}
    assert logprobs(llm) == stock
    assert "RotaryEmbedding" not in op_registry_oot
    llm.llm_engine.engine_core.shutdown()


def test_registering_again_wraps_nothing_twice() -> None:
    from vllm.engine.arg_utils import EngineArgs

    vllm_plugin.register()
    before = EngineArgs.create_engine_config
    vllm_plugin.register()
    assert EngineArgs.create_engine_config is before


@pytest.mark.parametrize(
    ("fields", "arguments", "message"),
    [
        ({"rope_teta": 500}, {}, "Did you mean 'rope_theta'"),
        ({"dynamic_ntk": "per_query"}, {}, "per_query cannot be served"),
        ({"dynamic_ntk": True}, {}, "per_query cannot be served"),
        (
            {"dynamic_ntk": "per_sequence", "ntk_formula": "continuous"},
            {},
            "continuous cannot be served",
        ),
        ("rope_theta=500", {}, "must be an object of RopeSpec fields"),
        (
            {},
            {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2}},
            "leave out speculative_config",
        ),
        ({}, {"pipeline_parallel_size": 2}, "leave out pipeline_parallel_size"),
        (
            {"xpos": True, "reference_length": 8},
            {"dtype": "float16", "max_model_len": 200},
            "scale keys by up to",
        ),
        ({"xpos": True}, {"kv_cache_dtype": "fp8"}, "kv_cache_dtype=fp8"),
        ({}, {"hf_overrides": {"max_position_embeddings": 64}}, "give train_length"),
    ],
)
def test_what_cannot_be_served_is_refused_before_loading(
    checkpoint: Callable[..., Path], fields: Any, arguments: dict[str, Any], message: str
) -> None:
    from vllm.engine.arg_utils import EngineArgs

    own = {"dtype": "float32", "enforce_eager": True}
    arguments = {"model": str(checkpoint()), **own, **arguments}
    with pytest.raises(SpecError, match=message):
        EngineArgs(additional_config={"rope_eval": fields}, **arguments).create_engine_config()


def test_another_family_is_refused_by_name(checkpoint: Callable[..., Path]) -> None:
    from transformers import GPTJConfig
    from vllm.engine.arg_utils import EngineArgs

    folder = checkpoint().with_name("gptj")
    GPTJConfig(n_embd=64, n_head=2, n_layer=1, rotary_dim=32, vocab_size=61).save_pretrained(folder)
    arguments = {"model": str(folder), "additional_config": {"rope_eval": {}}}
    with pytest.raises(UnsupportedModelError, match="gptj"):
        check_config(_config_of(EngineArgs, arguments))


def _config_of(engine_args: Any, arguments: dict[str, Any]) -> Any:
    return engine_args.create_engine_config.__wrapped__(
        engine_args(skip_tokenizer_init=True, **arguments)
    )


def test_a_loader_out_of_reach_is_refused(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    monkeypatch.setattr(DefaultModelLoader, "load_model", lambda *_: None, raising=False)
    with pytest.raises(SpecError, match="load_format=auto builds its model out of"):
        EngineArgs(
            model=str(checkpoint()), dtype="float32", additional_config={"rope_eval": {}}
        ).create_engine_config()


def test_micro_batching_is_refused(checkpoint: Callable[..., Path]) -> None:
    from vllm.engine.arg_utils import EngineArgs

    arguments = {"model": str(checkpoint()), "dtype": "float32", "enforce_eager": True}
    config = EngineArgs(additional_config={"rope_eval": {}}, **arguments).create_engine_config()
    config.parallel_config.enable_dbo = True  # vLLM itself turns it off on a CPU
    with pytest.raises(SpecError, match="leave out enable_dbo"):
        check_config(config)


def test_one_warning_names_the_tested_versions(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.engine.arg_utils import EngineArgs

    said: list[str] = []
    monkeypatch.setattr(vllm_plugin.logger, "warning", lambda text, *a: said.append(text % a))
    monkeypatch.setattr(vllm_plugin, "_version", lambda: "0.99.1")
    vllm_plugin._warn_of_version.cache_clear()
    arguments = {"model": str(checkpoint()), "dtype": "float32", "enforce_eager": True}
    EngineArgs(**arguments).create_engine_config()
    assert not said
    for _ in range(2):
        EngineArgs(additional_config={"rope_eval": {}}, **arguments).create_engine_config()
    assert said == ["rope-eval was tried with vLLM 0.32; this is 0.99.1"]


def test_a_hook_point_that_is_gone_is_an_error_for_specs_alone(
    checkpoint: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    engine: Callable[..., Any],
) -> None:
    gone = {"vllm.v1.engine.input_processor:InputProcessor.prepared": lambda method: method}
    monkeypatch.setattr(vllm_plugin, "HOOKS", vllm_plugin.HOOKS | gone)
    vllm_plugin.register()
    plain_engine(checkpoint()).llm_engine.engine_core.shutdown()
    with pytest.raises(UnsupportedModelError, match=r"InputProcessor\.prepared"):
        engine(checkpoint(), "rope_theta=500")


def test_a_worker_without_the_plugin_is_found_out(
    without_plugin: None, checkpoint: Callable[..., Path], engine: Callable[..., Any]
) -> None:
    with pytest.raises(UnsupportedModelError, match="the engine's workers do not run"):
        engine(checkpoint(), "rope_theta=500", max_length=30)


def test_plugins_that_leave_ours_out_are_refused(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, engine: Callable[..., Any]
) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "another")
    with pytest.raises(SpecError, match="add rope_eval to it"):
        engine(checkpoint(), "rope_theta=500")


def test_a_length_past_the_config_is_served_with_a_spec_alone(
    checkpoint: Callable[..., Path],
) -> None:
    from vllm.engine.arg_utils import EngineArgs

    arguments = {"model": str(checkpoint()), "dtype": "float32", "max_model_len": 4096}
    config = EngineArgs(additional_config={"rope_eval": {}}, **arguments).create_engine_config()
    assert config.model_config.max_model_len == 4096
    with pytest.raises(ValueError, match="max_model_len"):
        EngineArgs(**arguments).create_engine_config()
