"""What the study calls the settings that its plan measures: names that claims and tables share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws.extensions import extensions
from studies.scaling_laws.recipes.grids import HEAD_DIM, PRETRAIN_THETA

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

_OF_THE_WEIGHTS = ("rope_theta", "pretrain_theta")  # a plan leaves them to the config, or says them


def set_numbers(items: int, sets: int = SETS) -> npt.NDArray[np.int64]:
    """Return the set of each document or sample, int64 [items]: item i is of set i mod ``sets``."""
    return np.arange(items) % sets


def settings_of(trained: RopeSpec) -> dict[str, RopeSpec]:
    """Return the settings that have a name, for a checkpoint that was trained under one.

    Args:
        trained: with its train_length.
    """
    assert trained.train_length is not None
    fields: dict[str, Mapping[str, Any]] = {AS_TRAINED: {}, **METHODS}
    fields |= {name + WRONG: {**METHODS[name], "reference_length": "train"} for name in ALSO_WRONG}
    fields |= extensions(
        train_length=trained.train_length, head_dim=HEAD_DIM, pretrain_theta=PRETRAIN_THETA
    )
    own = trained.to_dict()
    return {name: RopeSpec.from_dict(own | dict(given)) for name, given in fields.items()}


def name_of(rope: RopeSpec, trained: RopeSpec) -> str | None:
    """Return what the study calls a setting on a checkpoint, None where it has no name for it.

    What the checkpoint was trained under is `AS_TRAINED`.
    """
    wanted = _method(rope)
    found = (name for name, one in settings_of(trained).items() if _method(one) == wanted)
    return next(found, None)


def _method(rope: RopeSpec) -> dict[str, Any]:
    return {name: v for name, v in rope.to_dict().items() if name not in _OF_THE_WEIGHTS}
