"""Scoring by a plan of memory, and with shorter chunks where memory runs out all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from rope_eval.backends.hf.attention import ATTRIBUTE, RopeAttention
from rope_eval.backends.hf.compat import input_device
from rope_eval.backends.hf.offload import held_bytes
from rope_eval.scores import TokenScores
from rope_eval.scoring.cost import Cost, usual_chunk
from rope_eval.scoring.memory import MemoryPlan, Sizes, plan_memory
from rope_eval.scoring.tokens import check_chunk_size, score_lengths


class Planned:
    """Scores documents with a model inside `patched`.

    Args:
        model: the model.
        longest: tokens of the longest document; None plans nothing.
        chunk_size: tokens of a chunk, or None.
        budget: bytes, or None for no plan.
        ran: the record of what ran: ``memory`` in it says what was planned, and the chunk that
            memory allowed where it was shorter.

    Raises:
        SpecError: for a budget that holds no plan.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        longest: int | None,
        chunk_size: int | None,
        budget: int | None,
        ran: dict[str, Any],
    ):
        check_chunk_size(chunk_size)
        self.model, self.chunk_size, self.ran = model, chunk_size, ran
        self.place = "device"
        if budget is not None and longest is not None:
            plan = _plan(model, longest, chunk_size, budget)
            self.chunk_size, self.place = plan.chunk_size, plan.place
            ran["memory"] = plan.to_dict()
            logging.getLogger(__name__).warning("memory: %s", plan)

    def score(
        self, ids: Tensor, lengths: Sequence[int], report: Callable[[float], None]
    ) -> dict[int, TokenScores]:
        """Do what `score_lengths` does."""
        return score_lengths(
            self.model,
            ids,
            lengths,
            chunk_size=self.chunk_size,
            place=self.place,
            halved=self._halved,
            progress=report,
        )

    def _halved(self, chunk_size: int) -> None:
        logging.getLogger(__name__).warning(
            "memory ran out: the document is begun again, in chunks of %d tokens", chunk_size
        )
        self.chunk_size = chunk_size
        planned = self.ran.get("memory", {})
        self.ran["memory"] = planned | {"chunk_size": chunk_size, "ran_out": True}


def _plan(model: PreTrainedModel, longest: int, chunk_size: int | None, budget: int) -> MemoryPlan:
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    cost = Cost.of(model.config)
    sizes = Sizes.of(
        cost,
        longest,
        str(model.dtype).removeprefix("torch."),
        attention.spec,
        weights=held_bytes(model),
        layers=cost.layers if attention.anatomy.shares_keys else 1,
    )
    return plan_memory(
        sizes,
        budget,
        chunk_size=min(chunk_size or usual_chunk(input_device(model).type), longest),
        is_fixed=chunk_size is not None,
        device=input_device(model).type,
        what=f"{longest} tokens",
    )
