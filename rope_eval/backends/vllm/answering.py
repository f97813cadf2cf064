"""What to do about an engine that stops while it answers: vLLM's own error does not say it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.utils.memory import should_reduce_batch_size

from rope_eval.errors import ProcessError

LESS = (
    "a step holds the logits of all its tokens, so lower chunk_size (--chunk-size; the engine's "
    "max_num_batched_tokens), or what is kept for keys and values (gpu_memory_utilization; on a "
    "CPU VLLM_CPU_KVCACHE_SPACE)"
)


@contextmanager
def answering() -> Iterator[None]:
    """Ask an engine inside.

    Raises:
        ProcessError: where its memory runs out, or a process of it ends.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        raise ProcessError(
            "vLLM's engine has stopped; what its processes said is above. If memory ran out: "
            f"{LESS}"
        ) from error
    except (RuntimeError, MemoryError) as error:  # of an engine in this process
        if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ProcessError(f"memory ran out in vLLM's engine ({reason}): {LESS}") from error
