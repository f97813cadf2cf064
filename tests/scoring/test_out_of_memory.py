"""Memory that runs out halves the chunk, and the scores are those of the shorter one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from helpers import models
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.backends.hf.replay import Replay
from rope_eval.errors import DataError
from rope_eval.scoring.out_of_memory import in_memory

CPU = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 12 bytes"
HARD = "dynamic_ntk=per_query,reference_length=40,xpos=true,log_scale=true"


@pytest.mark.parametrize(
    "error", [RuntimeError(CPU), MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")]
)
def test_scores_are_those_of_the_chunk_that_fits(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ids = models.tiny(), models.token_ids(600)[0]
    run, told = Replay.run, []

    def small(self: Any, block: int, chunk: Any) -> None:
        if block == 1 and chunk.part.stop - chunk.part.start > 130:
            raise error
        run(self, block, chunk)

    with patched(model, RopeSpec.parse(HARD)):
        expected = score_tokens(model, ids, chunk_size=128)
        monkeypatch.setattr(Replay, "run", small)
        found = score_tokens(model, ids, chunk_size=512, halved=told.append)
        with pytest.raises(type(error)):
            score_tokens(model, ids, chunk_size=512)
    assert told == [256, 128]
    np.testing.assert_array_equal(found.nll, expected.nll)


def test_other_errors_are_not_taken_for_it() -> None:
    def work(chunk_size: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        in_memory(work, 512, lambda chunk_size: pytest.fail("halved"))


def test_the_shortest_chunk_is_the_last() -> None:
    tried: list[int] = []

    def work(chunk_size: int) -> None:
        tried.append(chunk_size)
        raise MemoryError

    with pytest.raises(DataError, match=r"chunks of 64 tokens too \(MemoryError\)"):
        in_memory(work, 300, lambda chunk_size: None)
    assert tried == [300, 150, 75, 64]
