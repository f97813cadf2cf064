"""The lab's grids: which checkpoints are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.rope.spec import RopeSpec
from rope_eval.theory import critical_base, pivot_bases
from rope_eval.tuning.recipe import Recipe, base_name

HEAD_DIM = 64
"""Of every model of the lab."""


def grid(
    pretrained: Recipe,
    *,
    steps: int,
    learning_rate: float,
    bases: dict[int, Sequence[float]],
    dropped: Sequence[float],
    seeds: Sequence[int],
    seeded: Sequence[float],
) -> tuple[Recipe, ...]:
    """Return the pre-training and all that is tuned from it, in the order to make them.

    Args:
        pretrained: where everything starts from.
        steps: of each tuning.
        learning_rate: of each tuning, constant.
        bases: for each length to tune at, the bases. A step has as many tokens as one of the
            pre-training's.
        dropped: bases to tune at T_train without the dimensions beyond the critical one.
        seeds: seeds to repeat a tuning with.
        seeded: the bases to repeat at T_train.
    """
    train = pretrained.length

    def tuned(base: float, length: int, seed: int = 0) -> Recipe:
        rope = pretrained.rope.replace(rope_theta=base, tune_length=length)
        name = f"base-{base_name(base)}" + (f"-{length}" if length != train else "")
        return Recipe(
            name=name,
            rope=rope,
            start_from=pretrained.name,
            steps=steps,
            batch_size=max(1, pretrained.batch_size * train // length),
            learning_rate=learning_rate,
            max_grad_norm=pretrained.max_grad_norm,
            seed=seed,
        )

    recipes = [pretrained]
    recipes += [tuned(base, length) for length, some in bases.items() for base in some]
    for base in dropped:
        recipe = tuned(base, train)
        rope = recipe.rope.replace(beyond_critical="drop")
        recipes.append(replace(recipe, name=f"{recipe.name}-drop", rope=rope))
    for seed in seeds:
        for base in seeded:
            recipe = tuned(base, train, seed)
            recipes.append(replace(recipe, name=f"{recipe.name}-seed{seed}"))
    return tuple(recipes)


def _pivots(length: int) -> list[int]:
    """Return the pivot bases as the paper writes them, rounded, the smallest first."""
    return sorted(round(base) for base in pivot_bases(length))


def _two_digits(base: float) -> float:
    unit = 10 ** (math.floor(math.log10(base)) - 1)
    return float(math.ceil(base / unit) * unit)


PRETRAIN_THETA = 10_000.0

LAB = grid(
    Recipe(
        name="pretrained",
        rope=RopeSpec(rope_theta=PRETRAIN_THETA, train_length=128),
        start_from=None,
        steps=3000,
        batch_size=32,
        learning_rate=2e-3,
        schedule="cosine",
        warmup_steps=100,
    ),
    steps=400,
    learning_rate=5e-4,
    bases={
        128: (10, *_pivots(128), 300, 1000, 3000, 1e4, 3e4, 1e5, 3e5, 1e6),
        256: (_pivots(256)[0], 1e4, _two_digits(critical_base(128, 256)), 3e5, 1e6),
        512: (
            _pivots(512)[0],
            _pivots(512)[2],
            3000,
            1e4,
            1e5,
            _two_digits(critical_base(128, 512)),
            3e6,
            1e7,
        ),
    },
    dropped=(1e4, 1e5, 1e6),
    seeds=(1, 2),
    seeded=(20, 1e4, 1e5, 1e6),
)
"""The lab's grid, trained at 128 tokens with base 10000.

The pivots of 128 tokens are 81, 41 and 20. The critical bases of tuning at 256 and at 512 are
among the bases, rounded up to two digits: 84,000 and 700,000.
"""

SHIPPED = (
    "pretrained",
    "base-20",
    "base-1e4",
    "base-1e5",
    "base-1e6",
    "base-81-512",
    "base-1e4-512",
    "base-3e6-512",
    "base-1e5-drop",
)
"""The checkpoints of the lab whose weights are in the repository."""

GPU = grid(
    Recipe(
        name="pretrained",
        rope=RopeSpec(rope_theta=PRETRAIN_THETA, train_length=512),
        start_from=None,
        steps=12_000,
        batch_size=64,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=500,
    ),
    steps=1000,
    learning_rate=2e-4,
    bases={
        512: (40, *_pivots(512), 1000, 3000, 1e4, 3e4, 1e5, 3e5, 1e6),
        2048: (
            _pivots(2048)[0],
            _pivots(2048)[2],
            1e4,
            1e5,
            _two_digits(critical_base(512, 2048)),
            1e6,
            1e7,
        ),
    },
    dropped=(1e4, 1e5, 1e6),
    seeds=(1, 2),
    seeded=(81, 1e4, 1e5, 1e6),
)
"""The same at a larger scale, for a GPU: 4.7 M parameters, trained at 512 tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A grid that is trained from nothing.

    Attributes:
        recipes: what to make, each after what it starts from.
        text: what it is trained on: a source of `studies.scaling_laws.recipes.text`.
        hidden_size: of the byte-level Llama, in heads of :data:`HEAD_DIM`.
        layers: of it.
        pieces: how many pieces of held-out text it is measured on, a multiple of the sets.
        piece_tokens: of each, the longest length of a curve.
    """

    recipes: tuple[Recipe, ...]
    text: Literal["stdlib", "site-packages"]
    hidden_size: int
    layers: int
    pieces: int
    piece_tokens: int


GRIDS = {
    "lab": Grid(
        recipes=LAB,
        text="stdlib",
        hidden_size=128,
        layers=3,
        pieces=48,
        piece_tokens=4096,
    ),
    "gpu": Grid(
        recipes=GPU,
        text="site-packages",
        hidden_size=256,
        layers=6,
        pieces=96,
        piece_tokens=16384,
    ),
}
"""The grids by the name of the preset."""


def find_grid(name: str) -> Grid:
    """Return the grid of a preset's name; an unknown one is a `SpecError`."""
    if name not in GRIDS:
        raise SpecError(
            f"there is no grid {name!r}; there are {', '.join(GRIDS)}.{did_you_mean(name, GRIDS)}"
        )
    return GRIDS[name]
