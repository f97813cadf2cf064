"""Which octave a request is in: its prefix cache and the rows of its tokens follow from that."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rope_eval.backends.vllm.layers import find_rotaries
from rope_eval.backends.vllm.serving import rotary_of_config, spec_of
from rope_eval.backends.vllm.tables import Layout
from rope_eval.errors import SpecError

LENGTH = "rope_len"


def final_length(prompt_length: int, sampling_params: Any) -> int:
    """Return the length that sets a request's base: that of its prompt and all it may generate.

    ``SamplingParams.extra_args["rope_len"]`` (``vllm_xargs`` of the OpenAI API) overrides it.
    """
    if sampling_params is None:  # a pooling request
        return prompt_length
    given = (sampling_params.extra_args or {}).get(LENGTH)
    return prompt_length + sampling_params.max_tokens if given is None else int(given)


def process_inputs(process: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``InputProcessor.process_inputs``: prefixes of two octaves are never shared."""

    @functools.wraps(process)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = process(self, *args, **kwargs)
        layout = _layout(self)
        if layout is not None and len(layout.starts) > 1:
            try:
                octave = layout.octave(_checked_length(request, layout.max_length))
            except SpecError as error:  # what a server answers with "bad request"
                from vllm.exceptions import VLLMValidationError

                raise VLLMValidationError(str(error)) from error
            request.cache_salt = f"{request.cache_salt or ''}|octave {octave}"
        return request

    return wrapper


def _layout(processor: Any) -> Layout | None:
    """Return the octaves of a front end's engine, or None; found once."""
    known = vars(processor)
    if "_rope_eval_layout" not in known:
        config = processor.vllm_config
        spec = spec_of(config)
        length = config.model_config.max_model_len
        known["_rope_eval_layout"] = (
            None if spec is None else Layout.of(rotary_of_config(config, spec), length)
        )
    return known["_rope_eval_layout"]


def _checked_length(request: Any, max_length: int) -> int:
    """Return a request's final length; an impossible one is a `SpecError`."""
    if getattr(request, "resumable", False):
        raise SpecError("a base per sequence needs a request's final length: not resumable")
    prompt = len(request.prompt_token_ids or ())
    if not prompt:
        raise SpecError("a base per sequence needs prompt tokens, not embeddings")
    params = request.sampling_params
    last = prompt if params is None else prompt + params.max_tokens - 1
    try:
        length = final_length(prompt, params)
    except (TypeError, ValueError):
        raise SpecError(
            f"{LENGTH} must be a number of tokens, got {params.extra_args[LENGTH]!r}"
        ) from None
    if not last <= length <= max_length:
        raise SpecError(
            f"{LENGTH} must be from {last} (the prompt and all but the last token of max_tokens) "
            f"to max_model_len={max_length}, got {length}"
        )
    return length


# ---- batches ------------------------------------------------------------------------------------


def v1_prepare_inputs(prepare: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap V1's ``GPUModelRunner._prepare_inputs``: say which rows a batch's tokens look in."""

    @functools.wraps(prepare)
    def wrapper(self: Any, scheduler_output: Any, tokens: Any, *args: Any, **kwargs: Any) -> Any:
        rotaries = _rotaries_of_holder(self, self.get_model)
        if rotaries:
            requests = [self.requests[name] for name in self.input_batch.req_ids[: len(tokens)]]
            start = rotaries[0].tables.layout.start
            starts = [
                start(final_length(request.num_prompt_tokens, request.sampling_params))
                for request in requests
            ]
            for rotary in rotaries:
                rotary.fill(np.array(starts, dtype=np.int64), tokens)
        return prepare(self, scheduler_output, tokens, *args, **kwargs)

    return wrapper


def v2_add_request(add: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap V2's ``DefaultModelState.add_request``: keep where a request's octave starts."""

    @functools.wraps(add)
    def wrapper(self: Any, req_index: int, new_req_data: Any) -> Any:
        rotaries = _rotaries_of_holder(self, lambda: self.model)
        if rotaries:
            starts = vars(self).setdefault(
                "_rope_eval_starts", np.zeros(self.max_num_reqs, dtype=np.int64)
            )
            prompt = len(new_req_data.prompt_token_ids or ())
            length = final_length(prompt, new_req_data.sampling_params)
            starts[req_index] = rotaries[0].tables.layout.start(length)
        return add(self, req_index, new_req_data)

    return wrapper


def v2_prepare_inputs(prepare: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap V2's ``DefaultModelState.prepare_inputs``: as `v1_prepare_inputs`."""

    @functools.wraps(prepare)
    def wrapper(self: Any, input_batch: Any, req_states: Any) -> Any:
        rotaries = _rotaries_of_holder(self, lambda: self.model)
        if rotaries:
            starts = self._rope_eval_starts[input_batch.idx_mapping_np]
            for rotary in rotaries:
                rotary.fill(starts, input_batch.num_scheduled_tokens)
        return prepare(self, input_batch, req_states)

    return wrapper


def _rotaries_of_holder(holder: Any, model: Callable[[], torch.nn.Module]) -> list[Any]:
    """Return the `SpecRotary` whose offsets a runner must fill; found once."""
    known = vars(holder)
    if "_rope_eval_rotaries" not in known:
        known["_rope_eval_rotaries"] = [
            rotary for rotary in find_rotaries(model()) if rotary.row_offset is not None
        ]
    found: list[Any] = known["_rope_eval_rotaries"]
    return found
