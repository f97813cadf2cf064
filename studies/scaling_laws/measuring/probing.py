"""Ask the lab's models for needles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rope_eval.data.probes import Probe, ProbePlan
from rope_eval.scoring.in_window import TOKENS_AT_ONCE
from rope_eval.scoring.logits import score_logits
from studies.scaling_laws.measuring.probe import LAB
from studies.scaling_laws.measuring.protocol import Protocol
from studies.scaling_laws.recipes.model import BOUNDARY_ID

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEPTHS = (0.0, 0.5)


def lab_probes(filler: str, protocol: Protocol) -> list[list[Probe]]:
    """Return the probes of each length, sample by sample and then by depth.

    Args:
        filler: text that no model was trained on.
        protocol: their lengths, and how many samples.
    """
    plan = ProbePlan(
        form=LAB,
        text=filler,
        lengths=protocol.probe_lengths,
        depths=DEPTHS,
        samples=protocol.samples,
        seed=0,
    )
    return [
        [
            plan.probe(_encode, sample=sample, length=length, depth=depth)
            for sample in range(plan.samples)
            for depth in DEPTHS
        ]
        for length in plan.lengths
    ]


@torch.inference_mode()
def marks(
    model: PreTrainedModel, probes: Sequence[Probe]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Return whether each value is what a model says greedily, and its nats; ``[probes]``.

    Args:
        model: one of the lab's, inside `patched` or stock.
        probes: of one length.
    """
    tokens = torch.tensor([probe.tokens for probe in probes])
    value = probes[0].value_tokens
    right, nll = [], []
    for rows in tokens.split(max(1, TOKENS_AT_ONCE // tokens.shape[1])):
        ids: Tensor = rows.to(model.device)
        logits = model(input_ids=ids[:, :-1], logits_to_keep=value, use_cache=False).logits
        loss, hit = score_logits(logits, ids[:, -value:])
        right.append(hit.all(1).cpu().numpy())
        nll.append(loss.sum(1).cpu().numpy())
    return np.concatenate(right), np.concatenate(nll)


def _encode(text: str) -> list[int]:
    """Return a text's tokens as the lab's tokenizer does; it is asked for thousands of them."""
    return [BOUNDARY_ID, *text.encode()]
