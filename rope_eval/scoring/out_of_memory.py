"""Work that goes on with shorter chunks where memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size

from rope_eval.errors import DataError

SHORTEST = 64  # tokens of a chunk: below it what is held per chunk is nothing beside the rest

Result = TypeVar("Result")


def in_memory(
    work: Callable[[int], Result], chunk_size: int, halved: Callable[[int], None]
) -> Result:
    """Do work in chunks, and again in chunks of half the size wherever memory runs out.

    It is begun anew, so that its result is that of one size of chunk. What one layer holds, all do:
    memory runs out in the first one or not at all, and little is lost.

    Args:
        work: of a size of chunk.
        chunk_size: the first to try.
        halved: told of each that follows.

    Raises:
        DataError: where memory runs out at `SHORTEST` too.
    """
    while True:
        try:
            return work(chunk_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if chunk_size <= SHORTEST:  # outside the handler, whose traceback holds what was computed
            raise DataError(
                f"memory ran out, with chunks of {chunk_size} tokens too ({reason}): ask for "
                "shorter lengths, or see what would be held with --memory-budget"
            )
        chunk_size = max(SHORTEST, chunk_size // 2)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        halved(chunk_size)


def is_out_of_memory(error: Exception) -> bool:
    """Tell a lack of memory, on any device, from other errors."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(
        error
    )
