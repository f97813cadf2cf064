"""What is asked of the grid's checkpoints, and the names that makers and claims share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval.rope.spec import RopeSpec
from rope_eval.theory import extrapolation_bound
from rope_eval.tuning.recipe import Recipe
from studies.scaling_laws.extensions import extensions
from studies.scaling_laws.recipes.grids import HEAD_DIM, PRETRAIN_THETA, Grid


class Kind(StrEnum):
    """What a measurement is of; stored as the run's kind."""

    CURVE = "lab-curve"
    WINDOW = "lab-window"
    RETRIEVAL = "lab-retrieval"
    ATTENTION = "lab-attention"


SETS = 3
"""Disjoint sets that documents and samples are of: see :func:`set_numbers`."""

AS_TRAINED = "as trained"
WRONG = " (wrong)"

METHODS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "log": {"log_scale": True},
        "xpos": {"xpos": True},
        "log+xpos": {"log_scale": True, "xpos": True},
        "ntk": {"dynamic_ntk": "per_query"},
        "ntk+xpos": {"dynamic_ntk": "per_query", "xpos": True},
        "ntk+log": {"dynamic_ntk": "per_query", "log_scale": True},
        "ntk+log+xpos": {"dynamic_ntk": "per_query", "log_scale": True, "xpos": True},
        "ntk per_sequence": {"dynamic_ntk": "per_sequence"},
        "clip": {"beyond_critical": "clip"},
        "drop": {"beyond_critical": "drop"},
    }
)
"""Methods of inference by their names; all refer to T_extra, the paper's "correct"."""

ALSO_WRONG = ("log", "ntk", "ntk+log")
"""What is also measured with T_train in the place of T_extra, the paper's "wrong" (Fig. 11)."""

IN_RETRIEVAL = ("log", "log+xpos", "ntk")
"""What is also asked for needles."""

IN_ATTENTION = ("ntk", "clip")
"""What is also looked at inside."""


SOME_EXTENSIONS = ("PI", "fixed NTK", "NTK-by-parts", "YaRN", "DCA", "STRING")
"""The methods of `extensions` that a tuned checkpoint is also run under."""


def set_numbers(items: int, sets: int = SETS) -> npt.NDArray[np.int64]:
    """Return the set of each document or sample, int64 [items]: item i is of set i mod ``sets``."""
    return np.arange(items) % sets


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One measurement.

    Attributes:
        kind: what is measured.
        recipe: of the checkpoint.
        method: its name.
        rope: what the checkpoint is run under.
    """

    kind: Kind
    recipe: Recipe
    method: str
    rope: RopeSpec


def measurements(grid: Grid, *, methods: bool = True) -> Iterator[Measurement]:
    """Return all that is asked of a grid, a checkpoint after another.

    Args:
        grid: which it is.
        methods: whether each checkpoint is also run under the methods of inference (Fig. 11).
    """
    for recipe in grid.recipes:
        settings = {AS_TRAINED: recipe.rope}
        extended = _extended(grid, recipe) if methods else {}
        if methods:
            settings |= _with_methods(recipe)
            settings |= extended
        if recipe.name in grid.with_attention and _is_bounded_by_pretraining(recipe):
            settings |= {name: _changed(recipe, METHODS[name]) for name in ("clip", "drop")}
        for method, rope in settings.items():
            kinds = [Kind.CURVE]
            if method == AS_TRAINED:
                kinds.append(Kind.WINDOW)
            if method in (AS_TRAINED, *extended) or (
                recipe.name in grid.with_retrieval and method in IN_RETRIEVAL
            ):
                kinds.append(Kind.RETRIEVAL)
            if recipe.name in grid.with_attention and (
                method == AS_TRAINED or method in IN_ATTENTION
            ):
                kinds.append(Kind.ATTENTION)
            for kind in kinds:
                yield Measurement(kind=kind, recipe=recipe, method=method, rope=rope)


def _with_methods(recipe: Recipe) -> dict[str, RopeSpec]:
    """Return the settings of inference; where T_extra is T_train no reference is wrong."""
    rope = recipe.rope
    assert rope.rope_theta is not None and rope.train_length is not None
    bound = extrapolation_bound(
        rope.rope_theta,
        head_dim=HEAD_DIM,
        train_length=rope.train_length,
        tune_length=rope.tune_length,
        pretrain_theta=PRETRAIN_THETA,
    )
    settings = {}
    for name, fields in METHODS.items():
        if "beyond_critical" in fields:
            continue
        settings[name] = _changed(recipe, fields)
        if name in ALSO_WRONG and bound != rope.train_length:
            settings[name + WRONG] = _changed(recipe, {**fields, "reference_length": "train"})
    return settings


def _extended(grid: Grid, recipe: Recipe) -> dict[str, RopeSpec]:
    """Return the settings of the methods that are to extend a checkpoint."""
    assert recipe.rope.train_length is not None
    settings = extensions(
        train_length=recipe.rope.train_length,
        head_dim=HEAD_DIM,
        pretrain_theta=PRETRAIN_THETA,
    )
    chosen: Iterable[str] = ()
    if recipe.name in grid.with_extensions:
        chosen = settings
    elif recipe.name in grid.with_some_extensions:
        chosen = SOME_EXTENSIONS
    return {name: _changed(recipe, settings[name]) for name in chosen}


def _is_bounded_by_pretraining(recipe: Recipe) -> bool:
    """Tell whether the dimensions beyond pre-training's critical one break the model (§3.4)."""
    rope = recipe.rope
    assert rope.rope_theta is not None
    same_length = rope.tune_length in (None, rope.train_length)
    return same_length and rope.rope_theta >= PRETRAIN_THETA


def _changed(recipe: Recipe, fields: Mapping[str, Any]) -> RopeSpec:
    return RopeSpec.from_dict(recipe.rope.to_dict() | dict(fields))
