"""Methods of others that are to run a model past T_train, at sizes in their papers' ratios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rope_eval.theory import critical_dimension

FACTOR = 8
"""What the methods are set to extend T_train by."""


def extensions(
    *, train_length: int, head_dim: int, pretrain_theta: float
) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings by their names, for a model that is not tuned for any of them.

    What takes a factor takes `FACTOR`. Sizes in tokens and in pairs keep their authors' ratios:

    - ReRoPE, Leaky ReRoPE, Self-Extend: windows of T/4, as of 1024 for 4096 tokens, with k = 16 and
      G = 8;
    - Dual Chunk Attention: chunks of 5T/8, its limit 3T/4;
    - STRING: S = 0.33 T and W = T/32, as of 128 for 4096 tokens;
    - HardClip, CoPE: 20 of 64 pairs;
    - DroPE: without the training that its paper adds;
    - Qwen: its NTK and its log n, both from T_train on;
    - LongRoPE: its numbers are searched for a model, which nobody has done here. Past T_train pair
      n is divided by FACTOR^min(1, n / n_c), n_c the first pair beyond the critical dimension: of
      the shape that LongRoPE2 finds, kept at first and scaled in full from the critical one on.

    Args:
        train_length: T_train in tokens.
        head_dim: the rotary dimension d.
        pretrain_theta: the base of pre-training.
    """
    pairs, window = head_dim // 2, train_length // 4
    critical = critical_dimension(head_dim, train_length, pretrain_theta=pretrain_theta) // 2
    long = [round(FACTOR ** min(1.0, n / critical), 4) for n in range(pairs)]
    clipped = pairs * 20 // 64
    log_n = {"log_scale": True, "reference_length": "train"}
    return {
        "PI": {"linear_factor": FACTOR},
        "fixed NTK": {"ntk_alpha": FACTOR},
        "NTK-by-parts": {"ntk_parts_factor": FACTOR},
        "YaRN": {"yarn_factor": FACTOR},
        "dynamic YaRN": {"dynamic_yarn": "octave"},
        "llama3": {"llama3_factor": FACTOR},
        "LongRoPE": {"longrope_factors": [[1.0] * pairs, long], "longrope_ratio": FACTOR},
        "Qwen NTK + log n": {"dynamic_ntk": "per_sequence", "ntk_formula": "qwen", **log_n},
        "HardClip": {"hard_clip": clipped},
        "CoPE": {"cope": clipped},
        "DroPE": {"drope": True, "rope_theta": None},
        "Resonance": {"resonance": True},
        "Resonance + YaRN": {"resonance": True, "yarn_factor": FACTOR},
        "ReRoPE": {"rerope_window": window},
        "ReRoPE + log n": {"rerope_window": window, **log_n},
        "Leaky ReRoPE": {"leaky_rerope_window": window, "leaky_rerope_factor": 16},
        "Self-Extend": {"self_extend_window": window, "self_extend_group": 8},
        "DCA": {"dual_chunk_size": train_length * 5 // 8},
        "STRING": {
            "string_shift": round(train_length * 0.33),
            "string_window": train_length // 32,
        },
    }
