"""An engine that stops while it scores is an error that says what to do, and others are kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rope_eval.backends.vllm.engine import score_texts
from rope_eval.errors import ProcessError, RopeEvalError


def failing(error: Exception) -> Any:
    def generate(*_: Any, **__: Any) -> None:
        raise error

    return SimpleNamespace(generate=generate)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("EngineDeadError", "engine has stopped.* is above.*lower chunk_size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried 9 GiB"), r"ran out.*Tried 9 GiB\).*low"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: no\nb"), "memory: no.*lower"),
        (MemoryError(), r"ran out in vLLM's engine \(MemoryError\): a step"),
    ],
)
def test_an_engine_that_stops(error: Exception | str, words: str) -> None:
    if isinstance(error, str):
        from vllm.v1.engine import exceptions

        error = getattr(exceptions, error)()
    with pytest.raises(ProcessError, match=words):
        score_texts(failing(error), [[1, 2]])


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("another")])
def test_other_errors_are_kept(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)) as found:
        score_texts(failing(error), [[1, 2]])
    assert not isinstance(found.value, RopeEvalError)
