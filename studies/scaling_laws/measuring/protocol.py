"""How much of the lab's checkpoints is measured: lengths, pieces of text, needles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from studies.scaling_laws.measurements import SETS

EIGHTHS = 8
"""Lengths an octave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How much is measured.

    Attributes:
        shortest: the first length of a curve, in tokens; the others follow by eighths of an
            octave.
        tokens: the last one: tokens of a piece of text.
        pieces: pieces of text, a multiple of the sets.
        samples: needles at each length and depth.
        attention_tokens: tokens of a piece whose attention scores are measured.
        attention_pieces: how many of the pieces that is done for.
    """

    shortest: int
    tokens: int
    pieces: int
    samples: int
    attention_tokens: int
    attention_pieces: int

    def __post_init__(self) -> None:
        assert len(self.attention_indices) == self.attention_pieces, "too few pieces for attention"

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of a curve, BOS included."""
        octaves = math.log2(self.tokens / self.shortest)
        steps = range(round(octaves * EIGHTHS) + 1)
        return tuple(round(self.shortest * 2 ** (k / EIGHTHS)) for k in steps)

    @property
    def probe_lengths(self) -> tuple[int, ...]:
        """The lengths of probes: half octaves, up to half the longest length."""
        return tuple(length for length in self.lengths[::4] if length <= self.tokens // 2)

    @property
    def attention_indices(self) -> range:
        """The pieces whose attention scores are measured: all over the text, as many of each set.

        A step that is a multiple of the sets would stay in one of them.
        """
        step = self.pieces // self.attention_pieces
        step += step % SETS == 0
        return range(0, self.pieces, step)[: self.attention_pieces]


PROTOCOLS = {
    "lab": Protocol(
        shortest=32,
        tokens=4096,
        pieces=48,
        samples=45,
        attention_tokens=2048,
        attention_pieces=6,
    ),
    "gpu": Protocol(
        shortest=128,
        tokens=16384,
        pieces=96,
        samples=45,
        attention_tokens=8192,
        attention_pieces=6,
    ),
}
"""By the name of the grid."""

QUICK = {
    name: replace(
        protocol,
        tokens=protocol.tokens // 4,
        pieces=2 * SETS,
        samples=2 * SETS,
        attention_tokens=protocol.attention_tokens // 4,
        attention_pieces=SETS,
    )
    for name, protocol in PROTOCOLS.items()
}
"""For a first look: noisy."""
