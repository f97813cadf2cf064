"""Attention scores of documents by relative position, as what tables and figures show of them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rope_eval.scoring.attention_profile import PARTS, AttentionProfile, bin_edges

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from rope_eval.rope.rotary import Rotary


def profile_of(
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    bins: int,
    spacing: Literal["log", "linear"] = "log",
    progress: Callable[[float], None] | None = None,
) -> AttentionProfile:
    """Return a document's scores before and beyond the critical dimension, in bins of distance.

    Args:
        model: inside `patched`.
        input_ids: int64 ``[T]``, T ≥ 2.
        bins: as in `bin_edges`, over the T − 1 queries that predict something.
        spacing: as in `bin_edges`.
        progress: called with the part of the work done, from 0 to 1.

    Raises:
        RopeEvalError: as `attention_by_distance`.
    """
    from rope_eval.backends.hf.attention import rotary_of
    from rope_eval.scoring.attention_scores import attention_by_distance

    return attention_by_distance(
        model,
        input_ids,
        first_pair_beyond=rotary_of(model).critical_dimension // 2,
        bin_edges=bin_edges(len(input_ids) - 1, bins, spacing),
        progress=progress,
    )


def attention_facts(
    profiles: Sequence[AttentionProfile], rotary: Rotary, length: int
) -> dict[str, Any]:
    """Return the profiles of documents together, and what is known of the setting, as plain JSON.

    Args:
        profiles: one a document.
        rotary: the setting on the checkpoint.
        length: tokens of each document.
    """
    return setting_facts(rotary, length) | pooled(profiles)


def setting_facts(rotary: Rotary, length: int) -> dict[str, Any]:
    """Return what the scores are read with: the bound, the critical dimension, the laws."""
    return {
        "length": length,
        "train_length": rotary.train_length,
        "extrapolation_bound": rotary.bound[0],
        "laws": rotary.laws.to_dict(),
        "effective_from": rotary.effective_from,
        "critical_dimension": rotary.critical_dimension,
        "rotary_dim": rotary.geometry.rotary_dim,
    }


def pooled(profiles: Sequence[AttentionProfile]) -> dict[str, Any]:
    """Return the bins of all layers together, and of each."""
    profile = functools.reduce(operator.add, profiles)
    return {
        "bins": _bins(profile),
        "layers": [_bins(profile.layer(i)) for i in range(len(profile.sums))],
    }


def _bins(profile: AttentionProfile) -> list[dict[str, Any]]:
    mean, std = profile.mean(), profile.std()
    scores = profile.counts * profile.sums.shape[0] * profile.sums.shape[1]
    return [
        {
            "from": int(profile.bin_edges[i]),
            "to": int(profile.bin_edges[i + 1]) - 1,
            "count": int(scores[i]),
        }
        | {
            part: {"mean": float(m[i]), "std": float(s[i])}
            for part, m, s in zip(PARTS, mean, std, strict=True)
        }
        for i in range(len(scores))
    ]
