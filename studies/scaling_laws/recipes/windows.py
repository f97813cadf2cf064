"""What a step is trained on: windows of tokens, each determined by the seed and its number."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from studies.scaling_laws.recipes.model import BOUNDARY_ID
from studies.scaling_laws.recipes.retrieval_text import filler_bytes, plant

RETRIEVAL_SHARE = 0.5
"""The part of the windows in which a fact is planted."""

LINE_END = ord("\n")


class LabWindows(Dataset[dict[str, Tensor]]):
    """Windows from anywhere in a stream of bytes, half of them with a planted fact.

    Args:
        tokens: int16 [T], the stream of `studies.scaling_laws.recipes.text`.
        length: tokens that a window has as inputs; one more is its last target.
        count: how many windows.
        seed: of all draws; a window follows from it and from its own number alone.
    """

    def __init__(self, tokens: Tensor, *, length: int, count: int, seed: int):
        self.tokens = tokens.numpy()
        self.length = length
        self.count = count
        self.seed = seed
        ends = np.flatnonzero(self.tokens == LINE_END) + 1
        self.line_ends = ends[ends >= filler_bytes(length + 1)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``tokens``, int64 [length + 1]."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = random.Random(f"{self.seed}:{index}")
        size = self.length + 1
        if len(self.line_ends) and rng.random() < RETRIEVAL_SHARE:
            end = int(rng.choice(self.line_ends))
            filler = self.tokens[end - filler_bytes(size) : end]
            filler = np.where(filler == BOUNDARY_ID, LINE_END, filler).astype(np.uint8)
            window = np.frombuffer(plant(rng, filler.tobytes(), size), dtype=np.uint8)
        else:
            start = rng.randrange(len(self.tokens) - self.length)
            window = self.tokens[start : start + size]
        return {"tokens": torch.from_numpy(window.astype(np.int64))}
